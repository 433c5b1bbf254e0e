/**
 * A patient client of the REST API. A server that is gone, restarting, overloaded or still busy with the same key is
 * asked again, with the same request, until it gives a final answer. Everything else is an answer, errors included.
 */
import http, { type IncomingHttpHeaders } from "node:http";
import https from "node:https";
import { setTimeout as sleep } from "node:timers/promises";

export interface ShopRequest {
  method: "GET" | "POST" | "PUT";
  path: string;
  body?: unknown;
  token?: string | undefined;
  idempotencyKey?: string;
  /** On a connection of its own: one that is kept may lead to a server that has died in silence. */
  fresh?: boolean;
}

export interface ShopAnswer<Body = Record<string, unknown>> {
  status: number;
  headers: IncomingHttpHeaders;
  body: Body;
}

/** Far above the shop's own 5 s: logins may queue behind hundreds of others. */
const ANSWER_MS_MAX = 60_000;
const PATIENCE_MS = 600_000;
const PAUSE_MS_MIN = 100;
const PAUSE_MS_MAX = 1_000;

interface ClientOptions {
  sockets: number;
  /** How long one attempt waits for its answer; a minute by default. */
  answerMsMax?: number;
  /** Ends the waiting for a server, not the request that is out. */
  signal?: AbortSignal | undefined;
  /** Told once when a server that does not answer begins to be waited for, and once when it is back. */
  say?: ((line: string) => void) | undefined;
}

export class ShopClient {
  readonly #base: URL;
  readonly #agent: http.Agent;
  readonly #options: ClientOptions;
  /** When the server last answered anything, by a clock that cannot jump. */
  #heardAt = performance.now();
  #isSilent = false;
  /** How often a request was repeated because of the server, not of its answer. */
  retries = 0;

  constructor(url: string, options: ClientOptions) {
    this.#base = new URL(url);
    this.#options = options;
    const Agent = this.#base.protocol === "https:" ? https.Agent : http.Agent;
    this.#agent = new Agent({ keepAlive: true, maxSockets: options.sockets });
  }

  close(): void {
    this.#agent.destroy();
  }

  /** The final answer. Rejects where there was none for ten minutes, or where the signal ended the waiting. */
  async send<Body>(request: ShopRequest): Promise<ShopAnswer<Body>> {
    const { signal } = this.#options;
    const startedAt = performance.now();
    for (let pauseMs = PAUSE_MS_MIN; ; pauseMs = Math.min(pauseMs * 1.5, PAUSE_MS_MAX)) {
      signal?.throwIfAborted();
      let answer: ShopAnswer<Body> | undefined;
      try {
        answer = await this.once<Body>(request);
      } catch (err) {
        this.#silent(err as Error);
      }
      if (answer) {
        this.#heard();
        if (!isNotYet(answer)) return answer;
        if (performance.now() - startedAt > PATIENCE_MS)
          throw unexpected(`${request.method} ${request.path}, asked for ten minutes`, answer);
      }
      this.retries++;
      const asked = Number(answer?.headers["retry-after"] ?? 0) * 1_000;
      // Jitter, so that a restarted server does not meet all of them at once.
      await sleep(Math.max(asked, pauseMs) * (1 + Math.random() / 4), undefined, { signal });
    }
  }

  #silent(cause: Error): void {
    const { origin } = this.#base;
    // One clock for all requests: when one has waited in vain, so have the others.
    if (performance.now() - this.#heardAt > PATIENCE_MS)
      throw new Error(`${origin} did not answer for ten minutes`, { cause });
    if (this.#isSilent) return;
    this.#isSilent = true;
    this.#options.say?.(`${origin} does not answer (${cause.message}); waiting for it ...`);
  }

  #heard(): void {
    this.#heardAt = performance.now();
    if (this.#isSilent) this.#options.say?.(`${this.#base.origin} answers again`);
    this.#isSilent = false;
  }

  /** One attempt. Rejects where no whole answer came. */
  once<Body>({ method, path, body, token, idempotencyKey, fresh }: ShopRequest): Promise<ShopAnswer<Body>> {
    const text = body === undefined ? undefined : JSON.stringify(body);
    const headers = {
      accept: "application/json, application/problem+json",
      ...(text !== undefined && {
        "content-type": "application/json",
        "content-length": Buffer.byteLength(text),
      }),
      ...(token !== undefined && { authorization: `Bearer ${token}` }),
      ...(idempotencyKey !== undefined && { "idempotency-key": idempotencyKey }),
    };
    const { answerMsMax = ANSWER_MS_MAX } = this.#options;
    const { request } = this.#base.protocol === "https:" ? https : http;
    return new Promise((resolve, reject) => {
      const out = request(
        new URL(path, this.#base),
        { method, headers, agent: fresh ? false : this.#agent, timeout: answerMsMax },
        (answer) => {
          const chunks: Buffer[] = [];
          answer.on("data", (chunk: Buffer) => chunks.push(chunk));
          answer.on("error", reject);
          answer.on("end", () => {
            try {
              const json = Buffer.concat(chunks).toString();
              resolve({
                status: answer.statusCode ?? 0,
                headers: answer.headers,
                body: (json === "" ? {} : JSON.parse(json)) as Body,
              });
            } catch (err) {
              reject(err);
            }
          });
        },
      );
      out.on("timeout", () => out.destroy(new Error(`no answer within ${answerMsMax / 1_000} s`)));
      out.on("error", reject);
      out.end(text);
    });
  }
}

const isNotYet = ({ status, body }: ShopAnswer<unknown>): boolean =>
  [408, 429, 502, 503, 504].includes(status) ||
  (status === 409 && (body as { code?: string }).code === "request_in_progress");

/** An answer that should not be, as an error for a person. */
export function unexpected(what: string, { status, body }: ShopAnswer<unknown>): Error {
  const { code, detail } = body as { code?: string; detail?: string };
  return new Error(`${what}: the shop answered ${status} ${code ?? ""} ${detail ?? ""}`.trim());
}
