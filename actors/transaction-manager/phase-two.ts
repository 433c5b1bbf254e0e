/**
 * Phase two: a decision that is stored is carried out. A commit goes to everybody who voted, and the register hears who
 * has acknowledged it; what fails here is brought again by recovery. An abort is told while a caller waits for it: whoever
 * misses it asks.
 */
import type { Mailbox } from "../mailbox.ts";
import type { Drive } from "../protocol/driver.ts";
import type { TxId } from "../protocol/messages.ts";
import { type ParticipantMailboxes, REST_MS } from "./participant-mailboxes.ts";
import { backOffMs } from "./patience.ts";
import type { Acknowledgement, ManagerOptions } from "./ports.ts";

/** What ends the driving of a commit at one participant; false where it must be brought again. */
type Acknowledged = "done" | "heuristic" | false;

export interface Delivery {
  /** Those that are waited for and have committed; it grows until `awaited` resolves. */
  durable: Set<string>;
  /** Resolves when all that are waited for have committed or are given up. */
  awaited: Promise<unknown>;
  /** Resolves when the register knows who has acknowledged the commit. */
  acknowledged: Promise<unknown>;
}

export class PhaseTwo {
  readonly #options: Required<ManagerOptions>;
  readonly #of: (participant: string) => ParticipantMailboxes;
  readonly #acknowledgements: Mailbox<Acknowledgement, true>;

  constructor(options: Required<ManagerOptions>, of: (participant: string) => ParticipantMailboxes) {
    const { register, mailbox, capacity, batchMax } = options;
    this.#options = options;
    this.#of = of;
    this.#acknowledgements = mailbox({
      name: "acknowledge",
      capacity: capacity * 4,
      batchMax: batchMax * 4,
      restMs: REST_MS,
      behaviour: async (batch) => {
        await register.acknowledge(batch);
        return batch.map(() => true);
      },
    });
  }

  /** Commits everywhere; until `answerBy` it is brought again to those of `durableAt`, that somebody waits for. */
  commit({ txId, enlisted }: Drive, durableAt: readonly string[], answerBy: number): Delivery {
    const durable = new Set<string>();
    const isAwaited = (participant: string) => durableAt.includes(participant);
    // They go first.
    const order = enlisted.toSorted((a, b) => Number(isAwaited(b)) - Number(isAwaited(a)));
    const delivered = order.map((participant) =>
      isAwaited(participant)
        ? this.#deliverInTime(participant, txId, answerBy, durable)
        : this.#deliver(participant, txId, "commitLater"),
    );
    return {
      durable,
      awaited: Promise.all(delivered.slice(0, order.filter(isAwaited).length)),
      acknowledged: this.#acknowledge(txId, order, delivered),
    };
  }

  /** Brings a commit that recovery has found to these once more. Resolves to how many of them have acknowledged it. */
  async repeat(txId: TxId, participants: readonly string[]): Promise<number> {
    const delivered = participants.map((participant) => this.#deliver(participant, txId, "commitLater"));
    return this.#acknowledge(txId, participants, delivered);
  }

  /**
   * Tells everybody, and until `by` again who has not answered, because after a refusal the client may count on what is
   * released. Resolves to whether all have. A participant that cannot be reached asks for the outcome by itself.
   */
  async abort({ txId, enlisted, refusals }: Drive, by: number): Promise<boolean> {
    const told = enlisted.map(async (participant) => {
      // Who has refused holds nothing, and hears it once.
      const hasRefused = refusals.some((refusal) => refusal.participant === participant);
      const isReleased = await this.#insist(hasRefused ? 0 : by, () => this.#release(participant, txId));
      return hasRefused || isReleased;
    });
    return (await Promise.all(told)).every(Boolean);
  }

  /** False where it must be told again. */
  async #release(participant: string, txId: TxId): Promise<boolean> {
    const reply = await this.#of(participant)
      .abort.ask(txId)
      .catch(() => "pending");
    if (reply === "contradiction" || reply === "heuristic")
      this.#options.alarm(
        reply === "heuristic"
          ? `heuristic-mixed: the transaction is aborted, an operator committed at ${participant}`
          : `${participant} had committed what is aborted`,
        { txId, participant },
      );
    return reply !== "pending";
  }

  /** A commit that a caller waits for: brought again until it is in `durable`, or the caller's time is up. */
  async #deliverInTime(to: string, txId: TxId, by: number, durable: Set<string>): Promise<Acknowledged> {
    const done = await this.#insist(by, () => this.#deliver(to, txId, "commit"));
    if (done === "done") durable.add(to);
    return done;
  }

  /** Repeats what has not succeeded, until it has or the time is up. */
  async #insist<Result>(by: number, work: () => Promise<Result | false>): Promise<Result | false> {
    const { clock } = this.#options;
    for (let failures = 0; ; failures++) {
      const done = await work();
      const pauseMs = backOffMs(failures);
      if (done || clock.now() + pauseMs >= by) return done;
      await clock.sleep(pauseMs);
    }
  }

  /** What ends the driving, or false. Failures are recovery's business, contradictions an operator's. */
  async #deliver(participant: string, txId: TxId, by: "commit" | "commitLater"): Promise<Acknowledged> {
    try {
      const reply = await this.#of(participant)[by].ask(txId);
      if (reply === "done") return reply;
      if (reply === "pending") return false;
      // A late repeat of a commit that all had acknowledged before the watermark passed it concerns nobody. The decision
      // itself may still be there: it is deleted after the votes.
      if (reply === "forgotten" && txId <= (await this.#options.register.limits()).watermark) return false;
      this.#options.alarm(
        reply === "heuristic"
          ? `heuristic-mixed: the register says commit, an operator aborted at ${participant}`
          : `${participant} answered ${reply} to a commit that is decided`,
        { txId, participant },
      );
      return reply === "heuristic" ? reply : false;
    } catch {
      return false;
    }
  }

  /** Resolves to how many have acknowledged, when the register knows. */
  async #acknowledge(
    txId: TxId,
    participants: readonly string[],
    delivered: Promise<Acknowledged>[],
  ): Promise<number> {
    const done = await Promise.all(delivered);
    const acknowledged = participants.filter((_, i) => done[i]);
    const heuristic = participants.filter((_, i) => done[i] === "heuristic");
    if (acknowledged.length > 0)
      await this.#acknowledgements.ask({ txId, participants: acknowledged, heuristic });
    return acknowledged.length;
  }
}
