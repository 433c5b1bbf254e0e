/** The test's end of one process of a fleet: tells it what to do, hears what hit it, and ends it by its own pid. */
import { type ChildProcess, execFileSync, fork } from "node:child_process";
import { once } from "node:events";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import type { ServiceName } from "../../../config/index.ts";
import type { CardGateway } from "../../../services/payment/gateway.ts";
import { DIRECTORY_VARIABLE } from "../../harness/databases.ts";
import { until } from "../../support/until.ts";
import type { Failed, Fault, FromNode, Hit, ToNode } from "./messages.ts";

/** A process may have to wait for the processor, and for those it needs, while others start beside it. */
const READY_MS_MAX = 60_000;

export interface NodeOptions {
  nodeId: string;
  services: readonly ServiceName[];
  /** Services it waits for before it says that it is ready. */
  needs: readonly ServiceName[];
  env: Readonly<Record<string, string>>;
  bank: CardGateway;
}

type Order = ToNode extends infer Each ? (Each extends { id: number } ? Omit<Each, "id"> : never) : never;
type Reply = FromNode & { what: "reply" };

export class ShopNode {
  readonly options: NodeOptions;
  /** What hit it, newest last. */
  readonly hits: Hit[] = [];
  /** How long its last start took: a measure of how busy the machine is. */
  startMs = 0;
  /** What its log says at level error. */
  readonly errors: string[] = [];
  #process: ChildProcess;
  #armed = false;
  #lastId = 0;
  readonly #waiting = new Map<number, PromiseWithResolvers<Reply>>();

  private constructor(options: NodeOptions) {
    this.options = options;
    this.#process = this.#fork();
  }

  static async start(options: NodeOptions): Promise<ShopNode> {
    const node = new ShopNode(options);
    try {
      await node.#ready();
    } catch (err) {
      await node.kill();
      throw err;
    }
    return node;
  }

  get pid(): number {
    return this.#process.pid as number;
  }

  get hasEnded(): boolean {
    return this.#process.exitCode !== null || this.#process.signalCode !== null;
  }

  /** Resolves when the process has gone; throws where it did not die of SIGKILL, or not in time. */
  async death(msMax = 15_000): Promise<void> {
    await until(`${this.options.nodeId} dies`, () => this.hasEnded, msMax);
    if (this.#process.signalCode !== "SIGKILL")
      throw new Error(`${this.options.nodeId} ended by itself: ${this.errors.join("\n")}`);
  }

  async kill(): Promise<void> {
    if (!this.hasEnded) {
      const ended = once(this.#process, "exit");
      this.signal("SIGKILL");
      await ended;
    }
  }

  signal(signal: NodeJS.Signals): void {
    this.#process.kill(signal);
  }

  /** Wakes it once it has stopped itself: what it says last comes a moment before, sometimes a long one. */
  async wake(): Promise<void> {
    const { pid } = this.#process;
    await until(`${this.options.nodeId} has stopped`, () =>
      execFileSync("ps", ["-o", "state=", "-p", String(pid)], { encoding: "utf8" }).startsWith("T"),
    );
    this.signal("SIGCONT");
  }

  /** In place of one that has died, under the same name. */
  async restart(): Promise<void> {
    if (!this.hasEnded) throw new Error(`${this.options.nodeId} is running`);
    this.#process = this.#fork();
    await this.#ready();
  }

  async call<Result>(
    action: string,
    params: object,
    meta: object = {},
    nodeId?: string,
  ): Promise<{ status: number | undefined; value: Result }> {
    const { value, status } = await this.#tell({
      what: "call",
      action,
      params,
      meta,
      ...(nodeId === undefined ? {} : { nodeId }),
    });
    return { value: value as Result, status };
  }

  /** True while a fault waits for its moment. */
  get isArmed(): boolean {
    return this.#armed && this.hits.length === 0;
  }

  async arm(fault: Omit<Fault, "nth" | "deed"> & Partial<Fault>): Promise<void> {
    this.hits.length = 0;
    this.#armed = true;
    await this.#tell({ what: "arm", fault: { nth: 1, deed: "kill", ...fault } });
  }

  async clock(offsetMs: number): Promise<void> {
    await this.#tell({ what: "clock", offsetMs });
  }

  /** One round of garbage collection by the manager that it hosts. */
  async collect(): Promise<void> {
    await this.#tell({ what: "collect" });
  }

  async sees(services: readonly ServiceName[]): Promise<void> {
    await this.#tell({ what: "await", services: [...services] });
  }

  async #tell(order: Order): Promise<Reply> {
    const id = ++this.#lastId;
    const reply = Promise.withResolvers<Reply>();
    this.#waiting.set(id, reply);
    this.#process.send({ ...order, id });
    const { failed, ...done } = await reply.promise;
    if (failed) throw Object.assign(new Error(failed.message), failed);
    return done;
  }

  async #ready(): Promise<void> {
    const startedAt = performance.now();
    const process = this.#process;
    const hasReplied = new Promise<void>((resolve) => {
      process.on("message", (message: FromNode) => message.what === "ready" && resolve());
    });
    let isReady = false;
    void hasReplied.then(() => {
      isReady = true;
    });
    await until(
      `${this.options.nodeId} is ready`,
      () => {
        if (this.hasEnded) throw new Error(`${this.options.nodeId} ended: ${this.errors.join("\n")}`);
        return isReady;
      },
      READY_MS_MAX,
    ).catch((err: Error) => {
      throw new Error(`${err.message}; it says: ${this.errors.slice(-5).join("\n") || "nothing"}`);
    });
    this.startMs = performance.now() - startedAt;
  }

  #fork(): ChildProcess {
    const { services, needs, nodeId, env } = this.options;
    const child = fork(new URL("./entry.child.ts", import.meta.url), {
      execArgv: ["--no-warnings"],
      stdio: ["ignore", "pipe", "pipe", "ipc"],
      env: {
        PATH: process.env.PATH,
        NODE_ENV: "test",
        LOGLEVEL: "error",
        DATABASE_POOL_MAX: "4",
        // A process starts in half the time where another has compiled the same sources.
        NODE_COMPILE_CACHE: path.join(process.env[DIRECTORY_VARIABLE] ?? tmpdir(), "compiled"),
        ...env,
        NODEID: nodeId,
        SERVICES: services.join(","),
        NEEDS: needs.join(","),
      } as NodeJS.ProcessEnv,
    });
    child.on("message", (message: FromNode) => this.#hear(child, message));
    child.on("exit", () => {
      for (const { reject } of this.#waiting.values()) reject(new Error(`${nodeId} died`));
      this.#waiting.clear();
    });
    for (const stream of [child.stdout, child.stderr])
      if (stream)
        createInterface({ input: stream }).on("line", (line) => {
          if (line.startsWith("hit ")) this.hits.push(JSON.parse(line.slice(4)) as Hit);
          else this.errors.push(line);
        });
    return child;
  }

  #hear(child: ChildProcess, message: FromNode): void {
    if (message.what === "reply") {
      this.#waiting.get(message.id)?.resolve(message);
      this.#waiting.delete(message.id);
    } else if (message.what === "card") {
      const { id, call, request } = message;
      const { bank } = this.options;
      const answer = (rest: { value?: unknown; failed?: Failed }) => {
        if (child.connected) child.send({ what: "card", id, ...rest } satisfies ToNode, () => undefined);
      };
      const asked = typeof request === "string" ? bank[call as "capture"](request) : bank.authorize(request);
      asked.then(
        (value: unknown) => answer({ value }),
        (err: Failed) => answer({ failed: { message: err.message, type: err.type ?? "" } }),
      );
    }
  }
}
