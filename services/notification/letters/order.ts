/** Letters about an order: that it is confirmed, and that it was answered as pending and then was none. Pure. */
import type { OrderConfirmedV1 } from "../../order/api.ts";
import { type Html, html, oneLine } from "./html.ts";
import { amountText, type Letter, page, paragraphs } from "./layout.ts";

/** What is told of an order; the order of its lines is that of the event. */
export interface OrderContent extends Pick<OrderConfirmedV1, "orderId" | "total" | "currency"> {
  lines: Omit<OrderConfirmedV1["lines"][number], "productId">[];
}

export function orderConfirmed(order: OrderContent): Letter {
  const subject = "Your order is confirmed";
  return {
    subject,
    text: paragraphs(`Thank you. Your order ${order.orderId} is confirmed.`, linesText(order)),
    html: page(
      subject,
      html`<p>Thank you. Your order ${order.orderId} is confirmed.</p>
${linesTable(order)}`,
    ),
  };
}

export function orderRejected(order: OrderContent): Letter {
  const subject = "Your order could not be carried out";
  const what = `We told you that we were working on your order ${order.orderId}. It could not be carried out: nothing was bought, and no money is held on your card.`;
  const next = "If you still want these things, please order them again.";
  return {
    subject,
    text: paragraphs(what, linesText(order), next),
    html: page(
      subject,
      html`<p>${what}</p>
${linesTable(order)}
<p>${next}</p>`,
    ),
  };
}

type Lines = Omit<OrderContent, "orderId">;

function linesText({ lines, total, currency }: Lines): string {
  const items = lines.map(
    ({ quantity, name, sku, unitPrice }) =>
      `  ${quantity} x ${oneLine(name)} (${oneLine(sku)}): ${amountText(quantity * unitPrice, currency)}`,
  );
  return [...items, `Total: ${amountText(total, currency)}`].join("\n");
}

const RIGHT = "padding:4px 0;text-align:right";

function linesTable({ lines, total, currency }: Lines): Html {
  const rows = lines.map(
    ({ quantity, name, sku, unitPrice }) =>
      html`<tr><td style="padding:4px 8px 4px 0">${quantity} &times; ${oneLine(name)} <small>(${oneLine(sku)})</small></td><td style="${RIGHT}">${amountText(quantity * unitPrice, currency)}</td></tr>
`,
  );
  return html`<table style="width:100%;border-collapse:collapse">
${rows}<tr><td style="padding:8px 0"><b>Total</b></td><td style="${RIGHT}"><b>${amountText(total, currency)}</b></td></tr>
</table>`;
}
