/** A Redis server that keeps nothing on disk. */
import { type Product, provide, type StartOptions } from "./provider.ts";
import type { Server } from "./server.ts";

const REDIS: Product = {
  kind: { name: "redis", greeting: "PING\r\n", answer: "+PONG" },
  args: (port, directory) => [
    ...["--bind", "127.0.0.1", "--port", String(port), "--dir", directory],
    ...["--save", "", "--appendonly", "no"],
  ],
  variable: "REDIS_URL",
  program: "redis-server",
  package: "redis-server",
  image: "redis:7",
  imagePort: 6379,
};

export const startRedis = (options?: StartOptions): Promise<Server> => provide(REDIS, options);
