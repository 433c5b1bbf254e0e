/** `npm start` gets SIGTERM while a mail server takes its time. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import pg from "pg";
import { cloneDatabases, DIRECTORY_VARIABLE, type TestDatabases } from "../../harness/databases.ts";
import { startTestShop } from "../../harness/shop.ts";
import { mailRowOf } from "../../support/mail.rows.ts";
import { ScriptedSmtp, WELL } from "../../support/scripted.smtp.ts";
import { until } from "../../support/until.ts";

const PROGRAM = fileURLToPath(new URL("../../../scripts/start.ts", import.meta.url));
/** How long the server has a mail before it says so; conversations were once cut off after five seconds. */
const SLOW_MS = 7_000;

let databases: TestDatabases;
let home: string;
let smtp: ScriptedSmtp;
let db: pg.Client;
beforeAll(async () => {
  databases = await cloneDatabases();
  home = await mkdtemp(path.join(process.env[DIRECTORY_VARIABLE] ?? tmpdir(), "home-"));
  smtp = new ScriptedSmtp();
  db = new pg.Client({ connectionString: databases.urlOf("notification") });
  await db.connect();
}, 60_000);
afterAll(async () => {
  await smtp?.close();
  await db?.end();
  await databases?.drop();
  await rm(home, { recursive: true });
});

function startShop(smtpUrl: string): ChildProcess {
  const urls = Object.entries(databases.urls).map(([name, url]) => [
    `DATABASE_URL_${name.toUpperCase().replaceAll("-", "_")}`,
    url,
  ]);
  return spawn(process.execPath, ["--no-warnings", PROGRAM], {
    stdio: "ignore",
    env: {
      ...{ PATH: process.env.PATH, HOME: home, DATA_DIR: home, PORT: "0", GRPC_PORT: "0", BCRYPT_COST: "4" },
      ...{ NODE_ENV: "test", ADMIN_PASSWORD: "the admin of a test", SMTP_URL: smtpUrl },
      ...Object.fromEntries(urls),
    },
  });
}

test("a mail that is on its way is sent once: the process waits for the answer and records it", async () => {
  const users = await startTestShop({ services: ["user"], databases });
  const params = { email: "ann@example.com", password: "correct horse battery", name: "Ann" };
  const { id } = await users.broker.call<{ id: string }, object>("user.register", params);
  await users.stop();
  smtp.script = { ...WELL, ".": "" };
  const shop = startShop(`smtp://${await smtp.listen()}`);
  try {
    await until("the mail is on its way", () => smtp.mails.length === 1, 30_000);
    shop.kill("SIGTERM");
    const answering = setTimeout(() => {
      for (const socket of smtp.sockets) socket.write("250 taken\r\n");
    }, SLOW_MS);
    const [status] = await once(shop, "exit");
    clearTimeout(answering);
    expect(status).toBe(0);
    expect(await mailRowOf(db, id)).toMatchObject({ status: "sent", repeats: 0, until: null });
    expect(smtp.mails).toHaveLength(1);
  } finally {
    shop.kill("SIGKILL");
  }
}, 60_000);
