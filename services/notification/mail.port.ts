/**
 * Sending mail: over SMTP where SMTP_URL names a server, else into files. `send` says what became of a mail and throws
 * only where it cannot be written: whoever asks must know whether it may have arrived, because SMTP has no answer for a
 * mail whose answer was lost. It sends a mail once and repeats nothing that the server may have taken.
 */
import { renameSync, writeFileSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import path from "node:path";
import { config } from "../../config/index.ts";
import type { Mail } from "./message.ts";
import type { SmtpPool } from "./smtp.pool.ts";

export type { Mail } from "./message.ts";

export type Outcome =
  | { kind: "sent" }
  /** For good: of this recipient, or of this mail. */
  | { kind: "refused"; reason: string }
  /** The server wants this mail later. */
  | { kind: "deferred"; reason: string }
  /** It was not begun, because it might not any more, or because the service stops. */
  | { kind: "withheld" }
  /** There was no answer. `mayHaveArrived`: all or part of the mail had been sent. */
  | { kind: "lost"; reason: string; mayHaveArrived: boolean };

export interface MailPort {
  /** As in `the mail server (mail:1025)`. */
  readonly name: string;
  /** Resolves when a mail could be sent now. Rejects where the server cannot be reached, or does not let us in. */
  ready(): Promise<void>;
  /** `mayBegin` is asked right before the first byte of the mail leaves. */
  send(mail: Mail, mayBegin: () => boolean): Promise<Outcome>;
  /** Begins nothing more; what is being sent goes on. */
  finish(): void;
  /** Lets go of everything; what is being sent is lost. */
  close(): void;
}

type From = Pick<typeof config, "smtpUrl" | "mailFrom" | "dataDir">;

export async function openMailPort({ smtpUrl, mailFrom, dataDir }: From = config): Promise<MailPort> {
  if (smtpUrl === undefined) return new MailFiles(path.join(dataDir, "outbox"), mailFrom);
  const { SmtpPool } = await import("./smtp.pool.ts");
  return new SmtpMail(new SmtpPool(smtpUrl), mailFrom);
}

/** Once: an import of what is loaded already takes its time, too. */
let loading: Promise<typeof import("./message.ts")> | undefined;
/** With nodemailer, which loads Node's whole HTTP client: where no mail server is connected to, at the first mail. */
const writer = (): Promise<typeof import("./message.ts")> => {
  loading ??= import("./message.ts");
  return loading;
};

class SmtpMail implements MailPort {
  readonly #pool: SmtpPool;
  readonly #from: From["mailFrom"];

  constructor(pool: SmtpPool, from: From["mailFrom"]) {
    this.#pool = pool;
    this.#from = from;
  }

  get name(): string {
    return `the mail server (${this.#pool.address})`;
  }

  ready(): Promise<void> {
    return this.#pool.ready();
  }

  async send(mail: Mail, mayBegin: () => boolean): Promise<Outcome> {
    const { bytesOf } = await writer();
    const envelope = { from: this.#from.address, to: [mail.to.address] };
    return this.#pool.send(envelope, () => bytesOf(mail, this.#from), mayBegin);
  }

  finish(): void {
    this.#pool.finish();
  }

  close(): void {
    this.#pool.close();
  }
}

/** One file for each mail, which every mail program can open. A mail that is sent again is the same file. */
class MailFiles implements MailPort {
  readonly name: string;
  readonly #folder: string;
  readonly #from: From["mailFrom"];
  #isThere = false;

  constructor(folder: string, from: From["mailFrom"]) {
    this.name = `the folder ${folder}`;
    this.#folder = folder;
    this.#from = from;
  }

  async ready(): Promise<void> {
    if (this.#isThere) return;
    await mkdir(this.#folder, { recursive: true });
    this.#isThere = true;
  }

  async send(mail: Mail, mayBegin: () => boolean): Promise<Outcome> {
    const { bytesOf } = await writer();
    if (!mayBegin()) return { kind: "withheld" };
    const bytes = bytesOf(mail, this.#from);
    const file = path.join(this.#folder, `${mail.eventId}.eml`);
    try {
      // A few kilobytes into the page cache: handing that to another thread, four times, costs three times as much.
      writeFileSync(`${file}.part`, bytes);
      renameSync(`${file}.part`, file);
      return { kind: "sent" };
    } catch (err) {
      this.#isThere = false;
      return { kind: "lost", reason: (err as Error).message, mayHaveArrived: false };
    }
  }

  finish(): void {
    // Nothing takes any time.
  }

  close(): void {
    // Nothing is held open.
  }
}
