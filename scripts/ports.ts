/** Free TCP ports, for programs that are told their port. */
import { createServer } from "node:net";

const FIRST = 20_000;
const COUNT = 10_000;
/** Given out by this process: between that and whoever takes the port there may be a long start. */
const given = new Set<number>();

/**
 * Below the ports that systems give to outgoing connections: a client that knocks at a killed server's port could be
 * given that very port, reach itself, and keep the server from coming back.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = FIRST + Math.floor(Math.random() * COUNT);
    if (given.has(port)) continue;
    // Long ago enough.
    if (given.size > COUNT / 2) given.clear();
    given.add(port);
    const probe = createServer();
    const isFree = await new Promise<boolean>((resolve) => {
      probe.once("error", () => resolve(false));
      probe.listen(port, () => probe.close(() => resolve(true)));
    });
    if (isFree) return port;
  }
}
