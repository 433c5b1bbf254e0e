/** Walks several streams, each sorted by id, side by side: what belongs to one id comes together. */

interface Keyed {
  id: string;
}

/** One sorted stream, one batch read ahead of who consumes it. */
class Feed<Row extends Keyed> {
  readonly #source: AsyncIterator<Row[]>;
  #ahead: Promise<IteratorResult<Row[]>>;
  #rows: Row[] = [];
  #at = 0;
  #ended = false;

  constructor(source: AsyncIterable<Row[]>) {
    this.#source = source[Symbol.asyncIterator]();
    this.#ahead = this.#read();
  }

  get head(): Row | undefined {
    return this.#rows[this.#at];
  }

  get hungry(): boolean {
    return this.head === undefined && !this.#ended;
  }

  skip(): void {
    this.#at++;
  }

  async fill(): Promise<void> {
    const { value, done } = await this.#ahead;
    this.#ended = done === true;
    this.#rows = done ? [] : value;
    this.#at = 0;
    if (!done) this.#ahead = this.#read();
  }

  #read(): Promise<IteratorResult<Row[]>> {
    const batch = this.#source.next();
    // fill() throws it; until then, or when another feed fails first, nobody awaits this promise.
    batch.catch(() => undefined);
    return batch;
  }
}

/** Ids are UUIDs in lower case: PostgreSQL and string comparison sort them alike. */
export async function mergeById<Rows extends Record<string, Keyed>>(
  sources: { [Name in keyof Rows]: AsyncIterable<Rows[Name][]> },
  visit: (id: string, rows: Partial<Rows>) => void,
): Promise<void> {
  const feeds = Object.entries(sources).map(
    ([name, source]) => [name as keyof Rows, new Feed(source as AsyncIterable<Keyed[]>)] as const,
  );
  for (;;) {
    const hungry = feeds.filter(([, feed]) => feed.hungry);
    if (hungry.length > 0) await Promise.all(hungry.map(([, feed]) => feed.fill()));
    let least: string | undefined;
    for (const [, feed] of feeds) {
      const id = feed.head?.id;
      if (id !== undefined && (least === undefined || id < least)) least = id;
    }
    if (least === undefined) return;
    const rows: Partial<Rows> = {};
    for (const [name, feed] of feeds) {
      if (feed.head?.id !== least) continue;
      rows[name] = feed.head as Rows[typeof name];
      feed.skip();
    }
    visit(least, rows);
  }
}
