/** Draws the plan of a run from its seed. */
import { faultOf, themeOf } from "./faults.ts";
import { type ClientPlan, nodeNames, PARTICIPANTS, type Plan } from "./plan.ts";
import { Random } from "./random.ts";

const TOKENS = [
  ...Array(14).fill("tok_ok"),
  "tok_declined",
  "tok_declined",
  "tok_slow",
  "tok_slow",
  "tok_timeout",
  "tok_error",
];
/** Everything about one run follows from its seed. */
export function planOf(seed: number): Plan {
  const random = new Random(seed);
  const managers = random.chance(0.25) ? 3 : 2;
  const nodes = nodeNames(managers);
  const products = random.between(1, 2);
  const together = random.chance(0.5);
  const clients = Array.from({ length: random.between(1, 4) }, (_, i): ClientPlan => {
    const at = together ? random.between(0, 5) : random.between(0, 2_500);
    const requests = random.chance(0.3) ? random.between(2, 3) : 1;
    return {
      name: `client-${i + 1}`,
      key: `key-${i + 1}`,
      product: random.int(products),
      quantity: random.between(1, 2),
      token: random.pick(TOKENS),
      startsAt: Array.from(
        { length: requests },
        (_, n) => at + (n === 0 ? 0 : random.pick([0, 3, 40, 2_000])),
      ),
      lastDiffers: requests > 1 && random.chance(0.3),
    };
  });
  const isStormy = random.chance(0.4);
  return {
    seed,
    managers,
    stock: Array.from({ length: products }, () => random.between(1, 4)),
    clients,
    prices: random.chance(0.2)
      ? [{ at: random.between(0, 2_000), product: random.int(products), price: 150 }]
      : [],
    weather: {
      loss: isStormy ? random.pick([0, 0.02, 0.08]) : 0,
      duplicate: isStormy ? random.pick([0, 0.05, 0.2]) : 0,
      delay: isStormy ? random.pick([0, 0.03, 0.1]) : 0,
      wrongBudget: isStormy ? random.pick([0, 0.1, 0.3]) : 0,
    },
    faults: [
      ...(random.chance(0.4) ? themeOf(random) : []),
      ...Array.from({ length: random.int(6) }, () => faultOf(random, nodes)),
    ],
    strays: random.chance(0.15)
      ? [
          {
            at: random.between(0, 6_000),
            participant: random.pick(PARTICIPANTS),
            do: random.pick(["unknown-commit", "other-request"] as const),
          },
        ]
      : [],
    calmAt: 12_000,
    retentionMs: random.pick([100, 1_000, 4_000]),
    isReplayed: random.chance(0.2),
  };
}
