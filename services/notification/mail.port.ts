/**
 * Sending mail: over SMTP where SMTP_URL names a server, else into files. The one place that knows nodemailer. `send`
 * says what became of a mail and never throws: whoever asks must know whether it may have arrived, because SMTP has no
 * answer for a mail whose answer was lost. It sends a mail once and repeats nothing that the server may have taken.
 */
import { mkdir, rename, writeFile } from "node:fs/promises";
import path from "node:path";
import MailComposer from "nodemailer/lib/mail-composer";
import { config } from "../../config/index.ts";
import { SmtpPool } from "./smtp.pool.ts";

export interface Mail {
  /** The event's: of it the Message-ID is made, so that a mail that is sent again can be told by who receives it. */
  eventId: string;
  to: { name: string; address: string };
  subject: string;
  text: string;
  html: string;
  /** When it was written, whenever it is sent: so it is the same when it is sent again. */
  date: Date;
}

export type Outcome =
  | { kind: "sent" }
  /** For good: of this recipient, or of this mail. */
  | { kind: "refused"; reason: string }
  /** The server wants this mail later. */
  | { kind: "deferred"; reason: string }
  /** There was no answer. `mayHaveArrived`: all or part of the mail had been sent. */
  | { kind: "lost"; reason: string; mayHaveArrived: boolean };

export interface MailPort {
  /** As in `the mail server (mail:1025)`. */
  readonly name: string;
  /** Resolves when a mail could be sent now. Rejects where the server cannot be reached, or does not let us in. */
  ready(): Promise<void>;
  send(mail: Mail): Promise<Outcome>;
  /** Lets go of everything; what is being sent is lost. */
  close(): void;
}

type From = Pick<typeof config, "smtpUrl" | "mailFrom" | "dataDir">;

export const openMailPort = ({ smtpUrl, mailFrom, dataDir }: From = config): MailPort =>
  smtpUrl === undefined
    ? new MailFiles(path.join(dataDir, "outbox"), mailFrom)
    : new SmtpMail(new SmtpPool(smtpUrl), mailFrom);

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

  async send(mail: Mail): Promise<Outcome> {
    const { address } = mail.to;
    return this.#pool.send({ from: this.#from.address, to: [address] }, await bytesOf(mail, this.#from));
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

  constructor(folder: string, from: From["mailFrom"]) {
    this.name = `the folder ${folder}`;
    this.#folder = folder;
    this.#from = from;
  }

  async ready(): Promise<void> {
    await mkdir(this.#folder, { recursive: true });
  }

  async send(mail: Mail): Promise<Outcome> {
    const file = path.join(this.#folder, `${mail.eventId}.eml`);
    try {
      await writeFile(`${file}.part`, await bytesOf(mail, this.#from));
      await rename(`${file}.part`, file);
      return { kind: "sent" };
    } catch (err) {
      return { kind: "lost", reason: (err as Error).message, mayHaveArrived: false };
    }
  }

  close(): void {
    // Nothing is held open.
  }
}

/** The mail as it is sent, the same bytes each time. Names are encoded: none can end its header. */
function bytesOf({ eventId, to, subject, text, html, date }: Mail, from: From["mailFrom"]): Promise<Buffer> {
  const domain = from.address.slice(from.address.lastIndexOf("@") + 1);
  return new MailComposer({
    // Copies: the composer writes into what it is given.
    from: { ...from },
    to: { ...to },
    subject,
    text,
    html,
    date,
    messageId: `<${eventId}@${domain}>`,
    // RFC 3834: nobody is on holiday for a machine.
    headers: { "Auto-Submitted": "auto-generated" },
    baseBoundary: eventId,
    newline: "\r\n",
    disableFileAccess: true,
    disableUrlAccess: true,
  })
    .compile()
    .build();
}
