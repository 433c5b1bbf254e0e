/**
 * One arm in a process of its own, as the parent (bench.ts) asks for it by a JSON argument. Prints one JSON line per
 * client count. The databases exist already; DATABASE_URL and BATCH_MAX come through the environment.
 */
import type { CheckoutArm, WorkerJob } from "./job.ts";
import { closedLoop, type Load, type Measured } from "./load.ts";

const job = JSON.parse(process.argv[2] as string) as WorkerJob;
const say = (clients: number, measured: Measured) =>
  process.stdout.write(`${JSON.stringify({ clients, ...measured })}\n`);

if (job.arm === "2pc" || job.arm === "2pc-batch1") await shop();
else await local(job.arm);

/** The best of four pool sizes, found by short probes, then measured in full. */
async function local(arm: Exclude<CheckoutArm, "2pc" | "2pc-batch1">): Promise<void> {
  const { openLocal, openXa } = await import("./arms/local.ts");
  const open = (poolMax: number) =>
    arm === "xa"
      ? openXa(job.xaUrls as NonNullable<WorkerJob["xaUrls"]>, job.products, poolMax)
      : openLocal(arm, job.url, job.products, poolMax);
  const measure = async (poolMax: number, load: Load) => {
    const checkout = open(poolMax);
    try {
      return await closedLoop(load, checkout.place);
    } finally {
      await checkout.close();
    }
  };
  for (const clients of job.clients) {
    const pools = [4, 8, 16, 32].filter((size) => size === 4 || size <= clients);
    let best = { poolMax: 4, perSecond: -1 };
    for (const poolMax of pools.length > 1 ? pools : []) {
      const { perSecond } = await measure(poolMax, { clients, seconds: job.probeSeconds });
      if (perSecond > best.perSecond) best = { poolMax, perSecond };
    }
    say(clients, await measure(best.poolMax, { clients, seconds: job.seconds }));
  }
}

/** The shop's own checkout, order.place called through the broker, in one process with its clients. */
async function shop(): Promise<void> {
  const { createShop } = await import("../scripts/shop.ts");
  const { anyOf } = await import("./catalogue.ts");
  const { randomUUID } = await import("node:crypto");
  const broker = await createShop({
    services: ["product", "order", "payment", "notification", "transaction-manager"],
  });
  await broker.start();
  try {
    for (const clients of job.clients) {
      const place = async () => {
        const meta = { user: { id: randomUUID(), roles: ["user"] } };
        const items = [{ productId: anyOf(job.products), quantity: 1 }];
        const order = await broker
          .call<{ status: string }, object>("order.place", { items, payment: { token: "tok_ok" } }, { meta })
          .catch(() => undefined);
        return order?.status === "confirmed";
      };
      say(clients, await closedLoop({ clients, seconds: job.seconds }, place));
    }
  } finally {
    await broker.stop();
  }
}
