/**
 * Refuses requests before they cost anything: 503 with Retry-After, ahead of authentication, body and broker. The limit
 * is on requests in flight. It is fixed for when what stands behind is slow, and shrinks while the event loop is late,
 * for when this process is. Health checks are never refused: a busy node is not a dead one.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { ShopError } from "../../lib/errors.ts";
import { corsHeaders, requestIdOf, responseHeaders } from "./headers.ts";
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

export interface LoadShedderOptions {
  inFlightMax: number;
  now?: () => number;
}

export class LoadShedder {
  readonly #inFlightMax: number;
  readonly #inFlightMin: number;
  readonly #now: () => number;
  #limit: number;
  #inFlight = 0;
  #delayMs = 0;
  #sampledAt = 0;
  #refused = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor({ inFlightMax, now = () => performance.now() }: LoadShedderOptions) {
    this.#inFlightMax = inFlightMax;
    this.#inFlightMin = Math.min(IN_FLIGHT_MIN, inFlightMax);
    this.#limit = inFlightMax;
    this.#now = now;
    this.#sampledAt = now();
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
    return Math.floor(this.#limit);
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
  }

  /** True where the request is let in; then `left` must be called when it has been answered. */
  enter(url: string | undefined): boolean {
    if (this.#inFlight >= this.#limit && !url?.startsWith("/health/")) {
      this.#refused++;
      return false;
    }
    this.#inFlight++;
    return true;
  }

  left(): void {
    this.#inFlight--;
  }
}

const OVERLOADED = new ShopError("overloaded", "The gateway is overloaded.", { retryAfter: 1 });

/** Answers a request that is not let in; its body is discarded unread. */
export function refuse(req: IncomingMessage, res: ServerResponse, corsOrigins: readonly string[]): void {
  const requestId = requestIdOf(req);
  const problem = problemOf(OVERLOADED, { requestId, instance: req.url?.split("?", 1)[0] ?? "/" });
  res.writeHead(problem.status, {
    ...responseHeaders(requestId),
    ...corsHeaders(req, corsOrigins),
    ...problem.headers,
    "content-length": Buffer.byteLength(problem.body),
  });
  res.end(req.method === "HEAD" ? undefined : problem.body);
}
