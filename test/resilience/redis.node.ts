/**
 * A node with a Redis cacher for the tests, to see whether it ends: `node redis.node.ts framework|shop URL`. It fills
 * Redis, caches one answer more, and says that it still serves; an unhandled rejection ends it before.
 */
import { Redis } from "ioredis";
import { Cachers, ServiceBroker } from "moleculer";
import { RedisCacher } from "../../mixins/redis.cacher.ts";

const [, , kind, url = ""] = process.argv;
const broker = new ServiceBroker({
  namespace: `full-${kind}`,
  logger: false,
  cacher: (kind === "shop" ? new RedisCacher(url, 30) : new Cachers.Redis(url as never)) as never,
});
broker.createService({ name: "thing", actions: { get: { cache: true, handler: () => ({ name: "cup" }) } } });
await broker.start();
while (broker.cacher?.connected !== true) await new Promise((resolve) => setTimeout(resolve, 5));

const admin = new Redis(url);
await admin.config("SET", "maxmemory", "1");
try {
  await broker.call("thing.get");
  // The cacher writes after the answer; Redis answers in order, so by then it has refused.
  await admin.ping();
  await new Promise((resolve) => setTimeout(resolve, 100));
  console.log("still serves", JSON.stringify(await broker.call("thing.get")));
} finally {
  await admin.config("SET", "maxmemory", "0");
  admin.disconnect();
}
await broker.stop();
process.exit(0);
