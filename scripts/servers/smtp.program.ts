/**
 * The mail server of tests and drills, a process of its own that can be killed: takes every mail, keeps it in a file of
 * its directory before it answers, and delivers nothing. As with a real one, a recipient may be unknown for good
 * (`unknown@...`) or not be served at present (`busy@...`).
 */
import { openSync, writeSync } from "node:fs";
import path from "node:path";
import { text } from "node:stream/consumers";
import { SMTPServer } from "smtp-server";
import { MAILS, type Mail } from "./smtp.ts";

const [port, directory, answerMs] = process.argv.slice(2);
const mails = openSync(path.join(directory as string, MAILS), "a");

const REFUSALS: Record<string, [code: number, message: string]> = {
  unknown: [550, "5.1.1 no such mailbox"],
  busy: [451, "4.2.1 the mailbox takes nothing at present"],
};

const server = new SMTPServer({
  logger: false,
  hideSTARTTLS: true,
  disabledCommands: ["STARTTLS", "AUTH"],
  disableReverseLookup: true,
  onRcptTo({ address }, _session, done) {
    const [responseCode, message] = REFUSALS[address.split("@")[0] as string] ?? [];
    done(message ? Object.assign(new Error(message), { responseCode }) : undefined);
  },
  onData(stream, { envelope }, done) {
    text(stream).then((source) => {
      const mail: Mail = {
        messageId: /^Message-ID:\s*(\S+)/im.exec(source)?.[1] ?? "",
        to: envelope.rcptTo.map(({ address }) => address),
        source,
      };
      // One write: a kill leaves a whole line, or none.
      writeSync(mails, `${JSON.stringify(mail)}\n`);
      setTimeout(done, Number(answerMs));
    }, done);
  },
});
// A client that is killed, or hangs up, is no concern of the server's.
server.on("error", () => undefined);
server.server.on("error", (err) => {
  throw err;
});
server.listen(Number(port), "127.0.0.1");
