/**
 * A limit on the requests of one client address (never of what a client says its address is), off unless configured.
 * Evenly refilled (the generic cell rate algorithm), so no window's edge lets twice as many through. Counted in Redis
 * for all gateways together where there is one, and by each for itself otherwise, or while Redis is away.
 */
import { LRUCache } from "lru-cache";
import type { SharedRedis } from "../../mixins/redis.ts";

export interface RateLimit {
  requests: number;
  seconds: number;
}

export interface RateLimiter {
  /** Undefined where the request may pass, else the seconds until the next one may. */
  take(client: string): Promise<number | undefined>;
}

/** About 10 MB; whoever was seen longest ago is forgotten first, and starts afresh. */
const CLIENTS_MAX = 100_000;

/** `now` is in milliseconds. */
export function memoryLimiter({ requests, seconds }: RateLimit, now: () => number = Date.now): RateLimiter {
  const everyMs = (seconds * 1_000) / requests;
  // When the client will have used up nothing of its allowance.
  const freeAt = new LRUCache<string, number>({ max: CLIENTS_MAX });
  return {
    async take(client) {
      const at = now();
      const from = Math.max(freeAt.get(client) ?? 0, at);
      const waitMs = from + everyMs - at - seconds * 1_000;
      if (waitMs > 0.001) return Math.ceil(waitMs / 1_000);
      freeAt.set(client, from + everyMs);
      return undefined;
    },
  };
}

/** By Redis's own clock, so that gateways whose clocks differ count alike. Answers the milliseconds to wait. */
const TAKE = `
local t = redis.call('TIME')
local at = t[1] * 1000 + t[2] / 1000
local from = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), at)
local wait = from + ARGV[1] - at - ARGV[2]
if wait > 0.001 then return math.ceil(wait) end
redis.call('SET', KEYS[1], string.format('%.3f', from + ARGV[1]), 'PX', math.ceil(from + ARGV[1] - at))
return 0`;

export function sharedLimiter(limit: RateLimit, redis: SharedRedis, prefix: string): RateLimiter {
  const alone = memoryLimiter(limit);
  const windowMs = limit.seconds * 1_000;
  const everyMs = windowMs / limit.requests;
  return {
    async take(client) {
      const waitMs = await redis.ask((server) =>
        server.eval(TAKE, 1, `${prefix}rate:${client}`, everyMs, windowMs),
      );
      if (waitMs === undefined) return alone.take(client);
      return waitMs === 0 ? undefined : Math.ceil(Number(waitMs) / 1_000);
    },
  };
}
