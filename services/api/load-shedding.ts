/**
 * Refuses requests before they cost anything: 503 with Retry-After, ahead of authentication, body and broker. The limit
 * is on requests in flight. It is fixed for when what stands behind is slow, and shrinks while the event loop is late,
 * for when this process is. Health checks are never refused: a busy node is not a dead one.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { ShopError } from "../../lib/errors.ts";
import { requestIdOf } from "../../lib/headers.ts";
import { corsHeaders, responseHeaders } from "./headers.ts";
import { problemOf } from "./problem.ts";

/** How often the delay is looked at; it also is the shortest delay that can be told from none. */
const SAMPLE_MS = 20;
/** The delay that is aimed at: a refused client waits for a turn of the loop or two, and is to hear within 100 ms. */
const DELAY_MS_TARGET = 50;
/** Weight of the newest sample: a single long turn (a collection, a big document) changes little. */
const WEIGHT = 0.3;
/**
 * Never fewer. With fewer in flight the delay is not their doing, a crowd of buyers is no overload, and batches need
 * company to be cheap.
 */
const IN_FLIGHT_MIN = 256;
const SHRINK = 0.9;
const GROW = 1.05;
/** An answer that takes longer is late. Far above a checkout's time, well below what a client waits (5 s). */
const LATE_MS = 1_000;
/** A node that falls silent keeps its callers waiting until it is given up. That is no queue, and soon over: answers must
 *  have been late, or none at all, for longer than that. */
const STALL_MS = 3_000;
/** After shrinking, lateness that comes back is known for what it is, and is not waited out again. */
const KNOWN_MS = 60_000;
/** How often answers are looked at, and of how many at least: one late order in an idle shop is no queue. */
const LOOK_MS = 250;
const ANSWERS_MIN = 8;
/** While answers are late. A card provider that is slow for everybody looks the same, so some always get in. */
const QUEUE_MIN = 32;
const QUEUE_SHRINK = 0.6;
/** After shrinking it does not grow: the slowest that came in since must have been heard. */
const HOLD_MS = 3 * LATE_MS;
const QUEUE_GROW = 1.1;
/**
 * What is let in while there is a queue: as many as were answered in this time, of late. What waits for longer than a
 * checkout has for its votes was let in for nothing, and while that is cleared away nothing else is done. A queue makes
 * most answers take longer than this; some slow cards, or a node that is silent, only theirs.
 */
const FLOW_MS = 500;
/** A look is soon, and what came in since the last change is not answered yet. */
const FLOW_GROW = 1.05;

/** Answers since the last look, and how many of them took longer than they should. */
interface Answers {
  count: number;
  late: number;
}

export interface LoadShedderOptions {
  inFlightMax: number;
  now?: () => number;
}

export class LoadShedder {
  readonly #inFlightMax: number;
  readonly #inFlightMin: number;
  readonly #now: () => number;
  #limit: number;
  /** As #limit, by how long answers take. */
  #queueLimit: number;
  /** As #limit, by how many are answered. */
  #flowLimit: number;
  #queueShrunkAt = Number.NEGATIVE_INFINITY;
  /** Since which look most answers are late; undefined while they are not. */
  #lateSince: number | undefined;
  /** Of requests that came in after the last change for the worse; late by LATE_MS. Reads and writes apart: catalogue
   *  reads stay quick while orders queue behind them. */
  readonly #answers: Record<"reads" | "writes", Answers> = {
    reads: { count: 0, late: 0 },
    writes: { count: 0, late: 0 },
  };
  #answeredAt = 0;
  #lookedAt = 0;
  /** Of all; late by FLOW_MS. */
  readonly #flows: Record<"reads" | "writes", Answers> = {
    reads: { count: 0, late: 0 },
    writes: { count: 0, late: 0 },
  };
  /** Since the last look. */
  #inFlightLeast = 0;
  #inFlight = 0;
  #delayMs = 0;
  #sampledAt = 0;
  #refused = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor({ inFlightMax, now = () => performance.now() }: LoadShedderOptions) {
    this.#inFlightMax = inFlightMax;
    this.#inFlightMin = Math.min(IN_FLIGHT_MIN, inFlightMax);
    this.#limit = inFlightMax;
    this.#queueLimit = inFlightMax;
    this.#flowLimit = inFlightMax;
    this.#now = now;
    this.#sampledAt = now();
    this.#answeredAt = now();
  }

  /** `tell` is called about once a second while requests are refused. */
  start(tell: (refused: number, limit: number) => void): void {
    let toldAt = this.#now();
    this.#sampledAt = toldAt;
    this.#timer = setInterval(() => {
      this.sample();
      if (this.#refused === 0 || this.#now() - toldAt < 1_000) return;
      tell(this.#refused, this.limit);
      this.#refused = 0;
      toldAt = this.#now();
    }, SAMPLE_MS).unref();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** Requests let in at once, as of now. */
  get limit(): number {
    return Math.floor(Math.min(this.#limit, this.#queueLimit, this.#flowLimit));
  }

  /** One look at how late this timer is, which is how long anything that was ready had to wait. */
  sample(): void {
    const now = this.#now();
    const delayMs = Math.max(0, now - this.#sampledAt - SAMPLE_MS);
    this.#sampledAt = now;
    this.#delayMs += WEIGHT * (delayMs - this.#delayMs);
    // From what there is, not from a limit that nobody has come near.
    if (this.#delayMs > DELAY_MS_TARGET && this.#inFlight >= this.#inFlightMin)
      this.#limit = Math.max(this.#inFlightMin, Math.min(this.#limit, this.#inFlight) * SHRINK);
    else if (this.#delayMs < DELAY_MS_TARGET / 2)
      this.#limit = Math.min(this.#inFlightMax, this.#limit * GROW);
    if (now - this.#lookedAt < LOOK_MS) return;
    this.#lookAtFlow(now - this.#lookedAt);
    this.#lookAtAnswers(now);
  }

  /** Acts at once, before anybody has been late: that is seconds after a queue began. */
  #lookAtFlow(sinceMs: number): void {
    const queued = Object.values(this.#flows).filter(({ count, late }) => late > count / 2);
    const flow = (queued.reduce((sum, { count }) => sum + count, 0) / sinceMs) * FLOW_MS;
    // Answers come in batches, so a queue is short for a moment now and then.
    const isQueue = queued.length > 0 && this.#inFlightLeast >= this.#inFlightMin / 2;
    const limit = isQueue
      ? Math.max(this.#inFlightMin, this.#flowLimit + WEIGHT * (flow - this.#flowLimit))
      : this.#flowLimit * FLOW_GROW;
    this.#flowLimit = Math.min(this.#inFlightMax, limit);
    for (const each of Object.values(this.#flows)) Object.assign(each, { count: 0, late: 0 });
    this.#inFlightLeast = this.#inFlight;
  }

  /** Most of them late for a while, or none where some are due: fewer are let in. Then only later requests count. */
  #lookAtAnswers(now: number): void {
    this.#lookedAt = now;
    const min = Math.min(QUEUE_MIN, this.#inFlightMax);
    const patienceMs = now - this.#queueShrunkAt < KNOWN_MS ? 0 : STALL_MS;
    const isStuck = this.#inFlight >= min && now - Math.max(this.#answeredAt, this.#queueShrunkAt) > STALL_MS;
    const judged = Object.values(this.#answers).filter(({ count }) => count >= ANSWERS_MIN);
    const isLate = judged.some(({ count, late }) => late > count / 2);
    if (isLate) this.#lateSince ??= now;
    else if (judged.length > 0) this.#lateSince = undefined;
    if (isStuck || (isLate && now - (this.#lateSince ?? now) >= patienceMs)) {
      this.#queueLimit = Math.max(min, Math.min(this.#queueLimit, this.#inFlight) * QUEUE_SHRINK);
      this.#queueShrunkAt = now;
      judged.push(...Object.values(this.#answers));
    } else if (now - this.#queueShrunkAt < HOLD_MS) {
      // Quick reads speak before the orders beside them have been answered at all.
      return;
    } else if (judged.length > 0 ? judged.every(({ count, late }) => late < count / 4) : this.#inFlight < min)
      this.#queueLimit = Math.min(this.#inFlightMax, this.#queueLimit * QUEUE_GROW);
    for (const answers of judged) Object.assign(answers, { count: 0, late: 0 });
  }

  /** True where the request is let in; then `left` must be called when it has been answered, with when it came in and what it was. */
  enter(url: string | undefined): boolean {
    if (this.#inFlight >= this.limit && !url?.startsWith("/health/")) {
      this.#refused++;
      return false;
    }
    this.#inFlight++;
    return true;
  }

  left(enteredAt: number, isWrite: boolean): void {
    this.#inFlight--;
    this.#inFlightLeast = Math.min(this.#inFlightLeast, this.#inFlight);
    const now = this.#now();
    this.#answeredAt = now;
    const kind = isWrite ? "writes" : "reads";
    const flow = this.#flows[kind];
    flow.count++;
    if (now - enteredAt > FLOW_MS) flow.late++;
    if (enteredAt < this.#queueShrunkAt) return;
    const answers = this.#answers[kind];
    answers.count++;
    if (now - enteredAt > LATE_MS) answers.late++;
  }
}

const OVERLOADED = new ShopError("overloaded", "The gateway is overloaded.", { retryAfter: 1 });

/** Answers a request that is not let in; its body is discarded unread. */
export function refuse(req: IncomingMessage, res: ServerResponse, corsOrigins: readonly string[]): void {
  const requestId = requestIdOf(req.headers["x-request-id"]);
  const problem = problemOf(OVERLOADED, { requestId, instance: req.url?.split("?", 1)[0] ?? "/" });
  res.writeHead(problem.status, {
    ...responseHeaders(requestId),
    ...corsHeaders(req, corsOrigins),
    ...problem.headers,
    "content-length": Buffer.byteLength(problem.body),
  });
  res.end(req.method === "HEAD" ? undefined : problem.body);
}
