/**
 * A mailer is stopped (SIGSTOP) with mail in hand, for longer than its claim lasts; another takes over. Awake again, it
 * begins nothing of what it had, and what it had sent before is recorded as sent, once, with the repeat counted.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { startNats } from "../../scripts/servers/nats.ts";
import type { Server } from "../../scripts/servers/server.ts";
import { type MailServer, startSmtp } from "../../scripts/servers/smtp.ts";
import { cloneDatabases } from "../harness/databases.ts";
import { until } from "../support/until.ts";
import { Fleet } from "./fleet/fleet.ts";
import { describeFleet } from "./fleet/lanes.ts";

/** A claim lasts 20 s, is looked for every 5 s, and the machine may be busy. */
const TAKEN_OVER_MS_MAX = 40_000;

describeFleet("a mailer that is stopped with mail in hand", () => {
  let nats: Server;
  let smtp: MailServer;
  let directory: string;
  let fleet: Fleet;
  beforeAll(async () => {
    directory = await mkdtemp(path.join(tmpdir(), "shop-test-mail-"));
    [nats, smtp] = await Promise.all([startNats(), startSmtp({ directory })]);
    const mailer = { SMTP_URL: smtp.url };
    fleet = await Fleet.start({
      nodes: {
        paused: ["notification"],
        awake: ["notification"],
        rest: ["user", "auth", "order", "product", "payment", "transaction-manager"],
      },
      env: {
        paused: mailer,
        awake: mailer,
        rest: { BCRYPT_COST: "4", ADMIN_PASSWORD: "admin of a test" },
      },
      nats,
      databases: await cloneDatabases(),
    });
  }, 120_000);
  afterAll(async () => {
    await fleet?.stop();
    await smtp?.stop();
    await nats?.stop();
    await rm(directory, { recursive: true });
  });

  let told = 0;
  /** Registers one after the other until the mail of one is in hand of the mailer that stops. Answers their addresses. */
  async function untilStopped(kind: string): Promise<string[]> {
    const emails: string[] = [];
    for (const paused = fleet.node("paused"); paused.hits.length === 0; ) {
      const email = `${kind}.${emails.length}@example.com`;
      await fleet
        .node("rest")
        .call("user.register", { email, password: "correct horse battery", name: "Ann" });
      emails.push(email);
      told++;
      await until("somebody has its mail", async () => paused.hits.length > 0 || (await isSent()));
    }
    return emails;
  }
  /** All that was told. */
  const isSent = async (): Promise<boolean> =>
    (await count("(select count(*)::int from notifications)")) === told &&
    (await count("(select count(*)::int from mails)")) === 0;
  const count = async (text: string): Promise<number> =>
    (await fleet.query<{ n: number }>("notification", `select ${text} as n`))[0]?.n as number;
  const repeats = () => count("(select coalesce(sum(repeats), 0)::int from notifications)");
  /** Of the results of the mailer that was stopped. */
  const recorded = async (): Promise<number> => {
    const { value } = await fleet
      .node("rest")
      .call<{ name: string; stats?: { messages: number; inFlight: number; depth: number } }[]>(
        "notification.actors",
        {},
        {},
        "paused",
      );
    const { stats } = value.find(({ name }) => name === "mail-results") ?? {};
    return stats && stats.inFlight + stats.depth === 0 ? stats.messages : 0;
  };

  test.each<[kind: string, point: string, arrives: number]>([
    ["not sent", "call user.contacts", 1],
    ["sent and not recorded", "mail_record", 2],
  ])(
    "%s: it arrives as often as it was sent, and a repeat is counted",
    async (kind, point, arrives) => {
      const paused = fleet.node("paused");
      const before = { repeats: await repeats(), recorded: await recorded() };
      await paused.arm({ point, when: "before", deed: "stop" });
      const emails = await untilStopped(kind.replaceAll(" ", "."));
      await until("another has sent it", isSent, TAKEN_OVER_MS_MAX, 100);
      await paused.wake();
      await until(
        "the late one has said what became of it",
        async () => (await recorded()) > before.recorded,
        20_000,
      );

      const arrived = await smtp.mails();
      const times = emails.map((email) => arrived.filter(({ to }) => to.includes(email)).length);
      expect(times.filter((n) => n !== 1)).toEqual(arrives === 1 ? [] : [arrives]);
      expect((await repeats()) - before.repeats).toBe(1);
      expect(await isSent()).toBe(true);
      expect(await count("(select count(*)::int from mail_claims)")).toBe(0);
    },
    120_000,
  );
});
