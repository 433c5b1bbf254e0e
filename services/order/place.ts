/**
 * Placing an order, top to bottom: settle what the key already stands for, price the goods, run the transaction, tell
 * the client the truth. Nothing here is durable by itself; the order's row is, and the decision register.
 *
 * | the transaction answers | the client hears |
 * |---|---|
 * | commit, durable at order | 201 |
 * | commit, order not yet | 202, and the order is confirmed a moment later |
 * | abort | 409 or 402 for a no: nothing is held, the key is free; 5xx where votes are missing |
 * | abort with a no, and somebody may hold something still | 503: the same key gets the no |
 * | unknown, order has voted | 202: the order says pending until it knows |
 * | either of the two, and order's database is away | 504 |
 * | unknown, order has not voted | 504: the same key gets the truth |
 */
import type { Failure, InquiryReply, Requests, RunResult, TxId } from "../../actors/protocol/messages.ts";
import { requestHash } from "../../actors/protocol/request-hash.ts";
import { isOutOfReach, ShopError } from "../../lib/errors.ts";
import type { Money } from "../../lib/money.ts";
import type { Quote } from "../product/api.ts";
import { firstRefusal, type OrderRequest, type OrderRow, type OrderState, refusalError } from "./order.ts";

export interface PlaceCommand {
  userId: string;
  idempotencyKey: string | undefined;
  items: { productId: string; quantity: number }[];
  token: string;
  expectedTotal: Money | undefined;
}

export interface Placed {
  status: 201 | 202;
  order: OrderRow;
  replayed: boolean;
}

/** Everything outside that placing needs. */
export interface PlacePorts {
  findByKey(userId: string, key: string): Promise<OrderRow | undefined>;
  quote(items: PlaceCommand["items"], fresh: boolean): Promise<Quote>;
  run(
    requests: Requests,
    options: { prepareMs: number; answerMs: number; durableAt: string[] },
  ): Promise<RunResult>;
  outcomeOf(txId: TxId): Promise<InquiryReply>;
  /** Carries out a commit that the register has decided; resolves when it is durable here. */
  commitHere(txId: TxId): Promise<void>;
  /** Undefined where there is no such order, or nobody can say. */
  markAnsweredPending(txId: TxId): Promise<OrderState | undefined>;
  /** Participants outside the shop, which take part in every order. */
  foreign: readonly string[];
  /** For the date that the order bears, and nothing else. */
  today(): Date;
  /** Milliseconds, by a clock that cannot jump. */
  now(): number;
}

/** The client hears something within 5 s, the action's time limit. What an attempt comes after shortens it, down to the
 *  least that is worth beginning. All votes within 3 s, where it has its whole time: a slow card takes 2. */
const ANSWER_MS = 4_500;
const ATTEMPT_MS_MIN = 500;
const VOTES_SHARE = 2 / 3;
/** One more attempt after a stale quote, and one after losing the key to a rival that then failed. */
const ATTEMPTS_MAX = 3;

/** `bodyHash` is that of `command`: the caller compares it, too. */
export async function place(command: PlaceCommand, bodyHash: string, ports: PlacePorts): Promise<Placed> {
  const answerBy = ports.now() + ANSWER_MS;
  let replaces: TxId | undefined;
  let quote: Quote | undefined;
  for (let attempt = 1; ; attempt++) {
    if (command.idempotencyKey !== undefined && replaces === undefined) {
      const taken = await settleKey(command.userId, command.idempotencyKey, bodyHash, ports);
      if (taken?.placed) return taken.placed;
      replaces = taken?.replaces;
    }
    quote ??= await price(command, ports);
    const { lines, total, currency } = quote;
    const answerMs = answerBy - ports.now();
    if (answerMs < ATTEMPT_MS_MIN) throw failureError([]);
    const request: OrderRequest = {
      userId: command.userId,
      idempotencyKey: command.idempotencyKey,
      bodyHash: command.idempotencyKey === undefined ? undefined : bodyHash,
      replaces,
      lines,
      total,
      currency,
      createdAt: ports.today().toISOString(),
    };
    const result = await ports.run(
      {
        // First, because its vote takes two steps and a call in between: the others vote meanwhile.
        payment: { userId: command.userId, amount: total, currency, token: command.token },
        order: request,
        product: {
          currency,
          lines: lines.map(({ productId, quantity, unitPrice }) => ({ productId, quantity, unitPrice })),
        },
        ...Object.fromEntries(
          ports.foreign.map((name) => [name, { userId: command.userId, total, currency, lines }]),
        ),
      },
      { prepareMs: answerMs * VOTES_SHARE, answerMs, durableAt: ["order"] },
    );
    if (result.outcome !== "abort") return answerUndecided(result, toRow(result.txId, request), ports);

    const refusal = firstRefusal(result.refusals);
    if (attempt < ATTEMPTS_MAX && refusal?.reason === "key_taken") {
      replaces = undefined;
    } else if (attempt < ATTEMPTS_MAX && refusal?.reason === "price_changed" && !command.expectedTotal) {
      // A stale quote is our fault, not the client's: price again from the source, as a new attempt under the key.
      replaces = command.idempotencyKey === undefined ? undefined : result.txId;
      quote = await ports.quote(command.items, true);
    } else if (refusal) {
      // A no says that nothing is held, which is not known here. (A manager of the version before does not say.)
      throw result.released === false ? unavailable() : refusalError(refusal, lines);
    } else {
      throw failureError(result.failures);
    }
  }
}

/** What the user's key stands for: a finished order to repeat, an aborted attempt to replace, or nothing. */
async function settleKey(
  userId: string,
  key: string,
  bodyHash: string,
  ports: PlacePorts,
): Promise<{ placed?: Placed; replaces?: TxId } | undefined> {
  const held = await ports.findByKey(userId, key);
  if (!held) return undefined;
  const sameBody = held.body_hash === bodyHash;
  let state = held.state;
  if (state === "prepared") {
    const outcome = await ports.outcomeOf(held.id);
    if (outcome === "abort") return { replaces: held.id };
    if (outcome === "commit") {
      await ports.commitHere(held.id);
      state = "committed";
    }
  }
  if (!sameBody) throw keyReused();
  if (state === "committed") return { placed: { status: 201, order: { ...held, state }, replayed: true } };
  throw requestInProgress();
}

export const keyReused = (): ShopError =>
  new ShopError("key_reused", "This Idempotency-Key belongs to an order with another body; use a new key.");

export const requestInProgress = (): ShopError =>
  new ShopError(
    "request_in_progress",
    "An order with this Idempotency-Key is still being placed; ask again.",
    { retryAfter: 1 },
  );

/** Prices the items. A remembered price that contradicts `expectedTotal` is looked up before it is held against it. */
async function price(command: PlaceCommand, ports: PlacePorts): Promise<Quote> {
  const differs = (quote: Quote, expected: Money) =>
    quote.total !== expected.amount || quote.currency !== expected.currency;
  const quote = await ports.quote(command.items, false);
  if (!command.expectedTotal || !differs(quote, command.expectedTotal)) return quote;
  const fresh = await ports.quote(command.items, true);
  if (!differs(fresh, command.expectedTotal)) return fresh;
  throw new ShopError(
    "price_changed",
    `The total is ${fresh.total} ${fresh.currency} in minor units, not ${command.expectedTotal.amount} ${command.expectedTotal.currency}; look at it and order again.`,
    { total: { amount: fresh.total, currency: fresh.currency } },
  );
}

/** Commit, or unknown: while order holds a vote no error but "too late", because the order may well come true. */
async function answerUndecided(
  result: Exclude<RunResult, { outcome: "abort" }>,
  order: OrderRow,
  ports: PlacePorts,
): Promise<Placed> {
  if (result.outcome === "commit" && result.durable.includes("order"))
    return { status: 201, order: { ...order, state: "committed" }, replayed: false };
  if (result.outcome === "unknown" && !result.prepared.includes("order")) throw failureError([]);
  // Durable before it is said: whatever becomes of the order, its client can look it up.
  const state = await ports.markAnsweredPending(result.txId);
  if (state === undefined) throw failureError([]);
  return { status: state === "committed" ? 201 : 202, order: { ...order, state }, replayed: false };
}

const unavailable = (): ShopError =>
  new ShopError("unavailable", "A part of the shop cannot be reached; nothing was bought. Try again.", {
    retryAfter: 1,
  });

export function failureError(failures: readonly Failure[]): ShopError {
  const codes = new Set(failures.map((failure) => failure.code));
  // Answered as "too late" a bug would stay hidden, and its client would repeat the request in vain. The edge logs the
  // detail and the members of a 500, and shows its client neither.
  if (codes.size === 1 && codes.has("internal_error"))
    return new ShopError(
      "internal_error",
      `no votes: ${failures.map(({ participant, message }) => `${participant}: ${message}`).join("; ")}`,
      { failures },
    );
  if (codes.has("payment_unavailable"))
    return new ShopError(
      "payment_unavailable",
      "The payment provider cannot be reached; nothing was bought. Try again.",
      {
        retryAfter: 1,
      },
    );
  if (codes.has("overloaded"))
    return new ShopError("overloaded", "The shop is overloaded; nothing was bought. Try again.", {
      retryAfter: 1,
    });
  if ([...codes].some(isOutOfReach)) return unavailable();
  return new ShopError(
    "deadline_exceeded",
    "The order was not decided in time; repeat it with the same Idempotency-Key.",
    {
      retryAfter: 1,
    },
  );
}

/** The canonical body: what the client asked for, in one order of members. */
export const bodyHashOf = ({ items, token, expectedTotal }: PlaceCommand): string =>
  requestHash(
    JSON.stringify([
      items.map(({ productId, quantity }) => [productId, quantity]),
      token,
      expectedTotal ? [expectedTotal.amount, expectedTotal.currency] : null,
    ]),
  );

const toRow = (id: TxId, request: OrderRequest): OrderRow => ({
  id,
  state: "prepared",
  answered_pending: false,
  user_id: request.userId,
  body_hash: request.bodyHash ?? null,
  lines: request.lines,
  total: request.total,
  currency: request.currency,
  created_at: new Date(request.createdAt),
});
