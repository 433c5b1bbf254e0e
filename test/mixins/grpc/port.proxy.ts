/** A port in front of another that freezes, delays, cuts and refuses, one way or both. */
import net from "node:net";

export type Direction = "up" | "down";

/** Stands in front of a node's gRPC port. What it freezes arrives when it thaws. */
export class PortProxy {
  readonly #sockets = new Set<net.Socket>();
  readonly #frozen = new Set<Direction>();
  #held: { direction: Direction; pass: () => void }[] = [];
  #server: net.Server | undefined;
  #target = 0;
  isRefusing = false;
  /** On the way up. */
  delayMs = 0;
  passedUp = 0;

  async open(target: number): Promise<number> {
    this.#target = target;
    this.#server = net.createServer((from) => {
      if (this.isRefusing) return void from.destroy();
      const to = net.connect(this.#target, "127.0.0.1");
      for (const [a, b, direction] of [
        [from, to, "up"],
        [to, from, "down"],
      ] as const) {
        this.#sockets.add(a);
        a.on("data", (bytes) => {
          const pass = () => {
            if (direction === "up") this.passedUp++;
            b.write(bytes);
          };
          if (this.#frozen.has(direction)) this.#held.push({ direction, pass });
          else if (direction === "up" && this.delayMs > 0) setTimeout(pass, this.delayMs).unref();
          else pass();
        });
        a.on("error", () => undefined);
        a.on("close", () => {
          this.#sockets.delete(a);
          b.destroy();
        });
      }
    });
    await new Promise<void>((resolve) => this.#server?.listen(0, "0.0.0.0", resolve));
    return (this.#server.address() as net.AddressInfo).port;
  }

  freeze(...directions: Direction[]): void {
    for (const direction of directions) this.#frozen.add(direction);
  }

  thaw(): void {
    this.#frozen.clear();
    for (const { pass } of this.#held.splice(0)) pass();
  }

  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  close(): void {
    this.#server?.close();
    this.cut();
  }
}
