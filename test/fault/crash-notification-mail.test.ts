/**
 * The mailer is killed around its durable steps. Between the mail server's answer and the record nobody can know whether
 * the mail has arrived: it arrives again with the same Message-ID, and is counted as a repeat. Everywhere else it
 * arrives once.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { startNats } from "../../scripts/servers/nats.ts";
import type { Server } from "../../scripts/servers/server.ts";
import { type MailServer, startSmtp } from "../../scripts/servers/smtp.ts";
import type { MailState } from "../../services/notification/api.ts";
import { cloneDatabases } from "../harness/databases.ts";
import { describeWith } from "../harness/servers.ts";
import { until } from "../support/until.ts";
import { Fleet } from "./fleet/fleet.ts";
import type { When } from "./fleet/messages.ts";

const describe = await describeWith(startNats);

describe("the mailer", () => {
  let nats: Server;
  let smtp: MailServer;
  let directory: string;
  let fleet: Fleet;
  beforeAll(async () => {
    directory = await mkdtemp(path.join(tmpdir(), "shop-test-mail-"));
    [nats, smtp] = await Promise.all([startNats(), startSmtp({ directory })]);
    fleet = await Fleet.start({
      nodes: {
        victim: ["notification"],
        rest: ["user", "auth", "order", "product", "payment", "transaction-manager"],
      },
      env: { victim: { SMTP_URL: smtp.url }, rest: { BCRYPT_COST: "4", ADMIN_PASSWORD: "admin of a test" } },
      nats,
      databases: await cloneDatabases(),
    });
  }, 60_000);
  afterAll(async () => {
    await fleet?.stop();
    await smtp?.stop();
    await nats?.stop();
    await rm(directory, { recursive: true });
  });

  test.each<[point: string, when: When, arrives: number, repeats: number]>([
    ["mail_claim", "before", 1, 0],
    ["call user.contacts", "before", 1, 1],
    ["mail_record", "before", 2, 1],
    ["mail_record", "after", 1, 0],
  ])(
    "dies at %s (%s): a mail arrives %i time(s), and %i is counted as repeat",
    async (point, when, arrives, repeats) => {
      const [victim, rest] = [fleet.node("victim"), fleet.node("rest")];
      const before = await repeatsNow();
      await victim.arm({ point, when });
      const email = `${point.replaceAll(" ", ".")}.${when}@example.com`;
      const registration = { email, password: "correct horse battery", name: "Ann" };
      const { value: user } = await rest.call<{ id: string }>("user.register", registration);
      await victim.death(30_000);
      await fleet.replace("victim");
      // Its claim, if it had one, lapses; here at once.
      await fleet.query("notification", "update mail_claims set until = '-infinity'");

      const row = await until("the mail is sent", async () => {
        const [found] = await fleet.query<{ event_id: string; repeats: number; isSent: boolean }>(
          "notification",
          `select n.event_id, repeats, m.event_id is null as "isSent" from notifications n
           left join mails m on m.event_id = n.event_id where user_id = $1`,
          [user.id],
        );
        return found?.isSent ? found : undefined;
      });
      const arrived = (await smtp.mails()).filter(({ to }) => to.includes(email));
      expect(arrived.map(({ messageId }) => messageId)).toEqual(
        Array(arrives).fill(`<${row.event_id}@example.com>`),
      );
      expect(new Set(arrived.map(({ source }) => source)).size).toBe(1);
      expect(row.repeats).toBe(repeats);
      expect((await repeatsNow()) - before).toBe(repeats);
    },
    90_000,
  );

  /** Asked again where a busy machine has made the replaced node look silent for a moment. */
  const repeatsNow = (): Promise<number> =>
    until("notification says how its mail stands", async () => {
      const { value } = await fleet
        .node("rest")
        .call<MailState>("notification.mailState", {})
        .catch(() => ({ value: undefined }));
      return value && { repeats: value.repeats };
    }).then(({ repeats }) => repeats);
});
