/**
 * Garbage collection (rule 7): raises the participants' seals, then the managers' watermark, then has everybody delete
 * what lies at or below it. Any number of managers may do it at once, and a step may be repeated or left out anywhere.
 *
 * Nothing undecided is ever passed, although the register does not know of it. A transaction may still be decided
 * commit only while everybody enlisted holds its yes in doubt, and no seal is raised over a vote in doubt; below its
 * seal nobody begins one. So once all have sealed W, what has no decision at or below W can never get a commit. Each
 * seal stays where it was raised, hence the seals need not be taken at one moment, nor by one manager.
 *
 * Pure over its ports. Time only delays it: W is the txId of a settled decision, never a clock reading.
 */
import { type Clock, realClock } from "../clock.ts";
import type { TxId } from "../protocol/messages.ts";
import type { ParticipantPort, RegisterPort } from "./ports.ts";

export interface GarbageOptions {
  register: Pick<RegisterPort, "participants" | "limits" | "candidate" | "raiseWatermark" | "prune">;
  participants: Pick<ParticipantPort, "raiseSeal" | "prune">;
  /** Decisions younger than this stay, by the register's clock. */
  retentionMs: number;
  /** Hears every watermark that is met, so that nothing is minted at or below it. */
  learn: (watermark: TxId) => void;
  /** Called for what holds the collection up for a second round, and once an hour then. */
  warn: (message: string, detail: object) => void;
  clock?: Clock;
}

/** A participant without which nothing can be deleted now, and why. */
export interface Hindrance {
  participant: string;
  reason: string;
}

export interface GarbageState {
  watermark: TxId | undefined;
  hindrances: Hindrance[];
  /** Rows deleted by this manager's doing since its start. */
  pruned: number;
}

/** How many decisions the watermark passes in one step: as many index entries are read for it, in a few ms. */
const WINDOW_MAX = 5_000;
/** Rows of one deleting statement: few enough that its locks and its commit delay no checkout noticeably. */
const PRUNE_MAX = 500;
/** Between two rounds while there is more to delete: most of the time belongs to the checkouts. */
const REST_MS = 100;
const WARN_AGAIN_MS = 3_600_000;

export class Garbage {
  readonly #options: Required<GarbageOptions>;
  readonly #warnedAt = new Map<string, number>();
  #window = WINDOW_MAX;
  #watermark: TxId | undefined;
  #hindrances: Hindrance[] = [];
  #pruned = 0;

  constructor(options: GarbageOptions) {
    this.#options = { clock: realClock, ...options };
  }

  get state(): GarbageState {
    return { watermark: this.#watermark, hindrances: this.#hindrances, pruned: this.#pruned };
  }

  /** One round. Answers true where more is waiting, after a rest. Rejects only where the register cannot be reached. */
  async tick(): Promise<boolean> {
    const { register, learn, retentionMs, clock } = this.#options;
    const hindrances: Hindrance[] = [];
    const { watermark: before } = await register.limits();
    learn(before);
    const names = await register.participants();
    const upTo = await register.candidate(retentionMs, this.#window);
    let watermark = before;
    if (upTo !== undefined) {
      const sealed = await this.#seal(names, upTo, hindrances);
      if (sealed !== undefined && sealed > before) watermark = await register.raiseWatermark(sealed, names);
      learn(watermark);
      // A smaller step next time may come to stand below what is in doubt.
      if (sealed !== undefined)
        this.#window = sealed < upTo ? Math.ceil(this.#window / 4) : Math.min(this.#window * 2, WINDOW_MAX);
    }
    this.#watermark = watermark;
    const isFull = await this.#prune(names, watermark, hindrances);
    this.#report(hindrances);
    const isMoreWaiting = isFull || watermark > before;
    if (isMoreWaiting) await clock.sleep(REST_MS);
    return isMoreWaiting;
  }

  /** The highest txId at or below `upTo` that all have sealed; undefined where somebody cannot be asked. */
  async #seal(names: string[], upTo: TxId, hindrances: Hindrance[]): Promise<TxId | undefined> {
    const seals = await Promise.all(
      names.map((participant) =>
        this.#options.participants.raiseSeal(participant, upTo).catch((err: Error) => {
          hindrances.push({ participant, reason: `its seal cannot be raised: ${err.message}` });
          return undefined;
        }),
      ),
    );
    let sealed: TxId | undefined = upTo;
    for (const [i, seal] of seals.entries()) {
      if (seal !== undefined && seal < upTo)
        hindrances.push({
          participant: names[i] as string,
          reason: `something at or below ${upTo} is in doubt or owed there`,
        });
      if (sealed !== undefined) sealed = seal === undefined ? undefined : seal < sealed ? seal : sealed;
    }
    // Nobody enrolled, nobody sealed.
    return names.length > 0 ? sealed : undefined;
  }

  async #prune(names: string[], watermark: TxId, hindrances: Hindrance[]): Promise<boolean> {
    const { participants, register } = this.#options;
    let isFull = false;
    const count = (rows: number) => {
      this.#pruned += rows;
      if (rows === PRUNE_MAX) isFull = true;
    };
    // One after the other: the databases may share their disk.
    for (const participant of names) {
      try {
        count(await participants.prune(participant, watermark, PRUNE_MAX));
      } catch (err) {
        hindrances.push({
          participant,
          reason: `its votes cannot be deleted: ${(err as Error).message}`,
        });
      }
    }
    count(await register.prune(PRUNE_MAX));
    return isFull;
  }

  #report(hindrances: Hindrance[]): void {
    const now = this.#options.clock.now();
    for (const { participant, reason } of hindrances) {
      // At a start, and while a node is replaced, a participant is not there yet.
      if (!this.#hindrances.some((before) => before.participant === participant)) continue;
      const warnedAt = this.#warnedAt.get(participant);
      if (warnedAt !== undefined && now - warnedAt < WARN_AGAIN_MS) continue;
      this.#warnedAt.set(participant, now);
      this.#options.warn(`nothing is deleted beyond ${this.#watermark}: ${participant}: ${reason}`, {
        participant,
      });
    }
    for (const participant of this.#warnedAt.keys())
      if (!hindrances.some((hindrance) => hindrance.participant === participant))
        this.#warnedAt.delete(participant);
    this.#hindrances = hindrances;
  }
}
