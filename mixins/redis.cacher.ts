/**
 * The framework's Redis cacher, made safe to lose: where Redis is dead, paused or full, a read misses and a write is
 * forgotten, and neither is an unhandled rejection, which would end the process. Keys of actions whose answer may
 * depend on who asks hold who asks, whatever the action declares.
 */
import type { Redis } from "ioredis";
import { type ActionSchema, Cachers, type Context, type ServiceBroker } from "moleculer";
import { RedisHealth, redisOptions } from "./redis.ts";

/** Longer keys are cut and hashed. */
const PARAMS_CHARS_MAX = 120;

type Keygen = (action: ActionSchema, opts: unknown, ctx?: Context) => string;

/** The framework's key, and who asks where the action is not open to everybody. */
export function keyWithCaller(
  this: { defaultKeygen: Keygen },
  action: ActionSchema,
  opts: unknown,
  ctx?: Context,
): string {
  const key = this.defaultKeygen(action, opts, ctx);
  if (action.auth === "none") return key;
  const { user } = (ctx?.meta ?? {}) as { user?: { id?: string; roles?: string[] } | null };
  return user ? `${key}|${user.id}|${user.roles?.join(",")}` : `${key}|`;
}

export class RedisCacher extends Cachers.Redis {
  declare client: Redis;
  declare connected: boolean | null;
  #health: RedisHealth | undefined;

  constructor(url: string, ttlSeconds: number) {
    super({
      redis: redisOptions(url),
      ttl: ttlSeconds,
      maxParamsLength: PARAMS_CHARS_MAX,
      keygen: keyWithCaller,
      redlock: false,
    } as never);
  }

  override init(broker: ServiceBroker): void {
    super.init(broker);
    // The framework logs each failed attempt to connect; the health says what has changed.
    this.client.removeAllListeners("error");
    this.#health = new RedisHealth(this.client, broker.getLogger("cacher"));
    // The framework's middleware asks this before it asks Redis.
    Object.defineProperty(this, "connected", {
      get: () => this.#health?.isUsable ?? false,
      set: () => undefined,
    });
  }

  // The framework's types promise an object from every read and nothing from every write; neither is so.
  // biome-ignore lint/suspicious/noExplicitAny: what was cached
  override async get(key: string): Promise<any> {
    return this.#orMiss(() => super.get(key));
  }

  override async set(key: string, data: unknown, ttl?: number): Promise<void> {
    await this.#orMiss(() => super.set(key, data, ttl));
  }

  override async del(key: string | string[]): Promise<void> {
    await this.#orMiss(() => super.del(key));
  }

  override async clean(match?: string | string[]): Promise<void> {
    await this.#orMiss(() => super.clean(match));
  }

  /** A miss is the missing response here too; the framework answers null, which it then takes for a hit. */
  // biome-ignore lint/suspicious/noExplicitAny: what was cached
  override async getWithTTL(key: string): Promise<any> {
    const found = await this.#orMiss(() => super.getWithTTL(key));
    return { data: found?.data ?? undefined, ttl: found?.ttl };
  }

  /** No locks: two that compute one answer at once do no harm. Without redlock the framework's end the process. */
  override async lock(): Promise<() => Promise<void>> {
    return async () => undefined;
  }

  override async tryLock(): Promise<() => Promise<void>> {
    return async () => undefined;
  }

  override async close(): Promise<void> {
    this.#health?.end();
    this.client?.disconnect();
  }

  async #orMiss<Result>(work: () => Promise<Result>): Promise<Result | undefined> {
    if (!this.#health?.isUsable) return undefined;
    try {
      return await work();
    } catch (err) {
      this.#health.gone(err as Error);
      if ((err as Error).name === "ReplyError") this.logger.warn(`Redis refused: ${(err as Error).message}`);
      return undefined;
    }
  }
}
