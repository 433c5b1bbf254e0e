/** Stock of 50, and 200 buyers at once: 50 get one, 150 are told that it is sold out, and nobody sees an error. */
import { Customers } from "./customers.ts";
import type { Drill } from "./drill.ts";
import { auditLine, Shop } from "./shop.ts";

const STOCK = 50;
const BUYERS = 200;

type Outcome = "sold" | "refused" | "other" | "serverErrors";

export const sellOut: Drill = {
  name: "sell-out",
  about: `stock ${STOCK} and ${BUYERS} buyers at once: ${STOCK} sold, the others refused with 409, no server error`,
  takes: ["times"],
  async run(site, { times = 5 }) {
    const shop = await Shop.open(site);
    const customers = new Customers(shop.url, BUYERS);
    try {
      const buyers = await customers.signUp(BUYERS);
      const rounds: Record<Outcome, number>[] = [];
      let auditOk = true;
      for (let n = 1; n <= times; n++) {
        const [productId = ""] = await customers.addProducts(1, STOCK);
        const answers = await Promise.allSettled(
          buyers.map((customer) => customers.order({ customer, productId })),
        );
        const count = (matches: (status: number, code?: string) => boolean) =>
          answers.filter(
            (each) => each.status === "fulfilled" && matches(each.value.status, each.value.body.code),
          ).length;
        const sold = count((status) => status === 201);
        const refused = count((status, code) => status === 409 && code === "insufficient_stock");
        const serverErrors = count((status) => status >= 500);
        const other = BUYERS - sold - refused - serverErrors;
        const report = await shop.audit();
        auditOk &&= report.ok && report.inDoubt === 0;
        rounds.push({ sold, refused, other, serverErrors });
        site.say(
          `round ${n}: ${sold} sold, ${refused} refused, ${serverErrors} server errors, ${other} other; ${auditLine(report)}`,
        );
      }
      await shop.stop();
      const each = (name: Outcome) => rounds.map((round) => round[name]);
      const held = rounds.every(({ sold, refused }) => sold === STOCK && refused === BUYERS - STOCK);
      return {
        rounds: times,
        sold: each("sold"),
        refused: each("refused"),
        other: each("other"),
        serverErrors: each("serverErrors"),
        auditOk,
        ok: held && auditOk,
      };
    } finally {
      customers.close();
    }
  },
};
