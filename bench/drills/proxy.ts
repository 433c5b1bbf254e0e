/**
 * A TCP proxy that is a bad network: it can cut a connection, in one direction too, or slow it down. Cut means silence
 * and not an end, as where a cable is pulled: nothing arrives, nobody is told, and what was sent arrives after healing.
 * Faults are laid on names; a connection's name, and where it may lead to more than one place its target, is read from
 * the first bytes that its client sends.
 */
import { once } from "node:events";
import { type AddressInfo, createServer, type Server, Socket } from "node:net";

export type Direction = "up" | "down";
/** `up` is from client to server. A direction that is cut passes nothing; one that is slow, each byte so much later. */
export interface Fault {
  cut?: readonly Direction[];
  delayMs?: number;
}

interface Address {
  host: string;
  port: number;
}

/** What the first bytes of a connection say. */
export interface Opening {
  name: string;
  /** Where it leads, if it is the client that says so, in so many bytes that are not for the server. */
  target?: Address;
  preambleBytes?: number;
}

export interface ProxyOptions {
  /** Of all connections; undefined where each says its own. */
  target?: Address;
  /** Undefined while the bytes so far do not tell; then the client is waited for. */
  nameOf: (firstBytes: Buffer) => string | Opening | undefined;
  /** The server speaks first: its first bytes pass whatever the client's name. */
  serverFirst?: boolean;
}

/** More than one of our batches; the rest waits where a real network lets it wait, in the sender. */
const HELD_BYTES_MAX = 1 << 20;

/** One direction of one connection: bytes in their order, each not before its time, none while it is cut. */
class Pipe {
  readonly #from: Socket;
  readonly #to: Socket;
  readonly #held: { data: Buffer | undefined; at: number }[] = [];
  #heldBytes = 0;
  #timer: NodeJS.Timeout | undefined;
  fault: { isCut: boolean; delayMs: number } = { isCut: false, delayMs: 0 };

  constructor(from: Socket, to: Socket) {
    this.#from = from;
    this.#to = to;
  }

  /** Undefined is the end. */
  push(data: Buffer | undefined): void {
    this.#held.push({ data, at: performance.now() + this.fault.delayMs });
    this.#heldBytes += data?.length ?? 0;
    if (this.#heldBytes > HELD_BYTES_MAX) this.#from.pause();
    this.flush();
  }

  flush(): void {
    clearTimeout(this.#timer);
    while (!this.fault.isCut) {
      const first = this.#held[0];
      if (!first) return;
      const waitMs = first.at - performance.now();
      if (waitMs > 0) {
        this.#timer = setTimeout(() => this.flush(), waitMs);
        return;
      }
      this.#held.shift();
      this.#heldBytes -= first.data?.length ?? 0;
      if (first.data) this.#to.write(first.data);
      else this.#to.end();
      if (this.#heldBytes <= HELD_BYTES_MAX) this.#from.resume();
    }
  }

  /** What was slow hurries. */
  heal(): void {
    this.fault = { isCut: false, delayMs: 0 };
    for (const held of this.#held) held.at = 0;
    this.flush();
  }

  end(): void {
    clearTimeout(this.#timer);
  }
}

interface Connection {
  name: string | undefined;
  up: Pipe;
  down: Pipe;
  destroy(): void;
}

export class TcpProxy {
  readonly #options: ProxyOptions;
  readonly #server: Server;
  readonly #connections = new Set<Connection>();
  readonly #faults = new Map<string, Fault>();

  private constructor(options: ProxyOptions) {
    this.#options = options;
    this.#server = createServer({ allowHalfOpen: true }, (client) => this.#accept(client));
  }

  static async listen(options: ProxyOptions): Promise<TcpProxy> {
    const proxy = new TcpProxy(options);
    proxy.#server.listen(0, "127.0.0.1");
    await once(proxy.#server, "listening");
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Names of the connections there are. */
  get names(): string[] {
    return [...this.#connections].flatMap(({ name }) => name ?? []);
  }

  /** Of connections with this name, those that come later too, until `heal`. */
  lay(name: string, fault: Fault): void {
    this.#faults.set(name, fault);
    for (const connection of this.#connections) if (connection.name === name) this.#apply(connection);
  }

  /** Cuts the connections there are and none that come later, as where a machine has gone that another stands in for. */
  abandon(): void {
    for (const { up, down } of this.#connections) {
      up.fault = { isCut: true, delayMs: 0 };
      down.fault = { isCut: true, delayMs: 0 };
    }
  }

  heal(): void {
    this.#faults.clear();
    for (const { up, down } of this.#connections) {
      up.heal();
      down.heal();
    }
  }

  async close(): Promise<void> {
    const closed = once(this.#server, "close");
    this.#server.close();
    for (const connection of this.#connections) connection.destroy();
    await closed;
  }

  #apply({ name = "", up, down }: Connection): void {
    const { cut = [], delayMs = 0 } = this.#faults.get(name) ?? {};
    up.fault = { isCut: cut.includes("up"), delayMs };
    // Slow is the way there and back together.
    down.fault = { isCut: cut.includes("down"), delayMs: 0 };
  }

  #accept(client: Socket): void {
    const { target, nameOf, serverFirst = false } = this.#options;
    const server = new Socket({ allowHalfOpen: true });
    if (target) server.connect(target);
    for (const socket of [client, server]) socket.setNoDelay(true);
    let first = Buffer.alloc(0);
    const connection: Connection = {
      name: undefined,
      up: new Pipe(client, server),
      down: new Pipe(server, client),
      destroy: () => {
        this.#connections.delete(connection);
        connection.up.end();
        connection.down.end();
        client.destroy();
        server.destroy();
      },
    };
    this.#connections.add(connection);
    client.on("data", (data: Buffer) => {
      if (connection.name !== undefined) return connection.up.push(data);
      first = Buffer.concat([first, data]);
      const said = nameOf(first);
      const opening = typeof said === "string" ? { name: said } : said;
      if (opening) {
        connection.name = opening.name;
        this.#apply(connection);
      }
      if (target) return connection.up.push(data);
      if (!opening?.target) return;
      server.connect(opening.target);
      connection.up.push(first.subarray(opening.preambleBytes));
    });
    server.on("data", (data: Buffer) => {
      // Before it has said who it is, a client hears the server's greeting, where there is one.
      if (connection.name === undefined && !serverFirst) return connection.destroy();
      connection.down.push(data);
    });
    client.on("end", () => connection.up.push(undefined));
    server.on("end", () => connection.down.push(undefined));
    for (const socket of [client, server]) {
      // A reset is known at once where it happened, and nowhere else while the line is cut.
      socket.on("error", () => socket.destroy());
      socket.on("close", () => {
        if (client.destroyed && server.destroyed) this.#connections.delete(connection);
        else if (socket.errored) (socket === client ? connection.up : connection.down).push(undefined);
      });
    }
  }
}

/** The database that a PostgreSQL client asks for, as its start-up message says. */
export function databaseOf(firstBytes: Buffer): string | undefined {
  const fields = firstBytes.toString("latin1", 8).split("\0");
  const at = fields.findIndex((field, i) => i % 2 === 0 && field === "database");
  return at < 0 ? undefined : fields[at + 1];
}

/** The name that a NATS client gives itself: the node's. */
export function natsNameOf(firstBytes: Buffer): string | undefined {
  return /^CONNECT \{.*?"name":"([^"]+)".*\}\r\n/.exec(firstBytes.toString())?.[1];
}

/** What through-proxy.ts says before a node's first byte to another: who calls, and where. */
export const preambleOf = (from: string, { host, port }: Address): string => `${from} ${host} ${port}\n`;

/** Of a stream: `from` a node, to the node that listens at `port`. */
export const streamName = (from: string, port: number): string => `${from} > ${port}`;

export function streamOf(firstBytes: Buffer): Opening | undefined {
  const [line = "", from = "", host = "", port = ""] =
    /^(\S+) (\S+) (\d+)\n/.exec(firstBytes.toString("latin1")) ?? [];
  if (!line) return undefined;
  return {
    name: streamName(from, Number(port)),
    target: { host, port: Number(port) },
    preambleBytes: line.length,
  };
}
