/**
 * Sends the mail that is pending. A mail is claimed durably before it is sent and its result recorded as soon as there is
 * one, so it is sent once, by one process; where that process is killed in between, or the answer is lost, it is sent
 * again with the same Message-ID and counted. A mail server that is away makes mail wait and nothing else: nothing is
 * claimed then. It never throws for what goes wrong outside the database.
 */
import type { Clock } from "../../actors/clock.ts";
import type { Mailbox } from "../../actors/mailbox.ts";
import type { Supervisor } from "../../actors/supervisor.ts";
import type { Database } from "../../mixins/database.mixin.ts";
import type { Outage } from "../../mixins/events/outage.ts";
import type { Contact } from "../user/api.ts";
import type { MailPort, Outcome } from "./mail.port.ts";
import { type Claim, claimMails, extendClaims, type Result, recordResults } from "./mail.repository.ts";

/**
 * Paced like the relay of events: 600 mails a second at most. A mail costs a millisecond of the event loop, so a loop that
 * others use gives them what they leave of it, and mail follows when they are done. It is also what may be repeated
 * after a kill.
 */
const IN_HAND_MAX = 150;
/** However busy the loop is: mail is slow then, and does not stand still. */
const IN_HAND_MIN = 5;
export const LOOK_MS = 250;
/** A claim outlives three failed attempts to hold on to it; the mail of a dead process waits this long at most. */
const CLAIM_MS = 20_000;
export const HOLD_MS = 5_000;
/** A mail that cannot be sent yet is tried again after half a minute, then after twice as long, up to an hour. */
const PAUSE_MS_MIN = 30_000;
const PAUSE_MS_MAX = 3_600_000;
/** Three days of that, as long as mail servers keep trying (RFC 5321 4.5.4.1 says four to five). */
const ATTEMPTS_MAX = 80;
/** After a database that is away, until the result is recorded. */
const RECORD_AGAIN_MS = 1_000;
/** What is being sent has so long to end when the service stops, a second less than the step of the stop has. */
const STOP_MS_MAX = 3_000;

export interface MailerOptions {
  db: Database;
  port: MailPort;
  contactsOf(userIds: readonly string[]): Promise<Map<string, Contact>>;
  supervisor: Supervisor;
  /** Of the mail server, and of whoever knows the addresses. */
  outages: { server: Outage; contacts: Outage };
  /** The share of the event loop that was in use since it was last asked, 0 to 1. */
  loopUse?: () => number;
  logger: { info(...args: unknown[]): void; warn(...args: unknown[]): void };
}

export class Mailer {
  readonly #options: MailerOptions;
  readonly #clock: Clock;
  readonly #loopUse: () => number;
  readonly #results: Mailbox<Result, void>;
  readonly #inHand = new Map<string, Promise<void>>();
  /** Why the server did not take a mail that it should have; undefined where it has taken one since. */
  #letDown: string | undefined;
  #looking: Promise<void> = Promise.resolve();
  #isStopping = false;
  #stop: () => void = () => undefined;
  readonly #stopped = new Promise<void>((resolve) => {
    this.#stop = resolve;
  });
  /** Since the start of this process. */
  readonly totals = { sent: 0, failed: 0, repeats: 0 };

  constructor(options: MailerOptions) {
    this.#options = options;
    this.#clock = options.supervisor.clock;
    this.#loopUse = options.loopUse ?? loopUseBetweenCalls();
    this.#results = options.supervisor.mailbox<Result, void>({
      name: "mail-results",
      behaviour: async (batch) => {
        await recordResults(options.db, batch);
        return batch.map(() => undefined);
      },
    });
  }

  /** One look for mail: takes what is due and begins to send it. */
  look(): Promise<void> {
    this.#looking = this.#look();
    return this.#looking;
  }

  async #look(): Promise<void> {
    const { server, contacts } = this.#options.outages;
    const room = Math.max(IN_HAND_MIN, Math.round(IN_HAND_MAX * (1 - this.#loopUse())));
    if (this.#isStopping || contacts.isPausing || this.#inHand.size >= room) return;
    if (!(await server.patiently(() => this.#present())) || this.#isStopping) return;
    if (this.#inHand.size < room) await this.#takeUp(room - this.#inHand.size);
  }

  /** Resolves where the server takes mail. One that let the last mail down is not believed before it has taken another. */
  async #present(): Promise<true> {
    await this.#options.port.ready();
    if (this.#letDown === undefined) return true;
    this.#letDown = undefined;
    await Promise.all(await this.#takeUp(1));
    if (this.#letDown !== undefined) throw new Error(this.#letDown);
    return true;
  }

  /** Takes up to `limit` mails into hand. Answers what resolves when each is done with. */
  async #takeUp(limit: number): Promise<Promise<void>[]> {
    const { db, contactsOf, outages } = this.#options;
    const claims = await claimMails(db, { limit, claimMs: CLAIM_MS, held: [...this.#inHand.keys()] });
    if (claims.length === 0) return [];
    this.#countRepeats(claims);
    const ids = claims.map(({ userId }) => userId);
    const contacts = outages.contacts.patiently(() => contactsOf(ids));
    const taken = claims.map((claim) => this.#take(claim, contacts));
    // Before the next claim, which would ask again.
    await contacts;
    return taken;
  }

  /** Keeps the claims on what is in hand. */
  async hold(): Promise<void> {
    if (this.#inHand.size > 0) await extendClaims(this.#options.db, [...this.#inHand.keys()], CLAIM_MS);
  }

  /** Takes up nothing more, and resolves when what is in hand is recorded, or lost. Claims that are left lapse. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    this.#stop();
    const { port } = this.#options;
    const cancel = this.#clock.after(STOP_MS_MAX, () => port.close());
    await this.#looking.catch(() => undefined); // which the loop has told
    await Promise.all(this.#inHand.values());
    cancel();
    port.close();
  }

  #take(claim: Claim, contacts: Promise<Map<string, Contact> | undefined>): Promise<void> {
    const { eventId } = claim;
    const done = this.#deliver(claim, contacts).finally(() => this.#inHand.delete(eventId));
    this.#inHand.set(eventId, done);
    return done;
  }

  async #deliver(claim: Claim, contacts: Promise<Map<string, Contact> | undefined>): Promise<void> {
    const result = await this.#resultOf(claim, await contacts);
    const { logger } = this.#options;
    for (;;) {
      try {
        await this.#results.ask(result);
        if (result.status === "sent") this.totals.sent++;
        else if (result.status === "failed") {
          this.totals.failed++;
          logger.warn(`mail ${claim.eventId} to user ${claim.userId} cannot be sent: ${result.failure}`);
        }
        return;
      } catch (err) {
        logger.warn(`mail ${claim.eventId} is ${result.status}, which cannot be recorded yet:`, err);
        if (this.#isStopping) return;
        await Promise.race([this.#stopped, this.#clock.sleep(RECORD_AGAIN_MS)]);
      }
    }
  }

  async #resultOf(claim: Claim, contacts: Map<string, Contact> | undefined): Promise<Result> {
    const { eventId, subject, text, html, time } = claim;
    if (this.#isStopping) return this.#later(claim, "the service stopped", 0);
    if (!contacts) return this.#later(claim, "nobody could be asked for the address", 0);
    const contact = contacts.get(claim.userId);
    if (!contact) return { eventId, status: "failed", failure: "the account does not exist any more" };
    const { port } = this.#options;
    const to = { name: contact.name, address: contact.email };
    let outcome: Outcome;
    try {
      outcome = await port.send({ eventId, to, subject, text, html, date: time });
    } catch (err) {
      // A defect of ours, such as a mail that cannot be composed: the mail waits for the version that can.
      outcome = { kind: "deferred", reason: (err as Error).message };
    }
    if (outcome.kind === "sent") return { eventId, status: "sent" };
    if (outcome.kind === "refused") return { eventId, status: "failed", failure: outcome.reason };
    if (outcome.kind === "deferred") return this.#later(claim, outcome.reason, pauseOf(claim.attempts));
    // Of the server: it is sent as soon as that is back. But one that is lost on its way may be why it was.
    if (!outcome.mayHaveArrived) this.#letDown = outcome.reason;
    const pauseMs = outcome.mayHaveArrived ? pauseOf(claim.attempts) : 0;
    return this.#later(claim, outcome.reason, pauseMs, outcome.mayHaveArrived);
  }

  #later({ eventId, attempts }: Claim, failure: string, pauseMs: number, mayHaveArrived = false): Result {
    if (attempts >= ATTEMPTS_MAX && pauseMs > 0)
      return { eventId, status: "failed", failure: `given up after ${attempts} attempts: ${failure}` };
    return { eventId, status: "retry", failure, pauseMs, mayHaveArrived };
  }

  #countRepeats(claims: readonly Claim[]): void {
    const repeats = claims.filter(({ isRepeat }) => isRepeat).length;
    if (repeats === 0) return;
    this.totals.repeats += repeats;
    this.#options.logger.warn(
      `${repeats} mails are sent again with the same Message-ID: whoever had them was killed, or lost the answer`,
    );
  }
}

function loopUseBetweenCalls(): () => number {
  let last = performance.eventLoopUtilization();
  return () => {
    const now = performance.eventLoopUtilization();
    const { utilization } = performance.eventLoopUtilization(now, last);
    last = now;
    return utilization;
  };
}

const pauseOf = (attempts: number): number => Math.min(PAUSE_MS_MIN * 2 ** (attempts - 1), PAUSE_MS_MAX);
