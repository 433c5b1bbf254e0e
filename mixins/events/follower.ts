/**
 * Follows the outbox of a service's own database, for what each replica holds in memory: it is told of every event that
 * becomes visible after it began, whether or not anything publishes it, and may be told of one from shortly before. It
 * remembers the highest number it has seen and the gaps below; a gap that has not closed for as long as a transaction
 * may take never will.
 */
import type { Queryable } from "../database.mixin.ts";

/** The limit on a transaction (30 s, set for every session) and a second. */
const GAP_MS_MAX = 31_000;
/** Twice that: a transaction that began earlier has ended, and drew its number before any that still runs did. */
const STARTED_SECONDS = 61;
const READ_MAX = 1_000;

export interface Followed {
  sequence: number;
  type: string;
  key: string;
}

interface Row extends Followed {
  seconds: number;
}

export class Follower {
  readonly #db: Queryable;
  readonly #onEvents: (events: readonly Followed[]) => Promise<unknown>;
  #highest: number | undefined;
  /** Numbers not seen, with when that was first noticed. */
  readonly #gaps = new Map<number, number>();
  #delaySecondsMax = 0;

  constructor(db: Queryable, onEvents: (events: readonly Followed[]) => Promise<unknown>) {
    this.#db = db;
    this.#onEvents = onEvents;
  }

  /** Before anything is read that is to be kept up to date. */
  async begin(): Promise<void> {
    const { rows } = await this.#db.query<{ sequence: number }>({
      name: "follow-from",
      text: `select sequence from outbox where created_at < now() - $1 * interval '1 second'
             order by sequence desc limit 1`,
      values: [STARTED_SECONDS],
    });
    this.#highest = rows[0]?.sequence ?? 0;
  }

  async tick(): Promise<boolean> {
    if (this.#highest === undefined) await this.begin();
    const rows = await this.#read(this.#highest as number);
    if (rows.length > 0) await this.#onEvents(rows);
    const now = performance.now();
    for (const { sequence, seconds } of rows) {
      this.#gaps.delete(sequence);
      const highest = this.#highest as number;
      // Where nothing was there before, what lies far below the first has been deleted with age.
      const lowest = highest > 0 ? highest + 1 : Math.max(1, sequence - READ_MAX);
      for (let gap = lowest; gap < sequence; gap++) this.#gaps.set(gap, now);
      this.#highest = Math.max(highest, sequence);
      this.#delaySecondsMax = Math.max(this.#delaySecondsMax, seconds);
    }
    for (const [gap, since] of this.#gaps) if (now - since > GAP_MS_MAX) this.#gaps.delete(gap);
    return rows.length >= READ_MAX;
  }

  /** The longest from the beginning of an event's transaction to its effect here, since this was asked last. */
  takeDelaySeconds(): number {
    const seconds = this.#delaySecondsMax;
    this.#delaySecondsMax = 0;
    return seconds;
  }

  async #read(after: number): Promise<Row[]> {
    const columns =
      "sequence, type, key, extract(epoch from clock_timestamp() - created_at)::float8 as seconds";
    const { rows } = await this.#db.query<Row>({
      name: "follow",
      text: `select ${columns} from outbox where sequence > $1 order by sequence limit $2`,
      values: [after, READ_MAX],
    });
    if (this.#gaps.size === 0) return rows;
    const late = await this.#db.query<Row>({
      name: "follow-gaps",
      text: `select ${columns} from outbox where sequence = any($1::bigint[]) order by sequence`,
      values: [[...this.#gaps.keys()]],
    });
    return [...late.rows, ...rows];
  }
}
