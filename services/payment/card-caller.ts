/**
 * The card caller: the only one who talks to the gateway. It calls outside any database transaction and any batch, by
 * a key that is the txId, and batches what it writes down afterwards. Authorizations are resumed and debts are paid by
 * whoever finds them, this process or another, because every call may be repeated.
 *
 * A timeout is not a decline: after TIMEOUT_MS it asks the gateway by key, and if that knows nothing it calls again.
 */
import type { Clock } from "../../actors/clock.ts";
import type { PrepareReply, TxId } from "../../actors/protocol/messages.ts";
import type { Supervisor } from "../../actors/supervisor.ts";
import { isError, ShopError } from "../../lib/errors.ts";
import { LOWEST_ID } from "../../lib/ids.ts";
import { unavailable } from "../../mixins/database.errors.ts";
import type { Database } from "../../mixins/database.mixin.ts";
import type { Authorization, CardGateway } from "./gateway.ts";
import {
  type Answer,
  clearDebts,
  type Debt,
  findDebts,
  findOwed,
  type Intent,
  type Owed,
  recordAnswers,
} from "./payment.repository.ts";

const TIMEOUT_MS = 1_000;
const CALLS_MAX = 3;
/** How long a batch waits for its cards to answer: a healthy gateway has, a slow one delays nobody else. */
const SHORT_WHILE_MS = 2;
/** How long an answer that is in may take to become durable: longer than any healthy batch. */
const RECORD_MS = 250;
const PENDING: PrepareReply = Object.freeze({ kind: "pending" });
const STILL_PENDING = Promise.resolve(PENDING);
/** How long a commit waits for its captures: nobody waits for it, but what is not captured by then is driven again. */
const CAPTURE_MS = 500;
const DEBT_INTERVAL_MS = 1_000;
const DEBTS_MAX = 200;

interface Authorizing {
  /** True once the gateway has answered or failed. */
  readonly answered: Promise<boolean>;
  /** The vote, once it is durable; never rejects. */
  readonly reply: Promise<PrepareReply>;
  readonly hash: string;
}

export class CardCaller {
  readonly #gateway: CardGateway;
  readonly #db: Database;
  readonly #authorizing = new Map<TxId, Authorizing>();
  readonly #paying = new Map<TxId, Promise<boolean>>();
  #lookedUpTo = LOWEST_ID;
  readonly #answers;
  readonly #payments;
  readonly #clock: Clock;
  readonly #alarm: (message: string, detail: object) => void;

  constructor(options: {
    gateway: CardGateway;
    db: Database;
    supervisor: Supervisor;
    alarm: (message: string, detail: object) => void;
  }) {
    const { gateway, db, supervisor, alarm } = options;
    this.#gateway = gateway;
    this.#db = db;
    this.#alarm = alarm;
    this.#clock = supervisor.clock;
    this.#answers = supervisor.mailbox({
      name: "card-answers",
      capacity: Number.POSITIVE_INFINITY,
      inFlightMax: 2,
      behaviour: async (batch: Answer[]) => {
        // That the database is away says nothing of the card: the manager is told, and asks again.
        const recorded = await recordAnswers(db, sorted(batch)).catch((err) => {
          throw unavailable(err);
        });
        return batch.map((answer) => recorded.has(answer.txId));
      },
    });
    this.#payments = supervisor.mailbox({
      name: "card-debts",
      capacity: Number.POSITIVE_INFINITY,
      inFlightMax: 2,
      behaviour: async (batch: Owed[]) => {
        await clearDebts(db, sorted(batch));
        return batch.map(() => true);
      },
    });
    supervisor.loop({ name: "card-debts", intervalMs: DEBT_INTERVAL_MS, tick: () => this.#payOldDebts() });
  }

  /**
   * Starts or joins the authorization of each intent. Those whose card has answered within a short while get their
   * vote, as soon as it is durable; the others are `pending`.
   */
  async authorize(intents: Intent[]): Promise<PrepareReply[]> {
    // A call that was joined has had its short while already.
    const patienceMs = intents.every((intent) => this.#authorizing.has(intent.txId)) ? 0 : SHORT_WHILE_MS;
    const calls = intents.map((intent) => this.#authorizing.get(intent.txId) ?? this.#begin(intent));
    const answered = await decided(
      this.#clock,
      calls.map((call) => call.answered),
      false,
      patienceMs,
    );
    return decided(
      this.#clock,
      calls.map((call, i) => (answered[i] ? call.reply : STILL_PENDING)),
      PENDING,
      RECORD_MS,
    );
  }

  /**
   * `pending` for a transaction whose card is being asked right now, undefined where none is. It is the answer to a
   * manager that asks again, and costs no statement; the vote follows once it is durable.
   */
  ongoing(txId: TxId, hash: string): PrepareReply | undefined {
    const call = this.#authorizing.get(txId);
    if (!call) return undefined;
    return call.hash === hash ? PENDING : { kind: "conflict" };
  }

  /** Captures by key; returns those captured in time. Writes nothing down. */
  async capture(txIds: TxId[]): Promise<Set<TxId>> {
    const captured = await decided(
      this.#clock,
      txIds.map((txId) => this.#call(txId, "capture")),
      false,
      CAPTURE_MS,
    );
    return new Set(txIds.filter((_, i) => captured[i]));
  }

  /** Pays what these still owe; returns those that could not be paid in time, which stay owed and are retried. */
  async pay(txIds: TxId[]): Promise<Set<TxId>> {
    if (txIds.length === 0) return new Set();
    const debts = await findOwed(this.#db, txIds);
    const paid = await decided(
      this.#clock,
      debts.map(({ txId, debt }) => this.#pay(txId, debt)),
      false,
      CAPTURE_MS,
    );
    return new Set(debts.filter((_, i) => !paid[i]).map(({ txId }) => txId));
  }

  /** Begins to pay. Nobody waits: the debts are durable, and the loop pays what this does not. */
  payLater(txIds: TxId[]): void {
    this.pay(txIds).catch((err) => this.#alarm(`debts are paid later: ${(err as Error).message}`, {}));
  }

  #begin(intent: Intent): Authorizing {
    const asked = this.#ask(intent);
    const ended = () => true;
    const call: Authorizing = {
      hash: intent.hash,
      answered: asked.then(ended, ended),
      reply: this.#vote(intent.txId, asked),
    };
    this.#authorizing.set(intent.txId, call);
    return call;
  }

  async #vote(txId: TxId, asked: Promise<Authorization>): Promise<PrepareReply> {
    try {
      return await this.#record(txId, await asked);
    } catch (err) {
      return errorReply(err as Error);
    } finally {
      this.#authorizing.delete(txId);
    }
  }

  async #record(txId: TxId, authorization: Authorization): Promise<PrepareReply> {
    const approved = authorization.kind === "approved";
    const refusal = approved
      ? undefined
      : { reason: "payment_declined", detail: { declineReason: authorization.reason } };
    const recorded = await this.#answers.ask({
      txId,
      authorizationId: approved ? authorization.authorizationId : undefined,
      refusal,
    });
    // An abort came first and left the debt to void, or another replica recorded its answer: the row knows, ask again.
    if (!recorded) return { kind: "pending" };
    return refusal ? { kind: "no", ...refusal } : { kind: "yes" };
  }

  /** No answer is lost: a call that is repeated goes on, and whichever of them answers first counts. */
  async #ask({ txId, amount, currency, token }: Intent): Promise<Authorization> {
    const running = new Set<Promise<Authorization>>();
    for (let calls = 1; ; calls++) {
      const call = this.#gateway.authorize({ key: txId, amount, currency, token });
      const first = running.size === 0 ? call : Promise.race([...running, call]);
      try {
        return await within(this.#clock, TIMEOUT_MS, first);
      } catch (err) {
        if (isError(err, "payment_unavailable") || calls === CALLS_MAX) throw err;
        running.add(call);
        call.catch(() => running.delete(call)); // a failure has been heard once and must not be heard again
        const known = await within(this.#clock, TIMEOUT_MS, this.#gateway.lookup(txId)).catch(
          () => undefined,
        );
        if (known && known.kind !== "unknown") return known;
      }
    }
  }

  #pay(txId: TxId, debt: Debt): Promise<boolean> {
    let payment = this.#paying.get(txId);
    if (!payment) {
      payment = this.#payOnce(txId, debt).finally(() => this.#paying.delete(txId));
      this.#paying.set(txId, payment);
    }
    return payment;
  }

  async #payOnce(txId: TxId, debt: Debt): Promise<boolean> {
    // A void must not overtake the authorization it lets go of.
    await this.#authorizing.get(txId)?.reply;
    if (!(await this.#call(txId, debt))) return false;
    return this.#payments.ask({ txId, debt }).catch((err) => {
      this.#alarm(`a paid debt could not be cleared; it is paid again: ${(err as Error).message}`, { txId });
      return false;
    });
  }

  async #call(txId: TxId, debt: Debt): Promise<boolean> {
    try {
      await within(
        this.#clock,
        TIMEOUT_MS,
        debt === "capture" ? this.#gateway.capture(txId) : this.#gateway.void(txId),
      );
      return true;
    } catch (err) {
      this.#alarm(`the card gateway could not ${debt}; it is tried again: ${(err as Error).message}`, {
        txId,
      });
      return false;
    }
  }

  /** Page after page, then from the beginning: debts that cannot be paid must not keep the others from their turn. */
  async #payOldDebts(): Promise<boolean> {
    const debts = await findDebts(this.#db, this.#lookedUpTo, DEBTS_MAX);
    this.#lookedUpTo = (debts.length === DEBTS_MAX && debts.at(-1)?.txId) || LOWEST_ID;
    const paid = await Promise.all(debts.map(({ txId, debt }) => this.#pay(txId, debt)));
    return debts.length === DEBTS_MAX && paid.includes(true);
  }
}

/** Replicas lock rows in one order. */
const sorted = <Each extends { txId: TxId }>(batch: Each[]): Each[] =>
  batch.toSorted((a, b) => (a.txId < b.txId ? -1 : 1));

const errorReply = (err: Error & { type?: string }): PrepareReply => ({
  kind: "error",
  code: err.type ?? "payment_unavailable",
  message: err.message,
});

/** The results that are in after `ms`; `otherwise` for the rest, which go on. Nothing waits once all are in. */
function decided<Result>(
  clock: Clock,
  calls: readonly Promise<Result>[],
  otherwise: Result,
  ms: number,
): Promise<Result[]> {
  if (calls.length === 0) return Promise.resolve([]);
  return new Promise((resolve, reject) => {
    const results = calls.map(() => otherwise);
    let missing = calls.length;
    const cancel = clock.after(ms, () => resolve([...results]));
    const fail = (err: unknown) => {
      cancel();
      reject(err);
    };
    calls.forEach((call, i) => {
      call.then((result) => {
        results[i] = result;
        if (--missing > 0) return;
        cancel();
        resolve(results);
      }, fail);
    });
  });
}

function within<Result>(clock: Clock, ms: number, call: Promise<Result>): Promise<Result> {
  return new Promise((resolve, reject) => {
    const cancel = clock.after(ms, () =>
      reject(new ShopError("deadline_exceeded", `the card gateway did not answer within ${ms} ms`)),
    );
    call.then(resolve, reject).finally(cancel);
  });
}
