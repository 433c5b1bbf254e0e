/** A drill's customers: starts their program (generator.ts), tells it what to do, and hears what came of it. */
import type { ChildProcess } from "node:child_process";
import { hasEnded, type Site } from "./site.ts";
import { type Answer, type Command, type Mix, type Request, USUAL } from "./traffic.ts";

/** Closed loops, to find the peak with: the best of them counts. Batches make more clients cheaper, up to a point. */
const RAMP = [32, 64, 128, 192];
const RAMP_SECONDS = 4;

export interface BeginOptions {
  repeats?: boolean;
  stubPerSecond?: number;
  mix?: Mix;
}

export interface Sent {
  requests: Request[];
  /** Of orders that were answered 201. */
  orderIds: string[];
  /** Of one core. */
  generatorCpu: number;
  perSecond: number;
}

export class Crowd {
  readonly #site: Site;
  readonly #generator: ChildProcess;

  private constructor(site: Site, url: string) {
    this.#site = site;
    this.#generator = site.run(process.execPath, ["bench/drills/generator.ts", url], "generator", {
      ipc: true,
    });
  }

  /** Resolves when customers and products are there. They go with the site. */
  static async gather(site: Site, url: string): Promise<Crowd> {
    const crowd = new Crowd(site, url);
    await crowd.#answer("ready");
    site.say("all are ready, and so are the customers");
    return crowd;
  }

  /** Requests that are answered per second, at the best of a few numbers of clients at once. */
  async peak(): Promise<number> {
    const best = { clients: 0, perSecond: 0 };
    for (const clients of [RAMP[0] as number, ...RAMP]) {
      // The first one warms up.
      const perSecond = await this.rate(clients, RAMP_SECONDS);
      if (perSecond > best.perSecond) Object.assign(best, { clients, perSecond });
    }
    this.#site.say(`peak: ${best.perSecond} requests per second of ${best.clients} clients`);
    return best.perSecond;
  }

  /** Good answers per second, where each client sends its next request when it has one. */
  async rate(clients: number, seconds: number, mix: Mix = USUAL): Promise<number> {
    return (await this.#ask({ kind: "closed", clients, seconds, mix }, "measured")).perSecond;
  }

  /** Requests at a constant rate until `end`. */
  begin(perSecond: number, { repeats = true, stubPerSecond = 0, mix = USUAL }: BeginOptions = {}): void {
    this.#tell({ kind: "open", perSecond, repeats, stubPerSecond, mix });
  }

  /** Resolves when the last request has its final answer. */
  async end(): Promise<Sent> {
    const { requests, orderIds, cpuShare, seconds } = await this.#ask({ kind: "end" }, "sent");
    const perSecond = Math.round((requests.length / seconds) * 10) / 10;
    return { requests, orderIds, generatorCpu: cpuShare, perSecond };
  }

  #tell(command: Command): void {
    this.#generator.send(command);
  }

  #ask<K extends Answer["kind"]>(command: Command, kind: K): Promise<Extract<Answer, { kind: K }>> {
    const answer = this.#answer(kind);
    this.#tell(command);
    return answer;
  }

  #answer<K extends Answer["kind"]>(kind: K): Promise<Extract<Answer, { kind: K }>> {
    const generator = this.#generator;
    return new Promise((resolve, reject) => {
      const settle = (done: () => void) => {
        generator.off("message", hear);
        generator.off("exit", fail);
        done();
      };
      const hear = (answer: Answer) => {
        if (answer.kind === kind) settle(() => resolve(answer as Extract<Answer, { kind: K }>));
        else if (answer.kind === "failed")
          settle(() => reject(new Error(`the generator: ${answer.message}`)));
      };
      const fail = () =>
        settle(() => reject(new Error(`the generator has ended: ${this.#site.tailOf("generator")}`)));
      generator.on("message", hear);
      generator.on("exit", fail);
      if (hasEnded(generator)) fail();
    });
  }
}
