/**
 * A participant of the commit protocol: prepare, commit and abort for batches, over a store of vote rows. It owns the
 * order of things (look the row up first, record every no, leave tombstones); what a yes means is the store's
 * business. Every method is idempotent and safe beside any other replica; the store's unique key on txId is what two
 * replicas meet at.
 *
 * | dies | what holds |
 * |---|---|
 * | before the prepare is durable | no row, no vote: the manager aborts |
 * | after, before the vote is sent | the row answers the duplicate prepare; inquiry resolves it |
 * | after a commit or abort is durable | the repeated message finds the final row and acknowledges |
 */
import type { DecisionReply, PrepareEntry, PrepareReply, Refusal, TxId } from "./protocol/messages.ts";
import { onAbort, onCommit, onPrepare, type VoteRecord } from "./protocol/participant.ts";

/** An entry to vote on; `refusal` is set where its no is certain already. */
export interface Candidate<Request> {
  entry: PrepareEntry<Request>;
  refusal: Refusal | undefined;
}

/** The vote rows of one participant. Lists of txIds come sorted, so that replicas lock rows in one order. */
export interface VoteStore<Tx> {
  /** One local transaction that commits durably before the promise resolves, and rolls back on a throw. */
  transaction<Result>(work: (tx: Tx) => Promise<Result>): Promise<Result>;
  /** The seal, locked against being raised until the transaction ends. */
  seal(tx: Tx): Promise<TxId>;
  find(tx: Tx, txIds: TxId[]): Promise<Map<TxId, VoteRecord>>;
  /** One statement: prepared → committed, with its effects. Returns the txIds that changed. */
  commit(txIds: TxId[]): Promise<Set<TxId>>;
  /** One statement: prepared (or examining) → aborted, its effects undone. Returns the txIds that changed. */
  abort(txIds: TxId[]): Promise<Set<TxId>>;
  /** One statement: a tombstone for each txId above the seal that has no row. Returns those it made. */
  recordTombstones(txIds: TxId[]): Promise<Set<TxId>>;
  /** Votes in doubt, oldest first. */
  inDoubt(limit: number): Promise<TxId[]>;
  /**
   * In one local transaction that excludes every transaction holding the seal: raises the seal to `upTo` if no vote at
   * or below it is in doubt or has effects still owed. Never lowers it. Answers the seal as it is now.
   */
  raiseSeal(upTo: TxId): Promise<TxId>;
  /** Deletes rows at or below `watermark` that are votes and nothing else, at most `limit`; answers how many. */
  prune(watermark: TxId, limit: number): Promise<number>;
  /** True for a failure that a repeat of the same transaction may not meet: serialization, deadlock, a rival's row. */
  isConflict(err: unknown): boolean;
}

/** A participant whose work is done inside its own database, so that work and vote are one local transaction. */
export interface ParticipantStore<Request, Tx> extends VoteStore<Tx> {
  /**
   * The fast path, one statement: records a yes for entries above the seal that have no row and whose work fits as it
   * stands. May leave out any entry, for any reason; records nothing for those. Returns the txIds it recorded.
   */
  recordPlainYes(entries: PrepareEntry<Request>[]): Promise<Set<TxId>>;
  /**
   * Votes on candidates that have no row: does the work of each that is not refused yet, one by one in the given order,
   * and records a yes where it succeeds and a no otherwise. Rows are inserted in the given order, whatever they say: a
   * rival that inserts the same txIds then waits, and never in a circle. Returns all refusals.
   */
  vote(tx: Tx, candidates: Candidate<Request>[]): Promise<Map<TxId, Refusal>>;
}

/** A batch that keeps colliding with rivals is given up after this many tries; the manager asks again. */
const TRIES_MAX = 5;

const byTxId = (a: { txId: TxId }, b: { txId: TxId }): number =>
  a.txId < b.txId ? -1 : a.txId > b.txId ? 1 : 0;
const YES: PrepareReply = Object.freeze({ kind: "yes" });

/** Phase two, the same for every participant. */
export class Settlement<Tx = unknown> {
  readonly #votes: VoteStore<Tx>;

  constructor(votes: VoteStore<Tx>) {
    this.#votes = votes;
  }

  async commit(txIds: TxId[]): Promise<DecisionReply[]> {
    const sorted = [...new Set(txIds)].sort();
    const done = await retried(this.#votes, () => this.#votes.commit(sorted));
    const rest = sorted.filter((txId) => !done.has(txId));
    const { rows, seal } = await this.#look(rest);
    return txIds.map((txId) => (done.has(txId) ? "done" : onCommit(rows.get(txId), txId, seal)));
  }

  async abort(txIds: TxId[]): Promise<DecisionReply[]> {
    const replies = new Map<TxId, DecisionReply>();
    let rest = [...new Set(txIds)].sort();
    // A prepare may slip in between looking and writing, so look again until every txId is settled.
    for (let tries = 0; rest.length > 0; tries++) {
      if (tries === TRIES_MAX)
        throw new Error(`abort of ${rest.length} transaction(s) kept racing with their prepares`);
      const released = await retried(this.#votes, () => this.#votes.abort(rest));
      const missing = rest.filter((txId) => !released.has(txId));
      const { rows, seal } = await this.#look(missing);
      const tombstones: TxId[] = [];
      for (const txId of rest) {
        const step = released.has(txId) ? undefined : onAbort(rows.get(txId), txId, seal);
        if (!step) replies.set(txId, "done");
        else if (step.do === "answer") replies.set(txId, step.reply);
        else if (step.do === "tombstone") tombstones.push(txId);
      }
      if (tombstones.length > 0) {
        const made = await retried(this.#votes, () => this.#votes.recordTombstones(tombstones));
        for (const txId of made) replies.set(txId, "done");
      }
      rest = rest.filter((txId) => !replies.has(txId));
    }
    return txIds.map((txId) => replies.get(txId) as DecisionReply);
  }

  inDoubt(limit: number): Promise<TxId[]> {
    return this.#votes.inDoubt(limit);
  }

  raiseSeal(upTo: TxId): Promise<TxId> {
    return this.#votes.raiseSeal(upTo);
  }

  /** Only below its own seal can a participant do without its rows: nothing there is recorded a second time. */
  async prune(watermark: TxId, limit: number): Promise<number> {
    const seal = await this.#votes.transaction((tx) => this.#votes.seal(tx));
    if (watermark > seal)
      throw new Error(
        `the managers' watermark ${watermark} is above the seal ${seal}, which they must not raise it over: nothing is deleted`,
      );
    return this.#votes.prune(watermark, limit);
  }

  async #look(txIds: TxId[]): Promise<{ rows: Map<TxId, VoteRecord>; seal: TxId }> {
    if (txIds.length === 0) return { rows: new Map(), seal: "" };
    return this.#votes.transaction(async (tx) => ({
      seal: await this.#votes.seal(tx),
      rows: await this.#votes.find(tx, txIds),
    }));
  }
}

/** Both phases, for a participant that needs nobody outside to vote. */
export class Participant<Request, Tx = unknown> extends Settlement<Tx> {
  readonly #store: ParticipantStore<Request, Tx>;

  constructor(store: ParticipantStore<Request, Tx>) {
    super(store);
    this.#store = store;
  }

  /** Votes on each entry; replies in the order of the entries. */
  async prepare(entries: PrepareEntry<Request>[]): Promise<PrepareReply[]> {
    const replies = new Map<PrepareEntry<Request>, PrepareReply>();
    let round = entries;
    while (round.length > 0) {
      // A txId that stands twice in one batch is prepared once; its second entry then meets the recorded vote.
      const firsts = [...new Map(round.toReversed().map((entry) => [entry.txId, entry])).values()].sort(
        byTxId,
      );
      const plain = await this.#store.recordPlainYes(firsts.filter((entry) => entry.budgetMs > 0));
      const rest = firsts.filter((entry) => !plain.has(entry.txId));
      for (const entry of firsts) if (plain.has(entry.txId)) replies.set(entry, YES);
      if (rest.length > 0) {
        const votes = await retried(this.#store, () => this.#prepareOneByOne(rest));
        for (const [i, entry] of rest.entries()) replies.set(entry, votes[i] as PrepareReply);
      }
      round = round.filter((entry) => !replies.has(entry));
    }
    return entries.map((entry) => replies.get(entry) as PrepareReply);
  }

  #prepareOneByOne(entries: PrepareEntry<Request>[]): Promise<PrepareReply[]> {
    return this.#store.transaction(async (tx) => {
      const seal = await this.#store.seal(tx);
      const rows = await this.#store.find(
        tx,
        entries.map((entry) => entry.txId),
      );
      const steps = entries.map((entry) => onPrepare(rows.get(entry.txId), entry, seal));
      const candidates = entries.flatMap((entry, i): Candidate<Request>[] => {
        const step = steps[i] as (typeof steps)[number];
        if (step.do === "answer") return [];
        return [{ entry, refusal: step.do === "refuse" ? step.refusal : undefined }];
      });
      const refusals =
        candidates.length > 0 ? await this.#store.vote(tx, candidates) : new Map<TxId, Refusal>();
      const replies = entries.map((entry, i): PrepareReply => {
        const step = steps[i] as (typeof steps)[number];
        if (step.do === "answer") return step.reply;
        const refusal = refusals.get(entry.txId);
        return refusal ? { kind: "no", ...refusal } : YES;
      });
      return replies;
    });
  }
}

/** Repeats work that lost against a rival. The rows are read again each time: nothing is decided from memory. */
async function retried<Result>(
  store: { isConflict(err: unknown): boolean },
  work: () => Promise<Result>,
): Promise<Result> {
  for (let tries = 1; ; tries++) {
    try {
      return await work();
    } catch (err) {
      if (tries === TRIES_MAX || !store.isConflict(err)) throw err;
    }
  }
}
