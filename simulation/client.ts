/**
 * A client: places one order, repeats it with its Idempotency-Key until it hears something final, and reads what it was
 * promised. It is patient but not for ever.
 */

import type { ClientPlan } from "./plan.ts";
import { Random } from "./random.ts";
import { productIdOf, type Shop } from "./shop.ts";
import type { Incarnation, World } from "./world.ts";

/** Above the 4.5 s in which the shop answers. */
const PATIENCE_MS = 6_000;
const ATTEMPTS_MAX = 6;
const FINAL = new Set([
  "insufficient_stock",
  "payment_declined",
  "price_changed",
  "product_gone",
  "key_reused",
  "internal_error",
]);

/** Calls `ended` when each of its requests has come to an end. */
export function startClient(plan: ClientPlan, shop: Shop, world: World, ended: () => void): void {
  let open = plan.startsAt.length;
  for (const [i, at] of plan.startsAt.entries()) {
    const self: Incarnation = { node: plan.name, isDead: false, frozenUntil: 0 };
    const differs = plan.lastDiffers && i === plan.startsAt.length - 1;
    world.after(at, self, "client", () => {
      const random = new Random(world.plan.seed * 31 + i);
      request(plan, differs, self, shop, world, random).finally(() => {
        if (--open === 0) ended();
      });
    });
  }
}

async function request(
  plan: ClientPlan,
  differs: boolean,
  self: Incarnation,
  shop: Shop,
  world: World,
  random: Random,
): Promise<void> {
  const clock = world.clockOf(self);
  const command = {
    userId: `user-of-${plan.name}`,
    idempotencyKey: plan.key,
    items: [{ productId: productIdOf(plan.product), quantity: plan.quantity + (differs ? 1 : 0) }],
    token: plan.token,
  };
  for (let attempt = 1; attempt <= ATTEMPTS_MAX; attempt++) {
    try {
      const { status, id } = await shop.network.call<{ status: number; id: string }>(
        self,
        "order",
        "place",
        command,
        PATIENCE_MS,
      );
      shop.checker.onAnswer(plan, command.items, status, id, undefined);
      await follow(status, id, self, shop, clock.sleep);
      return;
    } catch (err) {
      const { type, code } = err as { type?: string; code?: number };
      shop.checker.onAnswer(plan, command.items, code ?? 504, undefined, type ?? "error");
      if (FINAL.has(type ?? "")) return;
      await clock.sleep(100 + random.int(1_500));
    }
  }
}

/** Reads the order until it says something final. After a 201 every reading says confirmed. */
async function follow(
  status: number,
  id: string,
  self: Incarnation,
  shop: Shop,
  sleep: (ms: number) => Promise<void>,
): Promise<void> {
  for (let reading = 0; reading < 20; reading++) {
    const state = await shop.network
      .call<{ state: string }>(self, "order", "get", id, PATIENCE_MS)
      .then((order) => order.state)
      .catch(() => "unread");
    if (state !== "unread") shop.checker.onReading(id, status, state);
    if (state === "committed" || state === "aborted") return;
    await sleep(500);
  }
}
