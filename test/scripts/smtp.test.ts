/** The mail server of tests and drills, asked by a real client. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, it } from "@jest/globals";
import { createTransport } from "nodemailer";
import { birthOf } from "../../scripts/processes.ts";
import { type MailServer, startSmtp } from "../../scripts/servers/smtp.ts";
import { until } from "../support/until.ts";

let directory: string;
let smtp: MailServer;
beforeAll(async () => {
  directory = await mkdtemp(path.join(tmpdir(), "shop-test-smtp-"));
  smtp = await startSmtp({ directory });
});
afterAll(async () => {
  await smtp.stop();
  await rm(directory, { recursive: true });
});

async function send(to: string, messageId: string): Promise<void> {
  const transport = createTransport(smtp.url);
  try {
    await transport.sendMail({
      from: "shop@example.com",
      to,
      messageId,
      subject: "Äpfel",
      text: "Thank you",
    });
  } finally {
    transport.close();
  }
}

it("keeps what it takes, with its Message-ID, also when it is killed and comes back", async () => {
  await send("ada@example.com", "<one@shop>");
  process.kill(smtp.pid as number, "SIGKILL");
  await until("it is gone", () => birthOf(smtp.pid as number) === undefined);
  await expect(send("ada@example.com", "<two@shop>")).rejects.toThrow(/ECONN(REFUSED|RESET)/);
  await smtp.stop();
  smtp = await startSmtp({ directory, port: smtp.port });
  await send("ada@example.com", "<two@shop>");
  expect(await smtp.mails()).toEqual([
    { messageId: "<one@shop>", to: ["ada@example.com"], source: expect.stringContaining("Thank you") },
    { messageId: "<two@shop>", to: ["ada@example.com"], source: expect.stringContaining("Thank you") },
  ]);
});

it.each([
  ["unknown@example.com", 550],
  ["busy@example.com", 451],
])("refuses a mail to %s with %i, and does not keep it", async (to, responseCode) => {
  const before = (await smtp.mails()).length;
  await expect(send(to, "<three@shop>")).rejects.toMatchObject({ responseCode });
  expect(await smtp.mails()).toHaveLength(before);
});

it("has a mail before it says so, where it is to take its time, and is killed in between", async () => {
  await smtp.stop();
  smtp = await startSmtp({ directory, port: smtp.port, answerMs: 60_000 });
  const before = (await smtp.mails()).length;
  const sent = expect(send("ada@example.com", "<four@shop>")).rejects.toThrow();
  await until("it has the mail", async () => (await smtp.mails()).length > before);
  process.kill(smtp.pid as number, "SIGKILL");
  await sent;
});
