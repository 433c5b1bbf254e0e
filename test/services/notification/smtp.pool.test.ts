/**
 * What the pool of connections says of a mail, against a server that does what mail servers do when they are not well:
 * hangs up at any point, refuses the sender, goes away with 421, ends silent sessions.
 */
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { SmtpPool } from "../../../services/notification/smtp.pool.ts";
import { type Script, ScriptedSmtp, WELL } from "../../support/scripted.smtp.ts";
import { until } from "../../support/until.ts";

const ENVELOPE = { from: "shop@example.com", to: ["ann@example.com"] };
const MAIL = Buffer.from("Subject: hello\r\n\r\nhello\r\n");

const send = (envelope = ENVELOPE, mayBegin = () => true) => pool.send(envelope, () => MAIL, mayBegin);

let server: ScriptedSmtp;
let address: string;
let pool: SmtpPool;
beforeEach(async () => {
  server = new ScriptedSmtp();
  address = await server.listen();
  pool = new SmtpPool(`smtp://${address}`);
});
afterEach(async () => {
  pool.close();
  await server.close();
});

describe("of a mail it says", () => {
  const lost = (mayHaveArrived: boolean) => ({ kind: "lost", mayHaveArrived, reason: expect.any(String) });
  const because = (kind: string, reason: string) => ({ kind, reason: expect.stringContaining(reason) });

  test.each<[string, Script, object]>([
    ["sent, where it was taken", {}, { kind: "sent" }],
    ["refused, where the recipient is", { RCPT: "550 nobody here" }, because("refused", "550 nobody here")],
    ["refused, where its content is", { ".": "554 spam" }, because("refused", "554 spam")],
    ["deferred, where the recipient is", { RCPT: "450 greylisted" }, because("deferred", "450 greylisted")],
    ["deferred, where it is not taken now", { ".": "452 disk full" }, because("deferred", "452 disk full")],
    ["lost and not arrived, where we may not send", { MAIL: "550 not you" }, lost(false)],
    ["lost and not arrived, where the server goes away", { RCPT: "421 closing" }, lost(false)],
    ["lost and not arrived, where that is the answer to it", { ".": "421 closing" }, lost(false)],
    ["lost and not arrived, where the line breaks before it", { DATA: "hang up" }, lost(false)],
    ["lost, and that it may have arrived, where the answer is lost", { ".": "hang up" }, lost(true)],
  ])("%s", async (_what, script, outcome) => {
    server.script = { ...WELL, ...script };
    expect(await send()).toEqual(outcome);
    server.script = WELL;
    expect(await send()).toEqual({ kind: "sent" });
  });

  test("refused, where SMTP has no word for the address", async () => {
    const to = ["a\r\nRCPT TO:<evil@evil.example>@example.com"];
    expect(await send({ ...ENVELOPE, to })).toMatchObject({ kind: "refused" });
    expect(server.heard).not.toContain("RCPT");
    expect(await send()).toEqual({ kind: "sent" });
  });

  test("lost and not arrived, where nobody listens", async () => {
    await server.close();
    expect(await send()).toEqual(lost(false));
    await expect(pool.ready()).rejects.toThrow(/ECONNREFUSED/);
    server = new ScriptedSmtp();
    await server.listen();
  });
});

test("a session that the server ended while it was silent is replaced, and the mail sent once", async () => {
  await send();
  server.script = { ...WELL, MAIL: ["hang up", "250 ok"] };
  expect(await send()).toEqual({ kind: "sent" });
  expect(server.mails).toHaveLength(2);
  expect(server.connections).toBe(2);
});

test("a thousand mails share ten connections, and each is used for a hundred at most", async () => {
  const outcomes = await Promise.all(Array.from({ length: 1_000 }, () => send()));
  expect(outcomes.filter(({ kind }) => kind === "sent")).toHaveLength(1_000);
  expect(server.mails).toHaveLength(1_000);
  expect(server.connections).toBeGreaterThanOrEqual(10);
  // One that says goodbye may still be there when the next comes.
  expect(server.mostAtOnce).toBeLessThanOrEqual(20);
});

test("a password is not said to a server that does not encrypt", async () => {
  const secret = new SmtpPool(`smtp://user:secret@${address}`);
  await expect(secret.ready()).rejects.toThrow(/STARTTLS/);
  expect(server.heard).not.toContain("AUTH");
  secret.close();
});

test("what is being sent when it closes is lost, and what waits for a connection has not arrived", async () => {
  server.script = { ...WELL, ".": "" };
  const sending = Array.from({ length: 15 }, () => send());
  await until("ten are being sent", () => server.heard.filter((command) => command === ".").length === 10);
  pool.close();
  const outcomes = await Promise.all(sending);
  expect(outcomes.map((outcome) => outcome.kind === "lost" && outcome.mayHaveArrived)).toEqual([
    ...Array(10).fill(true),
    ...Array(5).fill(false),
  ]);
});
