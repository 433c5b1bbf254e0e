/**
 * A letter as the bytes that are sent, the same each time. nodemailer writes the headers, encodes names and folds lines:
 * nothing that somebody is called can end a header. The two parts are ASCII as they are, or base64; nodemailer's own
 * composer, which can attach files and takes streams, needs ten times the processor for the same. Pure.
 */
import MimeNode from "nodemailer/lib/mime-node";
import type { Letter } from "./letters/layout.ts";

export interface Mail extends Letter {
  /** The event's: of it the Message-ID is made, so that a mail that is sent again can be told by who receives it. */
  eventId: string;
  to: { name: string; address: string };
  /** When it was written, whenever it is sent: so it is the same when it is sent again. */
  date: Date;
}

export interface Sender {
  name: string;
  address: string;
}

export function bytesOf({ eventId, to, subject, text, html, date }: Mail, from: Sender): Buffer {
  // Cannot come up in base64 or by chance; the event's id is known to nobody who could be called so.
  const boundary = `=_${eventId}`;
  const domain = from.address.slice(from.address.lastIndexOf("@") + 1);
  const node = new MimeNode(`multipart/alternative; boundary="${boundary}"`);
  // The library writes into what it is given, hence copies. Its types do not know addresses in parts.
  const headers: [key: string, value: string | Sender][] = [
    ["From", { ...from }],
    ["To", { ...to }],
    ["Subject", subject],
    ["Message-ID", `<${eventId}@${domain}>`],
    ["Date", date.toUTCString().replace("GMT", "+0000")],
    // RFC 3834: nobody is on holiday for a machine.
    ["Auto-Submitted", "auto-generated"],
  ];
  for (const [key, value] of headers) node.setHeader(key, value as string);
  // What was kept of a letter that a version before had failed to send is its text.
  const parts = [partOf("text/plain", text), ...(html === "" ? [] : [partOf("text/html", html)])];
  const body = parts.map((part) => `--${boundary}\r\n${part}\r\n`).join("");
  return Buffer.from(`${node.buildHeaders()}\r\n\r\n${body}--${boundary}--\r\n`);
}

/** RFC 5322 2.1.1: a line has 998 characters at most. */
const PLAIN = /^(?:[\t\x20-\x7e]{0,998}\n)*[\t\x20-\x7e]{0,998}$/;

function partOf(type: string, content: string): string {
  const isPlain = PLAIN.test(content);
  // RFC 2045 6.8: also in base64 a line of text ends so.
  const lines = content.replaceAll("\n", "\r\n");
  const encoded = isPlain ? lines : Buffer.from(lines).toString("base64").replace(/.{76}/g, "$&\r\n");
  return `Content-Type: ${type}; charset=utf-8\r\nContent-Transfer-Encoding: ${isPlain ? "7bit" : "base64"}\r\n\r\n${encoded}`;
}
