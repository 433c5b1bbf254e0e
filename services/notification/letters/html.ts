/**
 * HTML as a tagged template: what is filled in is text and is escaped, unless it is HTML made by this template itself.
 * So nothing that a user or a product is called can become markup. It is ASCII, so that mail carries it as it is: other
 * letters are numbers. Pure.
 */
export class Html {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

type Value = string | number | Html | readonly Html[];

export const html = (strings: TemplateStringsArray, ...values: readonly Value[]): Html =>
  new Html(strings.reduce((all, string, i) => all + markupOf(values[i - 1] as Value) + string));

function markupOf(value: Value): string {
  if (value instanceof Html) return value.text;
  if (typeof value === "object") return value.map(({ text }) => text).join("");
  return escaped(String(value));
}

const ENTITIES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

const escaped = (text: string): string =>
  text.replace(
    /[&<>"']|[^\n\x20-\x7e]/gu,
    (character) => ENTITIES[character] ?? `&#${character.codePointAt(0)};`,
  );

/** On one line, without what steers a terminal or turns the direction of writing: for the text part of a mail. */
export const oneLine = (text: string): string =>
  text
    .replace(/[\p{Cc}\p{Zl}\p{Zp}\u202a-\u202e\u2066-\u2069]+/gu, " ")
    .replace(/ {2,}/g, " ")
    .trim();
