/** One replica of a participant: the real mixin in a broker of its own, over a database that fails when told to. */
import { ServiceBroker, type ServiceSchema } from "moleculer";
import type {
  DecisionReply,
  Inquiry,
  InquiryReply,
  PrepareEntry,
  PrepareReply,
  TxId,
} from "../../actors/protocol/messages.ts";
import { requestHash } from "../../actors/protocol/request-hash.ts";
import { newId } from "../../lib/ids.ts";
import { sqlState } from "../../mixins/database.errors.ts";
import { type Database, openDatabase } from "../../mixins/database.mixin.ts";
import { type OperatedVotes, operatedMixin } from "../../mixins/operated.mixin.ts";
import { participantMixin } from "../../mixins/participant.mixin.ts";
import { until } from "./until.ts";

export type ParticipantFactory = Parameters<typeof participantMixin>[0];

/** A database whose statements and commits a test can step in front of, and which notes the deadlocks it met. */
export interface FaultyDatabase extends Database {
  /** Name of the statement and the server's account of the circle. */
  deadlocks: string[];
  /** Runs around every autocommit statement and every transaction; `name` is the statement's, or "transaction". */
  around: <Result>(run: () => Promise<Result>, name: string) => Promise<Result>;
  /** Runs before each statement inside a transaction. */
  beforeStatement: (name: string) => void | Promise<void>;
  /** Runs inside a transaction, after its work and before its COMMIT. */
  beforeCommit: () => void | Promise<void>;
}

export function faulty(url: string, poolMax = 8): FaultyDatabase {
  const real = openDatabase(url, poolMax);
  const watched = async <Result>(run: () => Promise<Result>, name: string): Promise<Result> => {
    try {
      return await db.around(run, name);
    } catch (err) {
      if (sqlState(err) === "40P01") db.deadlocks.push(`${name}: ${(err as { detail?: string }).detail}`);
      throw err;
    }
  };
  const db: FaultyDatabase = {
    deadlocks: [],
    around: (run) => run(),
    beforeStatement: () => undefined,
    beforeCommit: () => undefined,
    query: (statement) => watched(() => real.query(statement), statement.name ?? "") as never,
    transaction: (work) =>
      watched(
        () =>
          real.transaction(async (tx) => {
            const result = await work({
              async query(statement) {
                await db.beforeStatement(statement.name ?? "");
                return tx.query(statement);
              },
            });
            await db.beforeCommit();
            return result;
          }),
        "transaction",
      ),
    pool: () => real.pool(),
    close: () => real.close(),
  };
  return db;
}

export interface Replica {
  db: FaultyDatabase;
  /** Answers of the register to this replica's inquiries; `pending` unless a test says otherwise. */
  inquiries: Inquiry[];
  outcome: (inquiry: Inquiry) => InquiryReply;
  prepare(entries: PrepareEntry[]): Promise<PrepareReply[]>;
  /** As a manager asks: again after `pending` and after `unavailable`, until there is an answer. */
  votes(entries: PrepareEntry[]): Promise<PrepareReply[]>;
  vote(entry: PrepareEntry): Promise<PrepareReply>;
  commit(...txIds: TxId[]): Promise<DecisionReply[]>;
  abort(...txIds: TxId[]): Promise<DecisionReply[]>;
  raiseSeal(upTo: TxId): Promise<TxId>;
  prune(watermark: TxId, limit?: number): Promise<number>;
  /** Calls one of its operators' actions. */
  operate<Result>(action: string, params: object): Promise<Result>;
  stop(): Promise<void>;
}

export async function openReplica(
  url: string,
  factory: ParticipantFactory,
  operated?: OperatedVotes,
): Promise<Replica> {
  const db = faulty(url);
  const broker = new ServiceBroker({ logger: false, skipProcessEventRegistration: true });
  const replica: Replica = {
    db,
    inquiries: [],
    outcome: () => "pending",
    prepare: (entries) => broker.call("participant.prepare", { entries }),
    async votes(entries) {
      const replies = await replica.prepare(entries);
      await until("every entry has an answer", async () => {
        const open = entries.filter((_, i) => isNotYet(replies[i] as PrepareReply));
        if (open.length === 0) return true;
        const again = await replica.prepare(open);
        for (const [i, entry] of open.entries()) replies[entries.indexOf(entry)] = again[i] as PrepareReply;
        return false;
      });
      return replies;
    },
    async vote(entry) {
      return (await replica.votes([entry]))[0] as PrepareReply;
    },
    commit: (...txIds) => broker.call("participant.commit", { txIds }),
    abort: (...txIds) => broker.call("participant.abort", { txIds }),
    raiseSeal: (upTo) => broker.call("participant.raiseSeal", { upTo }),
    prune: (watermark, limit = 1_000) => broker.call("participant.prune", { watermark, limit }),
    operate: (action, params) => broker.call(`participant.${action}`, params),
    async stop() {
      await broker.stop();
      await db.close();
    },
  };
  broker.createService({
    name: "participant",
    mixins: [...(operated ? [operatedMixin(operated)] : []), participantMixin(factory)],
    created() {
      this.db = db;
    },
  } as ServiceSchema);
  broker.createService({
    name: "transaction-manager",
    actions: {
      outcome(ctx: { params: { inquiries: Inquiry[] } }) {
        replica.inquiries.push(...ctx.params.inquiries);
        return ctx.params.inquiries.map((inquiry) => replica.outcome(inquiry));
      },
    },
  } as ServiceSchema);
  await broker.start();
  return replica;
}

const isNotYet = (reply: PrepareReply): boolean =>
  reply.kind === "pending" || (reply.kind === "error" && reply.code === "unavailable");

/** A prepare as a manager sends it. `budgetMs` is ample unless given. */
export function entryOf(request: unknown, { txId = newId(), budgetMs = 60_000 } = {}): PrepareEntry {
  return { txId, hash: requestHash(JSON.stringify(request) ?? "none"), budgetMs, request };
}
