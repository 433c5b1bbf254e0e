/** A NATS server, by which the nodes of a shop reach each other. */
import { type Product, provide, type StartOptions } from "./provider.ts";
import type { Server } from "./server.ts";

const NATS: Product = {
  kind: { name: "nats", greeting: "", answer: "INFO " },
  args: (port) => ["--addr", "127.0.0.1", "--port", String(port)],
  variable: "NATS_URL",
  program: "nats-server",
  package: "nats-server",
  image: "nats:2",
  imagePort: 4222,
};

export const startNats = (options?: StartOptions): Promise<Server> => provide(NATS, options);
