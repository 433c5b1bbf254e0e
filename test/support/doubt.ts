/** Transactions left in doubt, as by a manager that died, in a shop where nobody presumes an abort meanwhile. */
import type { Inquiry, InquiryReply, PrepareReply, TxId } from "../../actors/protocol/messages.ts";
import { requestHash } from "../../actors/protocol/request-hash.ts";
import { newId } from "../../lib/ids.ts";
import type { ShopBroker } from "../../scripts/shop.ts";
import type { Product } from "../../services/product/api.ts";
import { orderRequest } from "../participants/order.subject.ts";
import { until } from "./until.ts";

const ENLISTED = ["order", "product", "payment"];

/** Inquiries are answered from the register, and as if nobody had waited long: what is in doubt stays it. */
export function holdInquiries(broker: ShopBroker): void {
  const { manager } = broker.getLocalService("transaction-manager") as unknown as {
    manager: { outcome(inquiries: Inquiry[]): Promise<InquiryReply[]> };
  };
  const real = manager.outcome.bind(manager);
  manager.outcome = (inquiries) => real(inquiries.map((inquiry) => ({ ...inquiry, waitedMs: 0 })));
}

export interface Doubt {
  quantity?: number;
  /** Who gets the prepare; everybody by default. All three are enlisted either way. */
  at?: readonly string[];
  token?: string;
  participants?: readonly string[];
}

/** Prepares as a manager does, and never decides. Resolves when everybody asked has voted. */
export async function leaveInDoubt(broker: ShopBroker, product: Product, doubt: Doubt = {}): Promise<TxId> {
  const { quantity = 3, at = ENLISTED, token = "tok_ok", participants = ENLISTED } = doubt;
  const txId = newId();
  const { amount: unitPrice, currency } = product.price;
  const userId = newId();
  const line = { productId: product.id, quantity, unitPrice };
  const amount = unitPrice * quantity;
  const requests: Record<string, unknown> = {
    order: orderRequest({
      userId,
      lines: [{ ...line, sku: product.sku, name: product.name }],
      total: amount,
      currency,
    }),
    product: { currency, lines: [line] },
    payment: { userId, amount, currency, token },
  };
  for (const name of at) {
    const request = requests[name];
    const entry = {
      txId,
      hash: requestHash(JSON.stringify(request)),
      budgetMs: 60_000,
      participants,
      request,
    };
    await until(`${name} votes`, async () => {
      const [reply] = await broker.call<PrepareReply[], object>(`${name}.prepare`, { entries: [entry] });
      return reply?.kind !== "pending";
    });
  }
  return txId;
}
