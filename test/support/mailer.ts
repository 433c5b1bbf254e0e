/** A mailer over a real database and a mail server, whose clock a test can put forward. */
import { type Clock, realClock } from "../../actors/clock.ts";
import { Supervisor } from "../../actors/supervisor.ts";
import { newId } from "../../lib/ids.ts";
import type { Database } from "../../mixins/database.mixin.ts";
import { Outage } from "../../mixins/events/outage.ts";
import { openMailPort } from "../../services/notification/mail.port.ts";
import { Mailer, type MailerOptions } from "../../services/notification/mailer.ts";
import { insertNotifications } from "../../services/notification/notification.repository.ts";
import { notificationOf } from "../../services/notification/notification.ts";

/** Runs as the real one does, and jumps. */
export class JumpingClock implements Clock {
  #jumpedMs = 0;
  readonly #timers = new Set<{ at: number; fire: () => void }>();
  readonly sleep = realClock.sleep;
  readonly soon = realClock.soon;
  readonly random = realClock.random;

  now(): number {
    return realClock.now() + this.#jumpedMs;
  }

  after(ms: number, then: () => void): () => void {
    const timer = {
      at: this.now() + ms,
      fire: () => {
        cancel();
        then();
      },
    };
    const stop = realClock.after(ms, timer.fire);
    const cancel = () => {
      stop();
      this.#timers.delete(timer);
    };
    this.#timers.add(timer);
    return cancel;
  }

  jump(ms: number): void {
    this.#jumpedMs += ms;
    for (const timer of [...this.#timers]) if (timer.at <= this.now()) timer.fire();
  }
}

export interface TestMailer extends Mailer {
  clock: JumpingClock;
  /** What it said, level by level. */
  said: string[];
}

export async function openMailer(
  db: Database,
  { smtpUrl, ...options }: { smtpUrl: string } & Partial<MailerOptions>,
) {
  const port = await openMailPort({
    ...{ smtpUrl, dataDir: "" },
    mailFrom: { name: "Shop", address: "shop@example.com" },
  });
  const said: string[] = [];
  const say = (...args: unknown[]) => said.push(args.map(String).join(" "));
  const logger = { info: say, warn: say, error: say };
  const clock = new JumpingClock();
  const mailer = new Mailer({
    ...{ db, logger, loopUse: () => 0 },
    supervisor: new Supervisor(logger, clock),
    port,
    outages: { server: new Outage("mail", logger), contacts: new Outage("user", logger) },
    contactsOf: async (ids) => new Map(ids.map((id) => [id, { id, name: "Ann", email: "ann@example.com" }])),
    ...options,
  });
  return Object.assign(mailer, { clock, said }) as TestMailer;
}

/** Tells so many users of their registration, and answers their ids. */
export async function tellUsers(db: Database, count: number): Promise<string[]> {
  const userIds = Array.from({ length: count }, newId);
  const notifications = userIds.map((userId) =>
    notificationOf({
      ...{ id: newId(), type: "user.registered", version: 1, key: userId, traceparent: null },
      payload: { userId, name: "Ann", email: "ann@example.com" },
      time: "2026-01-02T03:04:05.678Z",
    }),
  );
  await insertNotifications(db, notifications);
  return userIds;
}
