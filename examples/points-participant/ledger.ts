/**
 * The ledger: every rule that makes it a participant, as SQL over the tables of schema.sql. Each method is idempotent. What
 * fails here is thrown and never turned into a vote: a COMMIT whose answer is lost may have happened.
 */
import pg from "pg";

export interface Entry {
  txId: string;
  hash: string;
  budgetMs: number;
  request: { userId: string; total: number };
}

export type Reply = { kind: "YES" | "CONFLICT" | "FORGOTTEN" } | { kind: "NO"; reason: string };
export type Acknowledgement = "DONE" | "CONTRADICTION" | "UNKNOWN" | "FORGOTTEN";

interface Vote {
  state: "prepared" | "committed" | "aborted";
  request_hash: string | null;
  reason: string | null;
}

/** One point for each 100 minor units. */
const pointsOf = (total: number): number => Math.floor(total / 100);

export class Ledger {
  readonly #pool: pg.Pool;

  constructor(url: string) {
    this.#pool = new pg.Pool({ connectionString: url, max: 8 });
    // An idle connection that breaks is replaced at the next query.
    this.#pool.on("error", (err) => console.error("a connection broke:", err.message));
  }

  async open(schema: string): Promise<void> {
    await this.#pool.query(schema);
  }

  /** The vote, durable when this resolves. */
  prepare({ txId, hash, budgetMs, request }: Entry): Promise<Reply> {
    return this.#transaction(async (client) => {
      const recorded = await find(client, txId);
      if (recorded) return replyOf(recorded, hash);
      // Held until the end, so that the seal is not raised past a vote on its way.
      const { rows } = await client.query("select up_to >= $1 as sealed from seal for share", [txId]);
      if (rows[0].sealed) return { kind: "FORGOTTEN" };
      const account = await client.query("select blocked from accounts where user_id = $1", [request.userId]);
      const reason =
        budgetMs <= 0 ? "deadline_exceeded" : account.rows[0]?.blocked ? "account_blocked" : null;
      const inserted = await client.query(
        `insert into votes (tx_id, state, request_hash, user_id, points, reason)
         values ($1, $2, $3, $4, $5, $6) on conflict (tx_id) do nothing`,
        [txId, reason ? "aborted" : "prepared", hash, request.userId, pointsOf(request.total), reason],
      );
      // An abort, or the same prepare, was faster.
      if (inserted.rowCount === 0) return replyOf((await find(client, txId)) as Vote, hash);
      return reason ? { kind: "NO", reason } : { kind: "YES" };
    });
  }

  commit(txId: string): Promise<Acknowledgement> {
    return this.#transaction(async (client) => {
      const { rows } = await client.query(
        "update votes set state = 'committed' where tx_id = $1 and state = 'prepared' returning user_id, points",
        [txId],
      );
      if (rows[0]) {
        await client.query(
          `insert into accounts (user_id, points) values ($1, $2)
           on conflict (user_id) do update set points = accounts.points + excluded.points`,
          [rows[0].user_id, rows[0].points],
        );
        return "DONE";
      }
      const recorded = await find(client, txId);
      if (recorded) return recorded.state === "committed" ? "DONE" : "CONTRADICTION";
      return (await isSealed(client, txId)) ? "FORGOTTEN" : "UNKNOWN";
    });
  }

  abort(txId: string): Promise<Acknowledgement> {
    return this.#transaction(async (client) => {
      const { rows } = await client.query("select up_to >= $1 as sealed from seal for share", [txId]);
      if (!rows[0].sealed)
        await client.query(
          "insert into votes (tx_id, state, reason) values ($1, 'aborted', 'aborted') on conflict (tx_id) do nothing",
          [txId],
        );
      await client.query("update votes set state = 'aborted' where tx_id = $1 and state = 'prepared'", [
        txId,
      ]);
      const recorded = await find(client, txId);
      if (!recorded) return "FORGOTTEN";
      return recorded.state === "aborted" ? "DONE" : "CONTRADICTION";
    });
  }

  async inDoubt(): Promise<string[]> {
    const { rows } = await this.#pool.query(
      "select tx_id from votes where state = 'prepared' order by tx_id limit 500",
    );
    return rows.map((row) => row.tx_id);
  }

  /** Raises the seal where nothing at or below it is in doubt; answers what it is now. */
  raiseSeal(upTo: string): Promise<string> {
    return this.#transaction(async (client) => {
      // Stands in one queue with the prepares, and does not hold them up for long.
      await client.query("set local lock_timeout = '100ms'");
      await client.query("lock table seal in exclusive mode");
      await client.query(
        `update seal set up_to = $1 where up_to < $1
         and not exists (select from votes where state = 'prepared' and tx_id <= $1)`,
        [upTo],
      );
      return (await client.query("select up_to from seal")).rows[0].up_to;
    });
  }

  /** Deletes final votes at or below the managers' watermark, and never above the own seal. */
  async prune(watermark: string, limit: number): Promise<number> {
    const { rowCount } = await this.#pool.query(
      `delete from votes where tx_id in (
         select tx_id from votes, seal
         where tx_id <= $1 and tx_id <= up_to and state <> 'prepared' order by tx_id limit $2)`,
      [watermark, limit],
    );
    return rowCount ?? 0;
  }

  close(): Promise<void> {
    return this.#pool.end();
  }

  async #transaction<Result>(work: (client: pg.PoolClient) => Promise<Result>): Promise<Result> {
    const client = await this.#pool.connect();
    let failed = true;
    try {
      await client.query("begin");
      const result = await work(client);
      await client.query("commit");
      failed = false;
      return result;
    } finally {
      // After a failure nobody knows where the connection stands: it is closed, which rolls back.
      client.release(failed);
    }
  }
}

async function find(client: pg.PoolClient, txId: string): Promise<Vote | undefined> {
  const { rows } = await client.query("select state, request_hash, reason from votes where tx_id = $1", [
    txId,
  ]);
  return rows[0];
}

async function isSealed(client: pg.PoolClient, txId: string): Promise<boolean> {
  return (await client.query("select up_to >= $1 as sealed from seal", [txId])).rows[0].sealed;
}

/** A repeated prepare gets the recorded vote, whatever has become of it since. */
function replyOf({ state, request_hash, reason }: Vote, hash: string): Reply {
  if (request_hash !== null && request_hash !== hash) return { kind: "CONFLICT" };
  return state === "aborted" ? { kind: "NO", reason: reason ?? "aborted" } : { kind: "YES" };
}
