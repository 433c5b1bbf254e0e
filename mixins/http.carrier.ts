/**
 * Calls another service's actions over HTTP, by its gateway: one time limit over all tries, repeats with back-off within
 * a budget and only where nobody above repeats, a breaker, and the problem document turned back into the error it was
 * made of. It keeps connections open until it is closed. Never a redirect, never a proxy: the address is the
 * configuration's.
 */
import type { Agent, OutgoingHttpHeaders } from "node:http";
import https from "node:https";
import { setTimeout as sleep } from "node:timers/promises";
import type { Context } from "moleculer";
import { ERRORS, type ErrorCode, type ErrorExtra, isError, ShopError } from "../lib/errors.ts";
import { http } from "../lib/http.ts";
import type { Caller, Carrier, Route } from "./carrier.ts";
import { remainingMs } from "./deadline.middleware.ts";
import { REPEATED_ABOVE, RepeatBudget } from "./retry.middleware.ts";

/** Below the 10 s of the caller's own caller; a password costs a tenth of a second. */
const TOTAL_MS = 5_000;
/** A try that hangs leaves time for another. */
const TRY_MS = 2_000;
const TRIES_MAX = 3;
const BACK_OFF_MS = 50;
/** Failures in a row that close the way, and for how long. */
const FAILURES_MAX = 5;
const OPEN_MS = 2_000;
/** The largest answer, the keys, has a few kilobytes. */
const ANSWER_BYTES_MAX = 1024 * 1024;

export interface HttpCarrierOptions {
  totalMs?: number;
  tryMs?: number;
  openMs?: number;
}

interface Answer {
  status: number;
  text: string;
  retryAfter: string | undefined;
}

/** Nothing of the request has reached the other side. */
class NotBegun extends Error {}

export class HttpCarrier implements Carrier {
  readonly #url: string;
  readonly #secret: string;
  readonly #agent: Agent;
  readonly #options: Required<HttpCarrierOptions>;
  readonly #budget = new RepeatBudget();
  #failuresInARow = 0;
  #openUntil = 0;

  constructor(url: string, secret: string, options: HttpCarrierOptions = {}) {
    this.#url = url.replace(/\/$/, "");
    this.#secret = secret;
    this.#agent = new (this.#isTls ? https : http).Agent({ keepAlive: true, maxSockets: 64 });
    this.#options = { totalMs: TOTAL_MS, tryMs: TRY_MS, openMs: OPEN_MS, ...options };
  }

  get #isTls(): boolean {
    return this.#url.startsWith("https:");
  }

  async call<Result>(caller: Caller, route: Route, params: Record<string, unknown>): Promise<Result> {
    // A context has a caller of its own, who gives up; a broker has not.
    const patienceMs =
      "startHrTime" in caller ? remainingMs(caller as unknown as Context) : Number.POSITIVE_INFINITY;
    const deadline = performance.now() + Math.min(this.#options.totalMs, patienceMs);
    const { headers } = caller as Partial<Context>;
    const mayRepeat = route.idempotent && headers?.[REPEATED_ABOVE] === undefined;
    if (mayRepeat) this.#budget.deposit();
    for (let tries = 1; ; tries++) {
      try {
        return await this.#try<Result>(caller, route, params, deadline);
      } catch (err) {
        const pauseMs = Math.random() * BACK_OFF_MS * 2 ** tries;
        const isOver = tries === TRIES_MAX || performance.now() + pauseMs >= deadline;
        if (isOver || !(err instanceof NotBegun || (mayRepeat && isPassing(err) && this.#budget.take())))
          throw err instanceof NotBegun ? unreachable(route, err.message) : err;
        await sleep(pauseMs);
      }
    }
  }

  close(): void {
    this.#agent.destroy();
  }

  async #try<Result>(
    caller: Caller,
    route: Route,
    params: Record<string, unknown>,
    deadline: number,
  ): Promise<Result> {
    const now = performance.now();
    if (now < this.#openUntil) throw unreachable(route, "it has not answered for a while");
    // One call finds out whether it is back; the others are refused until that is known.
    if (this.#failuresInARow >= FAILURES_MAX) this.#openUntil = now + this.#options.openMs;
    try {
      const answer = await this.#send(caller, route, params, Math.min(this.#options.tryMs, deadline - now));
      const result = resultOf<Result>(route, answer);
      this.#succeeded();
      return result;
    } catch (err) {
      if (err instanceof NotBegun || isFault(err)) this.#failed();
      else this.#succeeded();
      throw err;
    }
  }

  #succeeded(): void {
    this.#failuresInARow = 0;
    this.#openUntil = 0;
  }

  #failed(): void {
    this.#failuresInARow++;
    if (this.#failuresInARow >= FAILURES_MAX) this.#openUntil = performance.now() + this.#options.openMs;
  }

  #send(caller: Caller, route: Route, params: Record<string, unknown>, timeoutMs: number): Promise<Answer> {
    const body = route.method === "POST" ? JSON.stringify(params) : undefined;
    const headers: OutgoingHttpHeaders = {
      accept: "application/json, application/problem+json",
      authorization: `Bearer ${this.#secret}`,
      ...(caller.requestID ? { "x-request-id": caller.requestID } : {}),
      ...(body === undefined
        ? {}
        : { "content-type": "application/json", "content-length": Buffer.byteLength(body) }),
    };
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    const signal = AbortSignal.timeout(Math.max(1, Math.ceil(timeoutMs)));
    const options = { method: route.method, agent: this.#agent, headers, signal };
    const request = (this.#isTls ? https : http).request(this.#url + route.path, options, (response) => {
      const chunks: Buffer[] = [];
      let bytes = 0;
      response.on("data", (chunk: Buffer) => {
        chunks.push(chunk);
        bytes += chunk.length;
        if (bytes > ANSWER_BYTES_MAX) request.destroy(new Error("its answer is too long"));
      });
      response.on("error", reject);
      response.on("end", () =>
        resolve({
          status: response.statusCode ?? 0,
          text: Buffer.concat(chunks).toString(),
          retryAfter: response.headers["retry-after"],
        }),
      );
    });
    request.on("error", reject);
    request.end(body);
    return promise.catch((err: NodeJS.ErrnoException) => {
      if (signal.aborted) throw new ShopError("deadline_exceeded", `${route.action} did not answer in time.`);
      const isUnsent = /^(ECONNREFUSED|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH)$/.test(err.code ?? "");
      // A connection that was kept is closed by the other side when it likes, before it has read anything.
      if (isUnsent || (request.reusedSocket && err.code === "ECONNRESET")) throw new NotBegun(err.message);
      throw unreachable(route, err.message);
    });
  }
}

/** Speaks against the other side. */
const isFault = (err: unknown): boolean =>
  isError(err, "unavailable") || isError(err, "deadline_exceeded") || isError(err, "internal_error");

/** The same call may succeed a moment later. */
const isPassing = (err: unknown): boolean => isError(err, "unavailable") || isError(err, "deadline_exceeded");

const unreachable = (route: Route, reason: string): ShopError =>
  new ShopError("unavailable", `${route.action} cannot be reached: ${reason}.`, { retryAfter: 1 });

function resultOf<Result>(route: Route, { status, text, retryAfter }: Answer): Result {
  const document = parsed(text);
  if (status >= 200 && status < 300) {
    if (document === undefined) throw notUnderstood(route, status);
    return document as Result;
  }
  const {
    code,
    detail,
    type,
    title,
    status: _,
    instance,
    requestId,
    ...extra
  } = (document ?? {}) as {
    code?: string;
    detail?: string;
  } & Record<string, unknown>;
  // A load balancer's page, for one: it says whether to come back, by its status.
  if (code === undefined || !Object.hasOwn(ERRORS, code))
    throw status >= 502 && status <= 504
      ? unreachable(route, `something on the way answered ${status}`)
      : notUnderstood(route, status);
  const known: ErrorExtra = { ...extra, ...(retryAfter ? { retryAfter: Number(retryAfter) } : {}) };
  throw new ShopError(code as ErrorCode, detail ?? `${route.action} failed.`, known);
}

const notUnderstood = (route: Route, status: number): ShopError =>
  new ShopError(
    "internal_error",
    `${route.action} answered ${status} with what is not ours: check the address.`,
  );

/** No body is the null of an action that has nothing to say. */
function parsed(text: string): unknown {
  if (text === "") return null;
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
