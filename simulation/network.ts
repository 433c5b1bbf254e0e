/**
 * The simulated network: calls between nodes as the broker makes them, each a request and a reply, both of which may be
 * lost, doubled, delayed and so reordered. Payloads are copied as JSON, like on the wire. It keeps every request it was
 * given, so that all of them can be delivered once more at the end.
 */
import type { Incarnation, World } from "./world.ts";

type Handler = (payload: never) => Promise<unknown>;

interface Endpoint {
  service: string;
  incarnation: Incarnation;
  handlers: Readonly<Record<string, Handler>>;
}

interface Call {
  from: Incarnation;
  service: string;
  to: Incarnation;
  settle: (settle: () => void) => void;
  reject: (err: Error) => void;
}

export interface Sent {
  service: string;
  method: string;
  json: string;
}

const NEVER = new Promise<never>(() => {});
const failure = (type: string, message: string) => Object.assign(new Error(message), { type });

export class Network {
  readonly sent: Sent[] = [];
  readonly #world: World;
  readonly #endpoints = new Map<string, Endpoint>();
  readonly #cutUntil = new Map<string, number>();
  #calls = new Set<Call>();

  constructor(world: World) {
    this.#world = world;
  }

  attach(service: string, incarnation: Incarnation, handlers: Readonly<Record<string, Handler>>): void {
    this.#endpoints.set(incarnation.node, { service, incarnation, handlers });
  }

  /** True when nobody waits for anybody in the shop. */
  get isIdle(): boolean {
    return [...this.#calls].every(({ from, service }) => from.isDead || service === "bank");
  }

  cut(node: string, ms: number): void {
    this.#cutUntil.set(node, this.#world.now + ms);
  }

  /** What the broker does when a node is gone: some callers are told, the others wait in vain. */
  dropCallsTo(dead: Incarnation): void {
    for (const call of this.#calls)
      if (call.to === dead && this.#world.random.chance(0.5))
        call.settle(() => call.reject(failure("REQUEST_REJECTED", `${dead.node} is gone`)));
  }

  call<Result>(
    from: Incarnation,
    service: string,
    method: string,
    payload: unknown,
    timeoutMs: number,
  ): Promise<Result> {
    if (from.isDead) return NEVER;
    const world = this.#world;
    const to = this.#pick(service);
    if (!to) return Promise.reject(failure("SERVICE_NOT_AVAILABLE", `nobody hosts ${service}`));
    const json = JSON.stringify(payload);
    if (service !== "bank") this.sent.push({ service, method, json });
    return new Promise((resolve, reject) => {
      let isOver = false;
      const settle = (settle: () => void) => {
        world.after(0.1, from, `${method} settled`, () => {
          if (isOver) return;
          isOver = true;
          this.#calls.delete(call);
          cancel();
          settle();
        });
      };
      const call: Call = { from, service, to: to.incarnation, settle, reject };
      const cancel = world.after(timeoutMs, from, `${method} timeout`, () => {
        isOver = true;
        this.#calls.delete(call);
        reject(failure("REQUEST_TIMEOUT", `${service}.${method} did not answer within ${timeoutMs} ms`));
      });
      this.#calls.add(call);
      this.#send(`${method}>${service}`, from, to.incarnation, () => {
        if (to.incarnation.isDead) return;
        this.#serve(to, method, this.#touched(method, json)).then(
          (reply) =>
            this.#send(`${method}<${service}`, to.incarnation, from, () =>
              settle(() => resolve(reply as Result)),
            ),
          (err) => this.#send(`${method}<${service}`, to.incarnation, from, () => settle(() => reject(err))),
        );
      });
    });
  }

  /** Delivers a request that was sent before once more, to anyone who hosts its service. Nobody hears the reply. */
  redeliver({ service, method, json }: Sent, afterMs: number): void {
    this.#world.after(afterMs, undefined, `${method} again`, () => {
      const to = this.#pick(service);
      if (to) this.#serve(to, method, json).catch(() => undefined);
    });
  }

  async #serve(to: Endpoint, method: string, json: string): Promise<unknown> {
    const handler = to.handlers[method];
    if (!handler) throw new Error(`${to.service} has no action ${method}`);
    const reply = await handler(JSON.parse(json) as never);
    return reply === undefined ? undefined : JSON.parse(JSON.stringify(reply));
  }

  /** Clocks lie, and budgets come from clocks. */
  #touched(method: string, json: string): string {
    if (method !== "prepare" || !this.#world.random.chance(this.#world.weather.wrongBudget)) return json;
    return json.replaceAll(/"budgetMs":[\d.]+/g, `"budgetMs":${this.#world.random.pick([-1, 1, 3_600_000])}`);
  }

  #send(point: string, from: Incarnation, to: Incarnation, arrive: () => void): void {
    const world = this.#world;
    if (from.isDead) return;
    const { loss, duplicate, delay } = world.weather;
    const fault = world.strike(point);
    const isCut = () => [from, to].some(({ node }) => (this.#cutUntil.get(node) ?? 0) > world.now);
    if (isCut() || fault?.do === "lose" || world.random.chance(loss)) return;
    const travel = (extraMs: number) => {
      const slow = world.random.chance(delay) ? world.random.next() * 4_000 : 0;
      const usual = 0.1 + world.random.next() * (world.random.chance(0.1) ? 15 : 1);
      world.after(world.frozenMs(from) + usual + slow + extraMs, undefined, point, () => {
        if (!isCut()) this.#whenAwake(to, point, arrive);
      });
    };
    travel(fault?.do === "delay" ? fault.ms : 0);
    if (fault?.do === "duplicate" || world.random.chance(duplicate))
      travel(fault?.do === "duplicate" ? fault.ms : world.random.next() * 1_000);
  }

  #whenAwake(to: Incarnation, point: string, arrive: () => void): void {
    if (to.frozenUntil > this.#world.now) this.#world.after(0, to, point, arrive);
    else arrive();
  }

  /** Round the dead ones, mostly: the registry hears of a crash a little late. */
  #pick(service: string): Endpoint | undefined {
    const hosts = [...this.#endpoints.values()].filter((endpoint) => endpoint.service === service);
    const alive = hosts.filter(({ incarnation }) => !incarnation.isDead);
    if (alive.length === 0) return undefined;
    return this.#world.random.pick(this.#world.random.chance(0.05) ? hosts : alive);
  }
}
