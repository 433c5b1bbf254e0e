/**
 * One database at one moment: a REPEATABLE READ transaction that only reads. Large tables come through a cursor, in
 * batches, so that memory does not grow with the shop.
 */
import pg from "pg";

const BATCH_ROWS = 10_000;

export class Snapshot {
  readonly #client: pg.Client;
  #cursors = 0;

  private constructor(client: pg.Client) {
    this.#client = client;
  }

  /** Connects and takes the snapshot. Throws, naming `what`, where the database cannot be read. */
  static async open(what: string, url: string | undefined): Promise<Snapshot> {
    if (!url) throw new Error(`the database of ${what} was not given`);
    const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 10_000 });
    // A connection that breaks while a query waits is reported by the query.
    client.on("error", () => undefined);
    try {
      await client.connect();
      // The first statement takes the snapshot. A cursor's rows are all wanted, not only the first ones.
      await client.query(
        "begin transaction isolation level repeatable read read only; set local cursor_tuple_fraction = 1; set local jit = off; set local work_mem = '64MB'; select 1",
      );
    } catch (cause) {
      await client.end();
      throw new Error(`the database of ${what} cannot be read: ${(cause as Error).message}`, { cause });
    }
    return new Snapshot(client);
  }

  async rows<Row>(text: string, values: unknown[] = []): Promise<Row[]> {
    return (await this.#client.query(text, values)).rows as Row[];
  }

  async *stream<Row>(text: string): AsyncGenerator<Row[]> {
    const cursor = `audit_${++this.#cursors}`;
    await this.#client.query(`declare ${cursor} no scroll cursor for ${text}`);
    for (;;) {
      const { rows } = await this.#client.query(`fetch ${BATCH_ROWS} from ${cursor}`);
      if (rows.length > 0) yield rows as Row[];
      if (rows.length < BATCH_ROWS) break;
    }
    await this.#client.query(`close ${cursor}`);
  }

  async close(): Promise<void> {
    await this.#client.end();
  }
}

/** Opens one snapshot per name at nearly the same moment, runs `work`, and closes them all. */
export async function withSnapshots<Name extends string, Result>(
  urls: Readonly<Partial<Record<Name, string>>>,
  names: readonly Name[],
  work: (snapshots: Record<Name, Snapshot>) => Promise<Result>,
): Promise<Result> {
  const opened = await Promise.allSettled(names.map((name) => Snapshot.open(name, urls[name])));
  const snapshots = opened.flatMap((result) => (result.status === "fulfilled" ? [result.value] : []));
  try {
    const failed = opened.find((result) => result.status === "rejected");
    if (failed) throw failed.reason;
    return await work(
      Object.fromEntries(names.map((name, i) => [name, snapshots[i]])) as Record<Name, Snapshot>,
    );
  } finally {
    await Promise.all(snapshots.map((snapshot) => snapshot.close()));
  }
}
