/**
 * Has the register put participants on its list, which the watermark waits for, before a txId for them is minted: the
 * txId is then above every watermark that was raised without them. Once per participant and incarnation of a manager;
 * after that it costs nothing.
 */
import { ShopError } from "../../lib/errors.ts";
import type { TxId } from "../protocol/messages.ts";
import type { RegisterPort } from "./ports.ts";

export class Enrolment {
  readonly #register: Pick<RegisterPort, "enrol">;
  readonly #learn: (watermark: TxId) => void;
  readonly #enrolled = new Set<string>();
  readonly #underWay = new Map<string, Promise<void>>();

  /** `learn` hears the watermark as it stood after an enrolment. */
  constructor(register: Pick<RegisterPort, "enrol">, learn: (watermark: TxId) => void) {
    this.#register = register;
    this.#learn = learn;
  }

  has(participants: readonly string[]): boolean {
    return participants.every((participant) => this.#enrolled.has(participant));
  }

  /** Resolves when all are enrolled durably. Rejects as `unavailable` where the register cannot be reached. */
  async add(participants: readonly string[]): Promise<true> {
    await Promise.all(
      participants
        .filter((participant) => !this.#enrolled.has(participant))
        .map((participant) => {
          let enrolling = this.#underWay.get(participant);
          if (!enrolling) {
            enrolling = this.#enrol(participant).finally(() => this.#underWay.delete(participant));
            this.#underWay.set(participant, enrolling);
          }
          return enrolling;
        }),
    );
    return true;
  }

  async #enrol(participant: string): Promise<void> {
    try {
      this.#learn(await this.#register.enrol([participant]));
    } catch (err) {
      throw registerUnavailable((err as Error).message);
    }
    this.#enrolled.add(participant);
  }
}

export const registerUnavailable = (why: string): ShopError =>
  new ShopError(
    "unavailable",
    `The decision register cannot be reached (${why}); nothing was done. Try again.`,
    { retryAfter: 1 },
  );
