/**
 * Connections to Redis for what may be lost: caches and counters. A Redis that is dead, full or paused must cost a
 * caller a quarter of a second once and then nothing: commands fail at once while the connection is down and after
 * a short while when it hangs, and a command that failed in that way keeps the rest from trying until a probe answers.
 */
import { createRequire } from "node:module";
import type { Redis, RedisOptions } from "ioredis";

// When there is one to connect to: most nodes have none, and it is slow to load.
const load = createRequire(import.meta.url);

const COMMAND_MS_MAX = 250;
const RECONNECT_MS_MAX = 2_000;
const PROBE_MS = 1_000;
/** Without an answer to so many, one after the other, nobody is taken to be there, and a new connection is made. */
const PROBES_MAX = 3;

/** `redis://[user:password@]host[:port][/database]`, or rediss:// with TLS, as options that do not wait or queue. */
export function redisOptions(url: string): RedisOptions {
  const { protocol, hostname, port, username, password, pathname } = new URL(url);
  return {
    host: hostname,
    port: Number(port || 6379),
    ...(username ? { username: decodeURIComponent(username) } : {}),
    ...(password ? { password: decodeURIComponent(password) } : {}),
    db: Number(pathname.slice(1) || 0),
    ...(protocol === "rediss:" ? { tls: {} } : {}),
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    commandTimeout: COMMAND_MS_MAX,
    connectTimeout: 1_000,
    retryStrategy: (times) => Math.min(100 * 2 ** times, RECONNECT_MS_MAX) * (0.5 + Math.random() / 2),
  };
}

interface Log {
  warn(...parts: unknown[]): void;
  info(...parts: unknown[]): void;
}

/** Whether Redis is worth asking. One per connection; it says once that it is gone and once that it is back. */
export class RedisHealth {
  isUsable = false;
  readonly #client: Redis;
  readonly #log: Log;
  #probe: NodeJS.Timeout | undefined;
  #unanswered = 0;

  constructor(client: Redis, log: Log) {
    this.#client = client;
    this.#log = log;
    client.on("ready", () => this.#back());
    // Without a listener an error would end the process.
    client.on("error", (err) => this.gone(err));
    client.on("close", () => this.gone(new Error("the connection is closed")));
  }

  /** After a command that failed for Redis itself being away; an error that Redis answered (out of memory) is not that. */
  gone(err: Error): void {
    if (err.name === "ReplyError") return;
    if (this.isUsable) this.#log.warn(`Redis is left out until it answers: ${err.message}`);
    this.isUsable = false;
    this.#probe ??= setInterval(() => {
      if (this.#client.status === "ready")
        this.#client.ping().then(
          () => this.#back(),
          () => this.#giveUp(),
        );
    }, PROBE_MS).unref();
  }

  /** A connection whose other end has vanished is never closed from there. */
  #giveUp(): void {
    if (++this.#unanswered < PROBES_MAX) return;
    this.#unanswered = 0;
    this.#client.stream.destroy();
  }

  end(): void {
    clearInterval(this.#probe);
    this.#probe = undefined;
    this.isUsable = false;
  }

  #back(): void {
    clearInterval(this.#probe);
    this.#probe = undefined;
    this.#unanswered = 0;
    if (!this.isUsable) this.#log.info("Redis answers");
    this.isUsable = true;
  }
}

/** A connection with its health. `ask` answers undefined where Redis is away, so that the caller does without. */
export class SharedRedis {
  readonly #client: Redis;
  readonly #health: RedisHealth;

  constructor(url: string, log: Log) {
    const { Redis } = load("ioredis") as typeof import("ioredis");
    this.#client = new Redis(redisOptions(url));
    this.#health = new RedisHealth(this.#client, log);
  }

  async ask<Result>(work: (client: Redis) => Promise<Result>): Promise<Result | undefined> {
    if (!this.#health.isUsable) return undefined;
    try {
      return await work(this.#client);
    } catch (err) {
      this.#health.gone(err as Error);
      return undefined;
    }
  }

  close(): void {
    this.#health.end();
    this.#client.disconnect();
  }
}
