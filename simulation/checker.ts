/**
 * The checker: sees everything that becomes durable at the moment it does, remembers it whatever is deleted later, and
 * says which promise of the protocol a step breaks. It trusts nothing that a node remembers or says of itself.
 */
import type {
  DecisionReply,
  Outcome,
  PrepareEntry,
  PrepareReply,
  Requests,
  TxId,
} from "../actors/protocol/messages.ts";
import type { Statement } from "../mixins/database.mixin.ts";
import type { OrderRequest } from "../services/order/order.ts";
import type { Change, Rows } from "./database.ts";
import type { OrderVote, Told } from "./databases/order.ts";
import type { PaymentVote } from "./databases/payment.ts";
import type { Decision } from "./databases/register.ts";
import type { VoteColumns } from "./databases/seal.ts";
import { keyFaults, moneyFaults, sealOf, stockFaults, watermarkFaults, watermarkOf } from "./invariants.ts";
import type { ClientPlan } from "./plan.ts";
import type { Shop } from "./shop.ts";
import type { World } from "./world.ts";

/** What has ever been known of one transaction. */
interface History {
  enlisted: string[];
  decision: Outcome | undefined;
  /** Participants that have recorded a yes, or a no. */
  yes: Set<string>;
  no: Set<string>;
  /** The last state of each vote. */
  states: Map<string, VoteColumns["state"]>;
}

const VOTES: Record<string, string> = { order: "orders", product: "reservations", payment: "payments" };
const isInDoubt = (state: VoteColumns["state"] | undefined): boolean =>
  state === "prepared" || state === "authorizing";

export class Checker {
  readonly #world: World;
  readonly #shop: Shop;
  readonly #histories = new Map<TxId, History>();
  /** The order that a 201 named for a key. */
  readonly #confirmed = new Map<string, TxId>();
  #inDoubt = 0;
  /** Votes in doubt at one moment, at most. */
  inDoubtMax = 0;

  constructor(world: World, shop: Shop) {
    this.#world = world;
    this.#shop = shop;
  }

  onRun(node: string, txId: TxId, requests: Requests): void {
    const enlisted = Object.keys(requests);
    if (this.#histories.has(txId)) this.#world.violate(`${txId} is minted a second time`);
    this.#of(txId).enlisted = enlisted;
    const { idempotencyKey, replaces } = requests.order as OrderRequest;
    this.#world.note(node, { step: "run", txId, enlisted, key: idempotencyKey, replaces });
  }

  onAlarm(node: string, message: string, detail: object): void {
    this.#world.violate(`${node}: ${message} ${JSON.stringify(detail)}`);
  }

  /** What a participant has just answered to prepares. Only votes that are recorded may be told. */
  onVotes(participant: string, entries: PrepareEntry[], replies: readonly PrepareReply[]): void {
    for (const [i, { txId }] of entries.entries()) {
      const { yes, states } = this.#of(txId);
      const kind = replies[i]?.kind;
      if (kind === "yes" && !yes.has(participant))
        this.#world.violate(`${participant} says yes to ${txId} and has not recorded it`);
      const reply = replies[i];
      if (reply?.kind === "error" && reply.code === "internal_error")
        this.#world.violate(`${participant} fails at ${txId}: ${reply.message}`);
      if (kind === "no" && states.get(participant) !== "aborted")
        this.#world.violate(`${participant} says no to ${txId} and has not recorded it`);
    }
  }

  /** What a participant has just acknowledged. Only what is durable may be. */
  onSettled(
    participant: string,
    txIds: TxId[],
    replies: readonly DecisionReply[],
    state: "committed" | "aborted",
  ): void {
    for (const [i, txId] of txIds.entries()) {
      if (replies[i] !== "done") continue;
      const is = this.#of(txId).states.get(participant);
      if (is !== state)
        this.#world.violate(
          `${participant} acknowledges that ${txId} is ${state}, it is ${is ?? "without a row"}`,
        );
    }
  }

  hasVoted(participant: string, txId: TxId): boolean {
    const state = this.#of(txId).states.get(participant);
    return state === "prepared" || state === "committed";
  }

  onStrayCommit(participant: string, reply: DecisionReply | undefined): void {
    if (reply === "done")
      this.#world.violate(`${participant} acknowledges the commit of a transaction it never voted on`);
  }

  onStrayPrepare(participant: string, txId: TxId, reply: PrepareReply | undefined): void {
    if (reply?.kind === "yes" || reply?.kind === "no")
      this.#world.violate(`${participant} votes ${reply.kind} on another request under ${txId}`);
  }

  onDurable(database: string, changes: Change[], statement: Statement | undefined, _rows: Rows): void {
    if (database === "register") {
      if (statement?.name === "decide") this.#onDecide(statement, changes);
      for (const change of changes) {
        if (change.table === "watermark" && !change.before) continue; // as the migrations leave it
        if (change.table === "decisions") this.#onDecision(change);
        if (change.table === "watermark") this.#onWatermark(change);
      }
      return;
    }
    for (const change of changes)
      if (change.table === VOTES[database])
        this.#onVote(database, change.key, change.before as VoteColumns, change.after as VoteColumns);
    for (const change of changes)
      if (change.table === "seal" && change.before) this.#onSeal(database, change);
    if (database === "product") this.#accuse(stockFaults(this.#shop, this.#world.plan.stock));
    if (database === "order" && changes.length > 0) this.#accuse(keyFaults(this.#shop));
  }

  onBank(what: "capture" | "void", txId: TxId): void {
    const { decision } = this.#of(txId);
    if (what === "capture" && decision !== "commit")
      this.#world.violate(`payment captures ${txId}, which is ${decision ?? "undecided"}`);
    if (what === "void" && decision === "commit")
      this.#world.violate(`payment voids ${txId}, which is commit`);
  }

  onAnswer(
    client: ClientPlan,
    items: { quantity: number }[],
    status: number,
    txId: TxId | undefined,
    code: string | undefined,
  ): void {
    const { key } = client;
    this.#world.note(client.name, { step: "answer", txId, key, status, code });
    if (txId === undefined) return;
    const order = this.#shop.databases.order.row<OrderVote>("orders", txId);
    if (status === 202 && order?.answered_pending !== true)
      this.#world.violate(`202 for ${txId}, whose row is not marked: ${JSON.stringify(order)}`);
    if (status !== 201) return;
    const before = this.#confirmed.get(key);
    if (before !== undefined && before !== txId)
      this.#world.violate(`201 for ${txId}, and before for ${before}, under ${key}`);
    this.#confirmed.set(key, txId);
    if (order?.state !== "committed")
      this.#world.violate(`201 for ${txId}, which is ${order?.state ?? "nothing"}`);
    const [line] = (order?.lines ?? []) as { quantity: number }[];
    if (line?.quantity !== items[0]?.quantity)
      this.#world.violate(`201 for ${txId}, which is ${line?.quantity} units and not ${items[0]?.quantity}`);
  }

  onReading(txId: TxId, status: number, state: string): void {
    if (status === 201 && state !== "committed") this.#world.violate(`after 201 ${txId} reads ${state}`);
    if (state === "none") this.#world.violate(`after ${status} there is no order ${txId}`);
  }

  /** True when nothing is left to be done by anybody. */
  get isQuiet(): boolean {
    if (this.#inDoubt > 0 || this.#world.underway > 0 || !this.#shop.network.isIdle) return false;
    const { register, payment } = this.#shop.databases;
    return (
      register.rows<Decision>("decisions").every((row) => row.settled) &&
      payment.rows<PaymentVote>("payments").every((row) => !row.debt)
    );
  }

  /** True when no decision is left to be deleted. */
  get isPruned(): boolean {
    return this.isQuiet && this.#shop.databases.register.rows("decisions").length === 0;
  }

  /** What is unfinished, for people. */
  get unfinished(): string {
    const votes = [...this.#histories].flatMap(([txId, { states }]) =>
      [...states].filter(([, state]) => isInDoubt(state)).map(([name, state]) => `${name} ${state} ${txId}`),
    );
    const { register, payment } = this.#shop.databases;
    const commits = register.rows<Decision>("decisions").filter((row) => !row.settled);
    const debts = payment.rows<PaymentVote>("payments").filter((row) => row.debt);
    return [
      ...votes,
      ...commits.map((row) => `unacknowledged ${row.tx_id}: ${row.acknowledged}`),
      ...debts.map((row) => `${row.debt} owed ${row.tx_id}`),
    ].join("; ");
  }

  /** On a quiet shop: the invariants over all databases and the bank. */
  checkEnd(): void {
    for (const [txId, { states, enlisted, decision }] of this.#histories) {
      const final = new Set(states.values());
      if (final.size > 1) this.#world.violate(`${txId} ends as ${JSON.stringify([...states])}`);
      if (final.has("committed") && (states.size !== enlisted.length || decision !== "commit"))
        this.#world.violate(`${txId}, decided ${decision}, is committed at ${[...states.keys()]} only`);
      if (decision === "commit" && !final.has("committed"))
        this.#world.violate(`${txId} is decided and not carried out`);
      this.#accuse(moneyFaults(this.#shop, txId, final.has("committed")));
    }
    const { order } = this.#shop.databases;
    const orders = order.rows<OrderVote>("orders");
    const confirmed = orders.filter(({ state }) => state === "committed");
    const rejected = orders.filter((row) => row.state === "aborted" && row.answered_pending);
    for (const [what, due] of Object.entries({ confirmed, rejected })) {
      const events = order.rows<Told>("outbox").filter(({ type }) => type === `order.${what}`);
      const told = new Set(events.map(({ tx_id }) => tx_id));
      if (events.length !== due.length || due.some(({ tx_id }) => !told.has(tx_id)))
        this.#world.violate(`${events.length} events for ${due.length} ${what} orders`);
    }
    for (const [key, txId] of this.#confirmed)
      if (!confirmed.some(({ tx_id }) => tx_id === txId))
        this.#world.violate(`201 for ${key}, but no order ${txId}`);
  }

  #onDecide({ values = [] }: Statement, changes: Change[]): void {
    const [txIds, proposed] = values as [TxId[], Outcome[]];
    const stored = new Set(changes.map(({ key }) => key));
    for (const [i, txId] of txIds.entries()) {
      const outcome = this.#shop.databases.register.row<Decision>("decisions", txId)?.outcome;
      this.#world.note("register", {
        step: "decide",
        txId,
        proposed: proposed[i] as Outcome,
        outcome,
        stored: stored.has(txId),
      });
    }
  }

  #onDecision({ key: txId, before, after }: Change): void {
    const history = this.#of(txId);
    const [was, is] = [before as Decision | undefined, after as Decision | undefined];
    if (!is) {
      this.#world.note("register", { step: "prune", txId, participant: undefined });
      if (!was?.settled) this.#world.violate(`the decision on ${txId} is deleted before it is settled`);
      if (txId > this.#watermark)
        this.#world.violate(`the decision on ${txId} is deleted above the watermark`);
      return;
    }
    if (!was && txId <= this.#watermark) this.#world.violate(`${txId} is decided at or below the watermark`);
    if (history.decision !== undefined && history.decision !== is.outcome)
      this.#world.violate(`the decision on ${txId} turns from ${history.decision} to ${is.outcome}`);
    if (!was && is.outcome === "commit") {
      const { enlisted, states } = history;
      if (is.participants.join() !== enlisted.join())
        this.#world.violate(`${txId} commits for ${is.participants}, enlisted are ${enlisted}`);
      for (const name of enlisted)
        if (states.get(name) !== "prepared")
          this.#world.violate(
            `${txId} is decided commit, but ${name} is ${states.get(name) ?? "without a vote"}`,
          );
      if (enlisted.length === 0) this.#world.violate(`${txId} commits with nobody enlisted`);
    }
    history.decision = is.outcome;
    const participants = is.acknowledged.filter((name) => !was?.acknowledged.includes(name));
    if (participants.length === 0) return;
    this.#world.note("register", { step: "acknowledge", txId, participants });
    for (const name of participants)
      if (history.states.get(name) !== "committed")
        this.#world.violate(
          `${name} has acknowledged ${txId} and is ${history.states.get(name) ?? "without a vote"}`,
        );
    if (participants.includes("payment") && this.#shop.bank.accounts.get(txId)?.captures === 0)
      this.#world.violate(`payment has acknowledged ${txId} and not captured`);
  }

  #onVote(
    participant: string,
    txId: TxId,
    before: VoteColumns | undefined,
    after: VoteColumns | undefined,
  ): void {
    const history = this.#of(txId);
    const note = (step: Parameters<World["note"]>[1]) => this.#world.note(participant, step);
    this.#count(before?.state, after?.state);
    if (!after) {
      note({ step: "prune", txId, participant });
      if (isInDoubt(before?.state)) this.#world.violate(`${participant} deletes ${txId}, which is in doubt`);
      if (txId > this.#watermark) this.#world.violate(`${participant} deletes ${txId} above the watermark`);
      if (participant !== "product" && before?.state === "committed")
        this.#world.violate(`${participant} deletes ${txId}, which is no mere vote`);
      return;
    }
    if (!before && txId <= sealOf(this.#shop, participant))
      this.#world.violate(`${participant} records ${txId} at or below its seal`);
    const last = history.states.get(participant);
    if (last === after.state) return;
    if (last === "committed" || last === "aborted" || (last === "prepared" && after.state === "authorizing"))
      this.#world.violate(`${participant} turns ${txId} from ${last} to ${after.state}`);
    history.states.set(participant, after.state);
    if (after.state === "prepared") {
      history.yes.add(participant);
      note({ step: "vote", txId, participant, vote: "yes" });
    } else if (after.state === "committed") {
      note({ step: "settle", txId, participant, outcome: "commit" });
      if (last !== "prepared") this.#world.violate(`${participant} commits ${txId} without having voted`);
      if (history.decision !== "commit")
        this.#world.violate(`${participant} commits ${txId}, which is ${history.decision ?? "undecided"}`);
    } else if (after.state === "aborted") {
      if (after.refusal) history.no.add(participant);
      const isMayBe = history.decision === "abort" || (history.decision === undefined && history.no.size > 0);
      if (!isMayBe)
        this.#world.violate(
          `${participant} aborts ${txId}, which is ${history.decision ?? "undecided"} and not refused`,
        );
      if (last === "prepared") note({ step: "settle", txId, participant, outcome: "abort" });
      else note({ step: "vote", txId, participant, vote: after.refusal ? "no" : "tombstone" });
    }
  }

  get #watermark(): TxId {
    return watermarkOf(this.#shop);
  }

  /** Rule 7 (a). */
  #onSeal(participant: string, { before, after }: Change): void {
    const [was, txId] = [before?.tx_id ?? "", after?.tx_id] as [TxId, TxId];
    this.#world.note(participant, { step: "seal", txId, participant });
    if (txId <= was) this.#world.violate(`${participant} lowers its seal from ${was} to ${txId}`);
    for (const [id, { states }] of this.#histories)
      if (id <= txId && isInDoubt(states.get(participant)))
        this.#world.violate(`${participant} seals ${txId} over ${id}, which is in doubt`);
  }

  /** Rule 7 (b). */
  #onWatermark({ before, after }: Change): void {
    const [was, txId] = [before?.tx_id ?? "", after?.tx_id] as [TxId, TxId];
    this.#world.note("register", { step: "watermark", txId });
    if (txId <= was) this.#world.violate(`the watermark falls from ${was} to ${txId}`);
    this.#accuse(watermarkFaults(this.#shop, txId));
  }

  #accuse(faults: readonly string[]): void {
    for (const fault of faults) this.#world.violate(fault);
  }

  #count(before: VoteColumns["state"] | undefined, after: VoteColumns["state"] | undefined): void {
    this.#inDoubt += Number(isInDoubt(after)) - Number(isInDoubt(before));
    this.inDoubtMax = Math.max(this.inDoubtMax, this.#inDoubt);
  }

  #of(txId: TxId): History {
    let history = this.#histories.get(txId);
    if (!history) {
      history = { enlisted: [], decision: undefined, yes: new Set(), no: new Set(), states: new Map() };
      this.#histories.set(txId, history);
    }
    return history;
  }
}
