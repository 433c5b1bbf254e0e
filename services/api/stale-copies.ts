/**
 * The gateway's last answers of actions that declare `staleIfError`, for when their service is away (RFC 5861). A copy
 * says that it is one: Age, and Cache-Status with the seconds by which it is out of date (RFC 9211). Members that an
 * old answer must not tell, such as stock, read null in it; actions that need a caller are never copied.
 */

import { LRUCache } from "lru-cache";
import type { Context } from "moleculer";
import { codeOf } from "../../lib/errors.ts";
import type { Exchange } from "./exchange.ts";
import type { Operation } from "./router.ts";

interface Copy {
  json: string;
  takenAt: number;
}

/** A page of products is 50 KB at most. */
const BYTES_MAX = 32 * 1024 * 1024;
/** A copy that is younger is not taken again: under load that would serialise each answer twice. */
const FRESH_MS = 2_000;
/** What the client would hear otherwise. A bug is not hidden behind an old answer. */
const AWAY = new Set(["unavailable", "deadline_exceeded", "overloaded"]);

export class StaleCopies {
  readonly #copies = new LRUCache<string, Copy>({
    maxSize: BYTES_MAX,
    sizeCalculation: ({ json }, key) => json.length + key.length,
  });
  readonly #now: () => number;

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** Calls the operation's action; where that fails for its service being away, answers the last copy. */
  async call(ctx: Context, operation: Operation, exchange: Exchange, params: object): Promise<unknown> {
    const action = operation.action as string;
    const { staleIfError } = operation.schema;
    if (!staleIfError || operation.auth !== "none") return ctx.call(action, params);
    const key = `${action} ${JSON.stringify(params)}`;
    try {
      const result = await ctx.call(action, params);
      if (result !== undefined) this.#keep(key, result, staleIfError.omit ?? []);
      return result;
    } catch (err) {
      const copy = AWAY.has(codeOf(err)) ? this.#copies.get(key) : undefined;
      const ageSeconds = copy ? Math.floor((this.#now() - copy.takenAt) / 1_000) : 0;
      if (!copy || ageSeconds > staleIfError.seconds) throw err;
      exchange.meta.$responseHeaders = {
        Age: String(ageSeconds),
        "Cache-Status": `concord; hit; ttl=-${ageSeconds}; detail=stale-if-error`,
      };
      return JSON.parse(copy.json);
    }
  }

  /** A product that was deleted or repriced must not come back as it was. */
  forget(isAbout: (key: string) => boolean): void {
    for (const key of this.#copies.keys()) if (isAbout(key)) this.#copies.delete(key);
  }

  #keep(key: string, result: unknown, omit: readonly string[]): void {
    const takenAt = this.#now();
    const before = this.#copies.peek(key);
    if (before && takenAt - before.takenAt < FRESH_MS) return;
    const json = JSON.stringify(result, (name, value) => (omit.includes(name) ? null : value));
    this.#copies.set(key, { json, takenAt });
  }
}
