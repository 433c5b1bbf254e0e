/** The bytes of a mail: what a mail program makes of them is what the letter says. */
import { expect, test } from "@jest/globals";
import { bytesOf, type Mail } from "../../../services/notification/message.ts";

const FROM = { name: "The Shop", address: "shop@shop.example" };
const MAIL: Mail = {
  eventId: "01890000-0000-7000-8000-000000000001",
  to: { name: "Ann Lee", address: "ann@example.com" },
  subject: "Welcome",
  text: "Welcome.\n\n.a line with a dot\n",
  html: "<p>Welcome.</p>\n",
  date: new Date("2026-01-02T03:04:05.678Z"),
};
const sourceOf = (changes: Partial<Mail> = {}): string =>
  bytesOf({ ...MAIL, ...changes }, FROM).toString("latin1");
/** The content of its parts, decoded. */
const partsOf = (source: string): string[] =>
  source
    .split(`--=_${MAIL.eventId}`)
    .slice(1, -1)
    .map((part) => {
      const [head = "", ...rest] = part.split("\r\n\r\n");
      const body = rest.join("\r\n\r\n").replace(/\r\n$/, "");
      const isBase64 = /base64/.test(head);
      const content = isBase64 ? Buffer.from(body, "base64").toString() : body;
      expect(content.replaceAll("\r\n", "")).not.toContain("\n");
      return content.replaceAll("\r\n", "\n");
    });

test("without a part in HTML it is its text", () => {
  expect(partsOf(sourceOf({ html: "" }))).toEqual([MAIL.text]);
});

test("it has the headers that mail programs want, and both parts as they are", () => {
  expect(sourceOf()).toBe(
    [
      "From: The Shop <shop@shop.example>",
      "To: Ann Lee <ann@example.com>",
      "Subject: Welcome",
      "Message-ID: <01890000-0000-7000-8000-000000000001@shop.example>",
      "Date: Fri, 02 Jan 2026 03:04:05 +0000",
      "Auto-Submitted: auto-generated",
      "MIME-Version: 1.0",
      "Content-Type: multipart/alternative;",
      ' boundary="=_01890000-0000-7000-8000-000000000001"',
      "",
      "--=_01890000-0000-7000-8000-000000000001",
      "Content-Type: text/plain; charset=utf-8",
      "Content-Transfer-Encoding: 7bit",
      "",
      "Welcome.\r\n\r\n.a line with a dot\r\n",
      "--=_01890000-0000-7000-8000-000000000001",
      "Content-Type: text/html; charset=utf-8",
      "Content-Transfer-Encoding: 7bit",
      "",
      "<p>Welcome.</p>\r\n",
      "--=_01890000-0000-7000-8000-000000000001--",
      "",
    ].join("\r\n"),
  );
});

test("it is the same each time", () => {
  expect(sourceOf()).toBe(sourceOf());
});

test.each([
  ["of other letters", "Ångström 李 \u{1f600}\n"],
  ["of a line that is too long for mail", `${"x".repeat(999)}\n`],
  ["of a line that is just short enough", `${"x".repeat(998)}\n`],
  ["with a bare carriage return", "one\rtwo\n"],
  ["of a length that base64 fills its lines with", "é".repeat(57 * 4)],
  ["of nothing", ""],
])("a text %s arrives as it is, in lines of ASCII that mail carries", (_what, text) => {
  const html = text || "<p>";
  const source = sourceOf({ text, html });
  expect(partsOf(source)).toEqual([text, html]);
  expect(source).toMatch(/^[\r\n\t\x20-\x7e]*$/);
  expect(source.replaceAll("\r\n", "")).not.toMatch(/[\r\n]/);
  for (const line of source.split("\r\n")) expect(line.length).toBeLessThanOrEqual(998);
});
