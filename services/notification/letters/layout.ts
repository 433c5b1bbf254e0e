/**
 * What all letters have in common: their frame in HTML, with styles where mail programs read them, and amounts of money
 * as people read them. Pure.
 */
import { type Html, html } from "./html.ts";

/** What is sent to somebody, whoever that is. */
export interface Letter {
  subject: string;
  text: string;
  html: string;
}

export function page(title: string, body: Html): string {
  return html`<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>${title}</title></head>
<body style="margin:0;padding:24px;font:16px/1.5 sans-serif;color:#222;background:#f4f4f4">
<div style="max-width:600px;margin:0 auto;padding:24px;background:#fff">
<h1 style="margin:0 0 16px;font-size:22px">${title}</h1>
${body}
</div>
</body>
</html>
`.text;
}

/** Text of several paragraphs, as plain mail has it. */
export const paragraphs = (...items: readonly string[]): string => `${items.join("\n\n")}\n`;

interface MoneyFormat {
  format: Intl.NumberFormat;
  decimals: number;
}
const formats = new Map<string, MoneyFormat>();

/** 1999 EUR reads "EUR 19.99". Intl knows how many decimals a currency has; asking it is slow, so both are kept. */
export function amountText(amount: number, currency: string): string {
  let known = formats.get(currency);
  if (!known) {
    const format = new Intl.NumberFormat("en", { style: "currency", currency, currencyDisplay: "code" });
    known = { format, decimals: format.resolvedOptions().maximumFractionDigits ?? 2 };
    formats.set(currency, known);
  }
  // Intl puts a no-break space after the code; mail is plainer with a plain one.
  return known.format.format(amount / 10 ** known.decimals).replaceAll("\u00a0", " ");
}
