/** A real TransactionManager over the real register, with participants that live in memory and do what a test says. */
import pg from "pg";
import { Mailbox, type MailboxOptions } from "../../actors/mailbox.ts";
import type {
  DecisionReply,
  Outcome,
  PrepareEntry,
  PrepareReply,
  TxId,
} from "../../actors/protocol/messages.ts";
import type { ParticipantPort, RegisterPort, RunOptions } from "../../actors/transaction-manager/ports.ts";
import { register } from "../../actors/transaction-manager/register.ts";
import { TransactionManager } from "../../actors/transaction-manager/transaction-manager.ts";
import { newId } from "../../lib/ids.ts";
import { type Database, openDatabase } from "../../mixins/database.mixin.ts";
import { cloneDatabases, type TestDatabases } from "../harness/databases.ts";

export const RUN: RunOptions = { prepareMs: 3_000, answerMs: 5_000, durableAt: ["order"] };

type Phase = "prepare" | "commit" | "abort";

/** Remembers votes like a real participant. Set `prepare`, `commit` or `abort` to step in front of it. */
export class MemoryParticipant {
  readonly states = new Map<TxId, "prepared" | "committed" | "aborted">();
  readonly asked: { phase: Phase; txIds: TxId[] }[] = [];
  /** How often a commit had an effect, per transaction. */
  readonly effects = new Map<TxId, number>();
  seal: TxId = "";
  vote: (entry: PrepareEntry) => PrepareReply | Promise<PrepareReply> = () => ({ kind: "yes" });
  before: (phase: Phase | "raiseSeal" | "prune", txIds: TxId[]) => void | Promise<void> = () => undefined;

  async prepare(entries: PrepareEntry[]): Promise<PrepareReply[]> {
    const txIds = entries.map((entry) => entry.txId);
    this.asked.push({ phase: "prepare", txIds });
    await this.before("prepare", txIds);
    return Promise.all(
      entries.map(async (entry) => {
        const state = this.states.get(entry.txId);
        if (state === "aborted") return { kind: "no", reason: "aborted" };
        if (state) return { kind: "yes" };
        if (entry.txId <= this.seal) return { kind: "forgotten" };
        const reply = await this.vote(entry);
        if (entry.txId <= this.seal) return { kind: "forgotten" };
        if (reply.kind === "yes" && !this.states.has(entry.txId)) this.states.set(entry.txId, "prepared");
        if (reply.kind === "no") this.states.set(entry.txId, "aborted");
        return reply;
      }),
    );
  }

  async commit(txIds: TxId[]): Promise<DecisionReply[]> {
    this.asked.push({ phase: "commit", txIds });
    await this.before("commit", txIds);
    return txIds.map((txId) => {
      const state = this.states.get(txId);
      if (state === "aborted") return "contradiction";
      if (!state) return txId <= this.seal ? "forgotten" : "unknown";
      if (state === "prepared") this.effects.set(txId, (this.effects.get(txId) ?? 0) + 1);
      this.states.set(txId, "committed");
      return "done";
    });
  }

  async abort(txIds: TxId[]): Promise<DecisionReply[]> {
    this.asked.push({ phase: "abort", txIds });
    await this.before("abort", txIds);
    return txIds.map((txId) => {
      if (this.states.get(txId) === "committed") return "contradiction";
      if (!this.states.has(txId) && txId <= this.seal) return "forgotten";
      this.states.set(txId, "aborted");
      return "done";
    });
  }

  async raiseSeal(upTo: TxId): Promise<TxId> {
    await this.before("raiseSeal", [upTo]);
    const isInDoubt = [...this.states].some(([txId, state]) => state === "prepared" && txId <= upTo);
    if (upTo > this.seal && !isInDoubt) this.seal = upTo;
    return this.seal;
  }

  async prune(watermark: TxId): Promise<number> {
    await this.before("prune", [watermark]);
    const gone = [...this.states.keys()].filter((txId) => txId <= watermark);
    for (const txId of gone) this.states.delete(txId);
    return gone.length;
  }

  times(phase: Phase): number {
    return this.asked.filter((message) => message.phase === phase).length;
  }
}

export interface ManagerParts {
  /** Stands in front of the real register. */
  register?: (real: RegisterPort) => RegisterPort;
  participants?: Record<string, MemoryParticipant>;
  mint?: (floor: TxId) => TxId;
  capacity?: number;
  batchMax?: number;
}

/** One clone of the managers' database, with as many managers on it as a test wants. */
export class ManagerBench {
  readonly databases: TestDatabases;
  readonly db: Database;
  readonly url: string;
  readonly #managers: TransactionManager[] = [];

  private constructor(databases: TestDatabases) {
    this.databases = databases;
    this.url = databases.urlOf("transaction-manager");
    this.db = openDatabase(this.url, 8);
  }

  static async open(): Promise<ManagerBench> {
    return new ManagerBench(await cloneDatabases(["transaction-manager"]));
  }

  async close(): Promise<void> {
    await Promise.all(this.#managers.map((manager) => manager.settle()));
    await this.db.close();
    await this.databases.drop();
  }

  manager(parts: ManagerParts = {}) {
    const participants = parts.participants ?? {
      order: new MemoryParticipant(),
      product: new MemoryParticipant(),
    };
    const of = (name: string): MemoryParticipant => {
      const found = participants[name];
      if (!found) throw new Error(`there is no participant ${name}`);
      return found;
    };
    const port: ParticipantPort = {
      prepare: (name, entries) => of(name).prepare(entries),
      commit: (name, txIds) => of(name).commit(txIds),
      abort: (name, txIds) => of(name).abort(txIds),
      raiseSeal: (name, upTo) => of(name).raiseSeal(upTo),
      prune: (name, watermark) => of(name).prune(watermark),
    };
    const calls: string[] = [];
    const real = register(this.db);
    const port2 = parts.register?.(real) ?? real;
    const mailboxes = new Map<string, Mailbox<never, unknown>>();
    const alarms: { message: string; detail: object }[] = [];
    const manager = new TransactionManager({
      register: {
        ...port2,
        decide: (proposals) => {
          calls.push("decide");
          return port2.decide(proposals);
        },
        read: (txIds) => {
          calls.push("read");
          return port2.read(txIds);
        },
      },
      participants: port,
      mailbox: <M, R>(options: MailboxOptions<M, R>) => {
        const mailbox = new Mailbox<M, R>(options);
        mailboxes.set(options.name, mailbox as unknown as Mailbox<never, unknown>);
        return mailbox;
      },
      mint: parts.mint ?? newId,
      alarm: (message, detail) => alarms.push({ message, detail }),
      ...(parts.capacity === undefined ? {} : { capacity: parts.capacity }),
      ...(parts.batchMax === undefined ? {} : { batchMax: parts.batchMax }),
    });
    this.#managers.push(manager);
    return { manager, participants, of, calls, alarms, mailboxes, port, register: real };
  }

  async stored(txId: TxId): Promise<Outcome | undefined> {
    const { rows } = await this.db.query<{ outcome: Outcome }>({
      text: "select outcome from decisions where tx_id = $1",
      values: [txId],
    });
    return rows[0]?.outcome;
  }

  async isSettled(txId: TxId): Promise<boolean> {
    const { rows } = await this.db.query<{ settled: boolean }>({
      text: "select settled from decisions where tx_id = $1",
      values: [txId],
    });
    return rows[0]?.settled === true;
  }

  async decisions(): Promise<number> {
    const { rows } = await this.db.query<{ n: number }>({ text: "select count(*)::int as n from decisions" });
    return rows[0]?.n as number;
  }

  /** Another manager's connection, inside a transaction that a test ends when it likes. */
  async rival(): Promise<pg.Client> {
    const client = new pg.Client({ connectionString: this.url });
    await client.connect();
    await client.query("begin");
    return client;
  }

  /** True while some statement waits for a lock in this database. */
  async isSomeoneWaiting(): Promise<boolean> {
    const { rows } = await this.db.query({
      text: "select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
    });
    return rows.length > 0;
  }
}

export const REQUESTS = { order: { of: "order" }, product: { of: "product" } };
