/**
 * Virtual time: a queue of events, each of which belongs to an incarnation of a node or to nobody. Between two events
 * every promise that can go on does, so one seed is one sequence of steps. A dead incarnation's events are dropped,
 * a frozen one's wait until it wakes.
 */
import type { Clock } from "../actors/clock.ts";
import type { Plan, PointFault, Weather } from "./plan.ts";
import { Random } from "./random.ts";
import type { Step, TraceLine } from "./trace.ts";

interface Event {
  at: number;
  readonly order: number;
  readonly owner: Incarnation | undefined;
  readonly label: string;
  readonly run: () => void;
  cancelled: boolean;
}

/** One life of a node: from a start to a crash. */
export interface Incarnation {
  readonly node: string;
  isDead: boolean;
  frozenUntil: number;
}

const CALM: Weather = { loss: 0, duplicate: 0, delay: 0, wrongBudget: 0 };

export class World {
  readonly plan: Plan;
  readonly random: Random;
  readonly trace: TraceLine[] = [];
  readonly violations: string[] = [];
  now = 0;
  steps = 0;
  crashes = 0;
  /** A digest of every step taken: two runs with the same digest did the same. */
  digest = 0;
  /** Brings a node down and, after `downMs`, up again. */
  crash: (incarnation: Incarnation, downMs: number) => void = () => {};
  readonly #counts = new Map<string, number>();
  readonly #faults = new Map<string, PointFault[]>();
  #queue: Event[] = [];
  #order = 0;
  /** Events of nobody under way: messages, statements, restarts. */
  underway = 0;

  constructor(plan: Plan) {
    this.plan = plan;
    this.random = new Random(plan.seed);
    for (const fault of plan.faults)
      if ("point" in fault) this.#faults.set(fault.point, [...(this.#faults.get(fault.point) ?? []), fault]);
  }

  get isCalm(): boolean {
    return this.now >= this.plan.calmAt;
  }

  get weather(): Weather {
    return this.isCalm ? CALM : this.plan.weather;
  }

  /** Counts a passing of this point of the code, and answers what the plan has for it. */
  strike(point: string): PointFault | undefined {
    const nth = (this.#counts.get(point) ?? 0) + 1;
    this.#counts.set(point, nth);
    if (this.isCalm) return undefined;
    return this.#faults.get(point)?.find((fault) => fault.nth <= nth && nth < fault.nth + fault.times);
  }

  note(node: string, step: Step): void {
    this.trace.push({ at: Math.round(this.now * 1000) / 1000, node, ...step });
  }

  violate(what: string): void {
    this.violations.push(`at ${Math.round(this.now)} ms: ${what}`);
  }

  /** Runs `run` after `delayMs`, in the life of `owner`. The returned function takes that back. */
  after(delayMs: number, owner: Incarnation | undefined, label: string, run: () => void): () => void {
    const event: Event = {
      at: this.now + Math.max(0, delayMs),
      order: this.#order++,
      owner,
      label,
      run,
      cancelled: false,
    };
    push(this.#queue, event);
    if (!owner) this.underway++;
    return () => {
      event.cancelled = true;
    };
  }

  /** How long from now an incarnation stands still. What it sends meanwhile leaves it when it wakes. */
  frozenMs(incarnation: Incarnation): number {
    return Math.max(0, incarnation.frozenUntil - this.now);
  }

  freeze(incarnation: Incarnation, ms: number): void {
    incarnation.frozenUntil = Math.max(incarnation.frozenUntil, this.now + ms);
  }

  clockOf(incarnation: Incarnation): Clock {
    const after = (ms: number, label: string, then: () => void) => this.after(ms, incarnation, label, then);
    return {
      now: () => this.now,
      sleep: (ms) => new Promise((resolve) => after(ms, "sleep", resolve)),
      after: (ms, then) => after(ms, "timer", then),
      soon: (then) => {
        after(0, "soon", then);
      },
      random: () => this.random.next(),
    };
  }

  /** Takes steps until `isOver` says so, or nothing is left to do, or virtual time reaches `untilMs`. */
  async run(isOver: () => boolean, untilMs: number): Promise<void> {
    while (this.violations.length === 0 && !isOver()) {
      const event = pop(this.#queue);
      if (!event) return;
      if (event.cancelled || event.owner?.isDead) continue;
      if (event.owner && event.owner.frozenUntil > event.at) {
        event.at = event.owner.frozenUntil;
        push(this.#queue, event);
        continue;
      }
      if (event.at > untilMs) {
        push(this.#queue, event);
        this.now = untilMs;
        return;
      }
      this.now = event.at;
      this.steps++;
      if (!event.owner) this.underway--;
      this.#mix(event);
      event.run();
      await turn();
    }
  }

  /** FNV-1a over time, owner and label. */
  #mix(event: Event): void {
    let digest = this.digest ^ Math.round(event.at * 1000);
    const text = event.owner ? event.owner.node + event.label : event.label;
    for (let i = 0; i < text.length; i++) digest = Math.imul(digest ^ text.charCodeAt(i), 0x01000193);
    this.digest = digest >>> 0;
  }
}

/** Lets every promise go on that can. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

const before = (a: Event, b: Event): boolean => a.at < b.at || (a.at === b.at && a.order < b.order);

/** A binary heap, soonest first. */
function push(heap: Event[], event: Event): void {
  let i = heap.push(event) - 1;
  while (i > 0) {
    const parent = (i - 1) >> 1;
    if (!before(event, heap[parent] as Event)) break;
    heap[i] = heap[parent] as Event;
    i = parent;
  }
  heap[i] = event;
}

function pop(heap: Event[]): Event | undefined {
  const top = heap[0];
  const last = heap.pop();
  if (top === undefined || last === undefined || heap.length === 0) return top;
  let i = 0;
  for (;;) {
    let child = 2 * i + 1;
    if (child >= heap.length) break;
    if (child + 1 < heap.length && before(heap[child + 1] as Event, heap[child] as Event)) child++;
    if (!before(heap[child] as Event, last)) break;
    heap[i] = heap[child] as Event;
    i = child;
  }
  heap[i] = last;
  return top;
}
