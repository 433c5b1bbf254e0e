/**
 * Sends the mail that is pending. A mail is claimed durably before it is sent and its result recorded as soon as there is
 * one, so it is sent once, by one process; where that process is killed in between, or the answer is lost, it is sent
 * again with the same Message-ID and counted. No mail is begun unless its claim is held for certain: a process that was
 * asleep sends nothing of what it had in hand. A mail server that is away makes mail wait and nothing else: nothing is
 * claimed then. It never throws for what goes wrong outside the database.
 */
import type { Clock } from "../../actors/clock.ts";
import type { Mailbox } from "../../actors/mailbox.ts";
import type { Supervisor } from "../../actors/supervisor.ts";
import { newId } from "../../lib/ids.ts";
import { STEPS_MS_MAX } from "../../lib/stop.ts";
import type { Database } from "../../mixins/database.mixin.ts";
import type { Outage } from "../../mixins/events/outage.ts";
import type { Contact } from "../user/api.ts";
import type { MailPort, Outcome } from "./mail.port.ts";
import {
  type ClaimedMail,
  claimMails,
  extendClaims,
  type Result,
  recordResults,
  takeOverClaims,
} from "./mail.repository.ts";
import { letterOf } from "./notification.ts";

/**
 * Paced like the relay of events: 600 mails a second at most. Mail takes the event loop, too: a loop that others use
 * gives them what they leave of it, and mail follows when they are done. It is also what may be repeated after a kill.
 */
const IN_HAND_MAX = 150;
/** However busy the loop is: mail is slow then, and does not stand still. */
const IN_HAND_MIN = 5;
export const LOOK_MS = 250;
/** A claim outlives two failed attempts to hold on to it; the mail of a dead process waits this long, and for a look. */
const CLAIM_MS = 20_000;
export const HOLD_MS = 5_000;
/** No mail is begun when less is left of its claim, by a clock that began before the claim did. */
const BEGIN_MS = 5_000;
/** A mail that cannot be sent yet is tried again after half a minute, then after twice as long, up to an hour. */
const PAUSE_MS_MIN = 30_000;
const PAUSE_MS_MAX = 3_600_000;
/** Three days of that, as long as mail servers keep trying (RFC 5321 4.5.4.1 says four to five). */
const ATTEMPTS_MAX = 80;
/**
 * Nobody waits for a record, so the next follows after a rest: a quarter of the commits, and as many mails as are sent
 * meanwhile (a dozen at full pace) that a kill leaves sent and not recorded.
 */
const RECORD_REST_MS = 25;
/** After a database that is away, until the result is recorded. */
const RECORD_AGAIN_MS = 1_000;
/** What is being sent has so long to end when the service stops. What is left of the step records what was cut off. */
const STOP_MS_MAX = STEPS_MS_MAX.mail - 1_000;

/** Mails that were taken up together. */
interface Claim {
  readonly id: string;
  /** Those whose results are not recorded. */
  readonly open: Set<string>;
  /** Until when one may be begun. */
  beginsUntil: number;
}

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
  /** Answers whether the mail was still ours. */
  readonly #results: Mailbox<Result, boolean>;
  readonly #inHand = new Set<Promise<void>>();
  readonly #claims = new Map<string, Claim>();
  /** Why the server did not take a mail that it should have; undefined where it has taken one since. */
  #letDown: string | undefined;
  #looking: Promise<void> = Promise.resolve();
  /** Resolves when all is let go of; undefined until it is to stop. */
  #stopped: Promise<void> | undefined;
  readonly #stopping = Promise.withResolvers<void>();
  /** Since the start of this process. */
  readonly totals = { sent: 0, failed: 0, repeats: 0, lapsed: 0 };

  constructor(options: MailerOptions) {
    this.#options = options;
    this.#clock = options.supervisor.clock;
    this.#loopUse = options.loopUse ?? loopUseBetweenCalls();
    this.#results = options.supervisor.mailbox<Result, boolean>({
      name: "mail-results",
      restMs: RECORD_REST_MS,
      behaviour: (batch) => this.#record(batch),
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
    if (this.#stopped || contacts.isPausing || this.#inHand.size >= room) return;
    if (!(await server.patiently(() => this.#present())) || this.#stopped) return;
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
    const claim: Claim = { id: newId(), open: new Set(), beginsUntil: this.#beginsUntil() };
    const mails = await claimMails(db, { claimId: claim.id, limit, claimMs: CLAIM_MS });
    if (mails.length === 0) return [];
    for (const { eventId } of mails) claim.open.add(eventId);
    this.#claims.set(claim.id, claim);
    this.#countRepeats(mails);
    const ids = mails.map(({ userId }) => userId);
    const contacts = outages.contacts.patiently(() => contactsOf(ids));
    const taken = mails.map((mail) => this.#take(mail, claim, contacts));
    // Before the next claim, which would ask again.
    await contacts;
    return taken;
  }

  /** For a claim that is made or extended after this call. */
  #beginsUntil(): number {
    return this.#clock.now() + CLAIM_MS - BEGIN_MS;
  }

  /** Keeps the claims on what is in hand, and ends those that have lapsed. */
  async hold(): Promise<void> {
    const { db, logger } = this.#options;
    if (this.#claims.size > 0) {
      const beginsUntil = this.#beginsUntil();
      const held = [...this.#claims.values()];
      const ours = await extendClaims(
        db,
        held.map(({ id }) => id),
        CLAIM_MS,
      );
      // One that is gone is somebody else's already, whatever our clock says.
      for (const claim of held)
        claim.beginsUntil = ours.has(claim.id) ? beginsUntil : Number.NEGATIVE_INFINITY;
    }
    const lapsed = await takeOverClaims(db);
    this.totals.lapsed += lapsed;
    if (lapsed > 0)
      logger.warn(`${lapsed} claims on mail have lapsed: whoever had them was killed, or asleep`);
  }

  /**
   * Begins nothing more, and resolves when what was begun has ended and is recorded. What has not ended in time is cut
   * off, and recorded as what may have arrived. Where that fails, the claim lapses, which says the same.
   */
  stop(): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  async #stop(): Promise<void> {
    this.#stopping.resolve();
    const { port } = this.#options;
    port.finish();
    const cancel = this.#clock.after(STOP_MS_MAX, () => port.close());
    await this.#looking.catch(() => undefined); // which the loop has told
    await Promise.all(this.#inHand);
    cancel();
    port.close();
  }

  #take(mail: ClaimedMail, claim: Claim, contacts: Promise<Map<string, Contact> | undefined>): Promise<void> {
    const done = this.#deliver(mail, claim, contacts).finally(() => this.#inHand.delete(done));
    this.#inHand.add(done);
    return done;
  }

  async #deliver(
    mail: ClaimedMail,
    claim: Claim,
    contacts: Promise<Map<string, Contact> | undefined>,
  ): Promise<void> {
    const { eventId, userId } = mail;
    const result = await this.#resultOf(mail, claim, await contacts);
    const { logger } = this.#options;
    for (;;) {
      try {
        const isOurs = await this.#results.ask(result);
        if (!isOurs)
          logger.warn(`mail ${eventId} is ${result.status}, and was taken over by another process`);
        if (result.status === "sent") this.totals.sent++;
        else if (result.status === "failed" && isOurs) {
          this.totals.failed++;
          logger.warn(`mail ${eventId} to user ${userId} cannot be sent: ${result.failure}`);
        }
        return;
      } catch (err) {
        logger.warn(`mail ${eventId} is ${result.status}, which cannot be recorded yet:`, err);
        if (this.#stopped) return;
        await Promise.race([this.#stopping.promise, this.#clock.sleep(RECORD_AGAIN_MS)]);
      }
    }
  }

  async #record(batch: readonly Result[]): Promise<boolean[]> {
    const done = new Set(batch.map(({ eventId }) => eventId));
    const claims = [...new Set(batch.map(({ claimId }) => claimId))].map(
      (id) => this.#claims.get(id) as Claim,
    );
    const finished = claims.filter(({ open }) => [...open].every((id) => done.has(id))).map(({ id }) => id);
    const lost = await recordResults(this.#options.db, batch, finished);
    for (const { eventId, claimId } of batch) this.#claims.get(claimId)?.open.delete(eventId);
    for (const id of finished) this.#claims.delete(id);
    return batch.map(({ eventId }) => !lost.has(eventId));
  }

  async #resultOf(
    mail: ClaimedMail,
    claim: Claim,
    contacts: Map<string, Contact> | undefined,
  ): Promise<Result> {
    const { eventId, userId, time, attempts } = mail;
    const of = { eventId, claimId: claim.id };
    const later = (failure: string, pauseMs: number, mayHaveArrived = false): Result =>
      attempts >= ATTEMPTS_MAX && pauseMs > 0
        ? { ...of, status: "failed", failure: `given up after ${attempts} attempts: ${failure}` }
        : { ...of, status: "retry", failure, pauseMs, mayHaveArrived };
    if (!contacts) return later("nobody could be asked for the address", 0);
    const contact = contacts.get(userId);
    if (!contact) return { ...of, status: "failed", failure: "the account does not exist any more" };
    const to = { name: contact.name, address: contact.email };
    let outcome: Outcome;
    try {
      outcome = await this.#options.port.send(
        { eventId, to, ...letterOf(mail), date: time },
        () => this.#clock.now() < claim.beginsUntil,
      );
    } catch (err) {
      // A defect of ours, such as a mail that cannot be written: the mail waits for the version that can.
      outcome = { kind: "deferred", reason: (err as Error).message };
    }
    switch (outcome.kind) {
      case "sent":
        return { ...of, status: "sent" };
      case "refused":
        return { ...of, status: "failed", failure: outcome.reason };
      case "deferred":
        return later(outcome.reason, pauseOf(attempts));
      case "withheld":
        return later(this.#stopped ? "the service stopped" : "whoever had it was asleep for too long", 0);
      case "lost":
        if (outcome.mayHaveArrived) return later(outcome.reason, pauseOf(attempts), true);
        // Of the server: it is sent as soon as that is back. One that is lost on its way may itself be why.
        this.#letDown = outcome.reason;
        return later(outcome.reason, 0);
    }
  }

  #countRepeats(mails: readonly ClaimedMail[]): void {
    const repeats = mails.filter(({ isRepeat }) => isRepeat).length;
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
