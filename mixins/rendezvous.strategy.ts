/**
 * A balancer that sends calls with one key to one node (rendezvous hashing: the node that scores highest with the key).
 * A node that joins or leaves moves its own share of the keys and no other, and what it picks is always one of the
 * endpoints it was given; the framework's Shard moves half of all keys and may name a node that is not there. Calls
 * without a key stay on this node where they can and go round robin otherwise, so `registry.preferLocal` must be off.
 */
import { type Context, Strategies } from "moleculer";
import type { Endpoint } from "./middleware.ts";

/** FNV-1a over UTF-16 units: a key is short, and its bits are mixed below. */
function hashOf(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return hash;
}

/** MurmurHash3's finalizer: each bit of the input moves each bit of the score. */
function scoreOf(key: number, node: number): number {
  let h = key ^ node;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

/** `id` is a param, `#user.id` a member of meta. */
function keyOf(ctx: Context | null | undefined, name: string | undefined): string | undefined {
  if (!ctx || name === undefined) return undefined;
  let value: unknown = name.startsWith("#") ? ctx.meta : ctx.params;
  for (const step of name.replace("#", "").split("."))
    value = (value as Record<string, unknown> | null)?.[step];
  return typeof value === "string" || typeof value === "number" ? String(value) : undefined;
}

export class RendezvousStrategy extends Strategies.Base {
  #turn = 0;
  readonly #nodes = new Map<string, number>();

  // biome-ignore lint/suspicious/noExplicitAny: the framework's endpoints, which its types do not describe
  override select(list: any[], ctx?: Context): any {
    const endpoints = list as Endpoint[];
    const key = keyOf(ctx, endpoints[0]?.action?.key);
    if (key === undefined)
      return endpoints.find((endpoint) => endpoint.local) ?? endpoints[this.#turn++ % endpoints.length];
    const hash = hashOf(key);
    let best: Endpoint | undefined;
    let bestScore = -1;
    for (const endpoint of endpoints) {
      const score = scoreOf(hash, this.#nodeHash(endpoint.id));
      if (score <= bestScore) continue;
      best = endpoint;
      bestScore = score;
    }
    return best;
  }

  #nodeHash(id: string): number {
    let hash = this.#nodes.get(id);
    if (hash === undefined) {
      // Node ids come and go with their processes.
      if (this.#nodes.size > 1_000) this.#nodes.clear();
      hash = hashOf(id);
      this.#nodes.set(id, hash);
    }
    return hash;
  }
}
