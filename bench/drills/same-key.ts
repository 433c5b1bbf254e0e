/**
 * Fifty concurrent requests with one Idempotency-Key: one order and one payment. Each request is answered with that
 * order, or with "in progress, ask again"; whoever asks again gets the same order.
 */
import { Customers } from "./customers.ts";
import type { Drill } from "./drill.ts";
import { auditLine, Shop } from "./shop.ts";

const REQUESTS = 50;

export const sameKey: Drill = {
  name: "same-key",
  about: `${REQUESTS} concurrent requests with one Idempotency-Key: one order, one payment`,
  takes: ["times"],
  async run(site, { times = 10 }) {
    const shop = await Shop.open(site);
    const customers = new Customers(shop.url, REQUESTS);
    try {
      const [productId = ""] = await customers.addProducts(1, REQUESTS * times);
      const buyers = await customers.signUp(times);
      const answers: Record<string, number> = {};
      const orders: number[] = [];
      const payments: number[] = [];
      let strays = 0;
      for (const [n, customer] of buyers.entries()) {
        const key = `same-key-${n}`;
        const buy = () => customers.order({ customer, productId, key });
        const settled = await Promise.allSettled(Array.from({ length: REQUESTS }, buy));
        const again = await buy();
        for (const each of settled) {
          const status =
            each.status === "rejected"
              ? "none"
              : each.value.status === 201 && each.value.headers["idempotency-replayed"] === "true"
                ? "201 replayed"
                : `${each.value.status} ${each.value.body.code ?? ""}`.trim();
          answers[status] = (answers[status] ?? 0) + 1;
          const isFine = /^(201( replayed)?|202|409 request_in_progress)$/.test(status);
          const isOther =
            each.status === "fulfilled" && each.value.status === 201 && each.value.body.id !== again.body.id;
          if (!isFine || isOther) strays++;
        }
        if (again.status !== 201 || again.headers["idempotency-replayed"] !== "true") strays++;
        orders.push(
          await count(shop, "order", "orders where user_id = $1 and state <> 'aborted'", customer.id),
        );
        payments.push(
          await count(
            shop,
            "payment",
            "payments where user_id = $1 and authorization_id is not null",
            customer.id,
          ),
        );
        site.say(`key ${n + 1}: ${orders.at(-1)} orders, ${payments.at(-1)} payments authorized`);
      }
      const report = await shop.audit();
      site.say(auditLine(report));
      await shop.stop();
      const auditOk = report.ok && report.inDoubt === 0;
      return {
        keys: times,
        requestsPerKey: REQUESTS,
        ordersPerKey: orders,
        paymentsPerKey: payments,
        answers,
        strays,
        auditOk,
        ok: [...orders, ...payments].every((n) => n === 1) && strays === 0 && auditOk,
      };
    } finally {
      customers.close();
    }
  },
};

async function count(shop: Shop, name: "order" | "payment", from: string, userId: string): Promise<number> {
  const [row] = await shop.query<{ n: number }>(name, `select count(*)::int as n from ${from}`, [userId]);
  return row?.n ?? 0;
}
