/**
 * The login throttle whose counts all replicas share through Redis, by the same rules as the one in memory, which
 * stands in while Redis is away: then each replica counts for itself, and nobody is let in uncounted.
 */
import { randomUUID } from "node:crypto";
import type { Logger } from "moleculer";
import { config } from "../config/index.ts";
import { FAILURES_MAX, keyOf, type LoginThrottle, memoryThrottle, WINDOW_MS } from "./login.throttle.ts";
import { SharedRedis } from "./redis.ts";

/** Longer than any request takes: an attempt that has not ended by then, because its process did, has failed. */
const UNDER_WAY_MS_MAX = 30_000;

/**
 * A sorted set per pair: the attempts that failed or are under way, by their time on Redis's clock; and a set of those
 * under way. Counting and recording are one script, so that a hundred at once are not a hundred guesses. Answers 0, the
 * milliseconds to wait, or -1 where one under way has to end first.
 */
const BEGIN = `
local t = redis.call('TIME')
local at = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', at - ARGV[1])
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then
  if redis.call('EXISTS', KEYS[2]) == 1 then return -1 end
  local oldest = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
  return math.max(1, oldest[2] + ARGV[1] - at)
end
redis.call('ZADD', KEYS[1], at, ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[1])
redis.call('SADD', KEYS[2], ARGV[3])
redis.call('PEXPIRE', KEYS[2], ARGV[4])
return 0`;

/** Of all services of this process. */
const inProcess = memoryThrottle();

/** The throttle of a service: with a Redis it counts with all others, without with those of its process. */
export function openThrottle(logger: Logger): LoginThrottle & { close(): void } {
  if (!config.cacher?.startsWith("redis")) return { ...inProcess, close: () => undefined };
  const redis = new SharedRedis(config.cacher, logger);
  return { ...sharedThrottle(redis, `${config.namespace}:`), close: () => redis.close() };
}

export function sharedThrottle(redis: SharedRedis, prefix: string): LoginThrottle {
  return {
    async begin(account, address) {
      const key = `${prefix}login:${keyOf(account, address)}`;
      const underWay = `${key}:under-way`;
      const attempt = randomUUID();
      const waitMs = await redis.ask((server) =>
        server.eval(BEGIN, 2, key, underWay, WINDOW_MS, FAILURES_MAX, attempt, UNDER_WAY_MS_MAX),
      );
      if (waitMs === undefined) return inProcess.begin(account, address);
      if (waitMs !== 0) return { retryAfter: Math.max(0, Math.ceil(Number(waitMs) / 1_000)) };
      return {
        async succeeded() {
          await redis.ask((server) => server.del(key, underWay));
        },
        async failed() {
          await redis.ask((server) => server.srem(underWay, attempt));
        },
        async cancelled() {
          await redis.ask((server) =>
            Promise.all([server.zrem(key, attempt), server.srem(underWay, attempt)]),
          );
        },
      };
    },
  };
}
