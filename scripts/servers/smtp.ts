/** A mail server for tests and drills: a real one towards its clients, but what it takes goes nowhere. */
import { readFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { type Kind, type Place, type Server, startServer } from "./server.ts";

export interface Mail {
  messageId: string;
  to: string[];
  /** As it was sent: headers, an empty line, the body. */
  source: string;
}

export interface MailServer extends Server {
  /** What it has taken, in order, also before it was brought back (`directory`). */
  mails(): Promise<Mail[]>;
}

/** In the directory, a line of JSON per mail. */
export const MAILS = "mails.jsonl";

const PROGRAM = fileURLToPath(new URL("smtp.program.ts", import.meta.url));

const smtp = (answerMs: number): Kind => ({
  name: "smtp",
  argv: (port, directory) => [process.execPath, PROGRAM, String(port), directory, String(answerMs)],
  greeting: "",
  answer: "220 ",
});

export interface MailServerOptions extends Place {
  /** How long it has a mail before it says so: whoever is killed then does not know. */
  answerMs?: number;
}

export async function startSmtp({ answerMs = 0, ...place }: MailServerOptions = {}): Promise<MailServer> {
  const server = await startServer(smtp(answerMs), place);
  const file = path.join(server.directory as string, MAILS);
  return {
    ...server,
    async mails() {
      const lines = (await readFile(file, "utf8")).split("\n").slice(0, -1);
      return lines.map((line): Mail => JSON.parse(line));
    },
  };
}
