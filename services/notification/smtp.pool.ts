/**
 * A few connections to one SMTP server, each used for one mail after another. It knows of every mail whether any of it
 * was sent: a connection that dies before is replaced and the mail sent over another, one that dies after leaves it to
 * the caller. With a user in the URL nothing is said before the connection is encrypted.
 */
import { Readable } from "node:stream";
import SMTPConnection from "nodemailer/lib/smtp-connection";
import type { Outcome } from "./mail.port.ts";

/** Enough for 500 mails a second to a server that answers in 20 ms; fewer than servers allow of one client. */
const CONNECTIONS_MAX = 10;
/** Servers end a session after some mails; we do before. */
const MAILS_PER_CONNECTION_MAX = 100;
/** Not kept open for a shop that sleeps. Servers end silent sessions after five minutes (RFC 5321 4.5.3.2.7). */
const IDLE_MS_MAX = 10_000;
const CONNECT_MS_MAX = 5_000;
const GREETING_MS_MAX = 30_000;
const FAREWELL_MS_MAX = 1_000;
/** RFC 5321 4.5.3.2.6: who waits less for the answer to a mail sends it twice. */
const ANSWER_MS_MAX = 600_000;

interface Envelope {
  from: string;
  to: string[];
}

interface SmtpError extends Error {
  code?: string;
  command?: string;
  responseCode?: number;
}

export class SmtpPool {
  /** `host:port`. */
  readonly address: string;
  readonly #url: URL;
  readonly #isSecure: boolean;
  readonly #open = new Set<Session>();
  readonly #idle: Session[] = [];
  readonly #opening = new Set<Session>();
  readonly #waiting: (() => void)[] = [];
  #isFinishing = false;

  constructor(url: string) {
    this.#url = new URL(url);
    this.#isSecure = this.#url.protocol === "smtps:";
    this.address = `${this.#url.hostname}:${this.#port}`;
  }

  get #port(): number {
    return Number(this.#url.port) || (this.#isSecure ? 465 : 587);
  }

  /** Resolves at once where there is a connection, else when one could be made. */
  async ready(): Promise<void> {
    if (this.#open.size > 0) return;
    const session = await this.#take();
    if (session) this.#release(session);
  }

  /** `write` and then `mayBegin` are called when there is a connection; `mayBegin` when the server waits for the mail. */
  async send(envelope: Envelope, write: () => Buffer, mayBegin: () => boolean): Promise<Outcome> {
    for (;;) {
      let session: Session | undefined;
      try {
        session = await this.#take();
      } catch (err) {
        return { kind: "lost", reason: (err as Error).message, mayHaveArrived: false };
      }
      if (!session) return { kind: "withheld" };
      const isFresh = session.mails === 0;
      let outcome: Outcome;
      try {
        outcome = await session.send(envelope, write(), mayBegin);
      } finally {
        this.#release(session);
      }
      // The server had ended a session that was silent; nobody has seen this mail.
      const isStale = outcome.kind === "lost" && !outcome.mayHaveArrived && !isFresh;
      if (!isStale) return outcome;
    }
  }

  /** Begins no mail any more. Those that were begun go on. */
  finish(): void {
    this.#isFinishing = true;
    for (const session of this.#idle.splice(0)) session.quit();
    for (const wake of this.#waiting.splice(0)) wake();
  }

  close(): void {
    this.finish();
    for (const session of [...this.#open, ...this.#opening]) session.end();
  }

  /** A connection for one mail; none where no mail is begun any more. Give it back with `#release`. */
  async #take(): Promise<Session | undefined> {
    for (;;) {
      if (this.#isFinishing) return undefined;
      const session = this.#idle.pop();
      if (session) {
        session.wake();
        return session;
      }
      if (this.#open.size + this.#opening.size < CONNECTIONS_MAX) {
        const fresh = await this.#connect();
        if (!this.#isFinishing) return fresh;
        fresh.quit();
        return undefined;
      }
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  #release(session: Session): void {
    if (session.mails >= MAILS_PER_CONNECTION_MAX || this.#isFinishing) session.quit();
    else if (this.#open.has(session)) {
      session.rest(IDLE_MS_MAX);
      this.#idle.push(session);
    }
    this.#waiting.shift()?.();
  }

  async #connect(): Promise<Session> {
    const session = new Session(this.#connection());
    this.#opening.add(session);
    try {
      await session.open(this.#credentials());
      this.#open.add(session);
      session.whenEnded(() => {
        this.#open.delete(session);
        const at = this.#idle.indexOf(session);
        if (at >= 0) this.#idle.splice(at, 1);
        this.#waiting.shift()?.();
      });
      return session;
    } catch (err) {
      this.#waiting.shift()?.();
      throw err;
    } finally {
      this.#opening.delete(session);
    }
  }

  #connection(): SMTPConnection {
    const { hostname, username } = this.#url;
    return new SMTPConnection({
      host: hostname.replace(/^\[(.*)\]$/, "$1"),
      port: this.#port,
      secure: this.#isSecure,
      requireTLS: username !== "" && !this.#isSecure,
      connectionTimeout: CONNECT_MS_MAX,
      greetingTimeout: GREETING_MS_MAX,
      socketTimeout: ANSWER_MS_MAX,
      dnsTimeout: CONNECT_MS_MAX,
      // What is closed without a farewell is closed at once.
      socketCloseTimeout: 0,
    });
  }

  #credentials(): { user: string; pass: string } | undefined {
    const { username, password } = this.#url;
    if (username === "") return undefined;
    return { user: decodeURIComponent(username), pass: decodeURIComponent(password) };
  }
}

/** One connection. */
class Session {
  readonly #connection: SMTPConnection;
  /** Settles with why, when the connection is gone. */
  readonly #ended = Promise.withResolvers<SmtpError>();
  #idleTimer: NodeJS.Timeout | undefined;
  mails = 0;

  constructor(connection: SMTPConnection) {
    this.#connection = connection;
    connection.on("error", (err: Error) => this.#ended.resolve(err));
    connection.on("end", () => this.#ended.resolve(new Error("the connection has ended")));
  }

  whenEnded(then: () => void): void {
    void this.#ended.promise.then(() => {
      clearTimeout(this.#idleTimer);
      then();
    });
  }

  async open(credentials: { user: string; pass: string } | undefined): Promise<void> {
    try {
      await this.#step((done) => this.#connection.connect(done));
      if (credentials) await this.#step((done) => this.#connection.login({ credentials }, done));
    } catch (err) {
      this.end();
      throw err;
    }
  }

  async send({ from, to }: Envelope, mail: Buffer, mayBegin: () => boolean): Promise<Outcome> {
    this.mails++;
    // A copy: the library keeps its state in it.
    const envelope = { from, to: [...to] };
    let state: "envelope" | "withheld" | "begun" = "envelope";
    const body = new Readable({
      // Called when the server has said that it wants the mail, and not before.
      read: () => {
        state = mayBegin() ? "begun" : "withheld";
        if (state === "withheld") return this.end(); // without the dot that would make it a mail
        body.push(mail);
        body.push(null);
      },
    });
    try {
      await this.#step((done) => this.#connection.send(envelope, body, done));
      return { kind: "sent" };
    } catch (err) {
      if ((state as string) === "withheld") return { kind: "withheld" };
      const outcome = outcomeOf(err as SmtpError, (state as string) === "begun");
      if (outcome.kind === "lost") this.end();
      // After a refusal the session may be in the middle of an envelope: RFC 5321 3.3 lets MAIL begin anew, after RSET.
      else await this.#step((done) => this.#connection.reset(done)).catch(() => this.end());
      return outcome;
    }
  }

  /** Ends by itself after `ms`, unless it is woken. */
  rest(ms: number): void {
    this.#idleTimer = setTimeout(() => this.quit(), ms).unref();
  }

  wake(): void {
    clearTimeout(this.#idleTimer);
  }

  quit(): void {
    this.#ended.resolve(new Error("the session is over"));
    this.#connection.quit();
    setTimeout(() => this.#connection.close(), FAREWELL_MS_MAX).unref();
  }

  end(): void {
    this.#ended.resolve(new Error("the connection was closed"));
    this.#connection.close();
  }

  /** One exchange with the server. Rejects also where the connection goes without an answer to it. */
  #step(begin: (done: (err: Error | null | undefined) => void) => void): Promise<void> {
    return new Promise((resolve, reject) => {
      void this.#ended.promise.then(reject);
      begin((err) => (err ? reject(err) : resolve()));
    });
  }
}

/** What an error of the exchange says about the mail. */
function outcomeOf({ message: reason, code, command, responseCode }: SmtpError, isBegun: boolean): Outcome {
  // 421: the server goes away. What it says of us (MAIL FROM, AUTH) is for an operator to put right, and then is sent.
  const isOfThisMail = /^(RCPT TO|DATA)/.test(command ?? "") && responseCode !== 421;
  if (responseCode !== undefined && isOfThisMail)
    return responseCode >= 500 ? { kind: "refused", reason } : { kind: "deferred", reason };
  // Without an answer, before anything was asked: an address that SMTP cannot carry, a mail above the server's limit.
  if (responseCode === undefined && (code === "EENVELOPE" || code === "EMESSAGE"))
    return { kind: "refused", reason };
  return { kind: "lost", reason, mayHaveArrived: isBegun && responseCode === undefined };
}
