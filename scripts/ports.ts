/** Free TCP ports, for programs that are told their port. */
import { createServer } from "node:net";

/**
 * Below the ports that systems give to outgoing connections: a client that knocks at a killed server's port could be
 * given that very port, reach itself, and keep the server from coming back.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = 20_000 + Math.floor(Math.random() * 10_000);
    const probe = createServer();
    const isFree = await new Promise<boolean>((resolve) => {
      probe.once("error", () => resolve(false));
      probe.listen(port, () => probe.close(() => resolve(true)));
    });
    if (isFree) return port;
  }
}
