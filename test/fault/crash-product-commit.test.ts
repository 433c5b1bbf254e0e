/** Product is killed around every durable step of phase two. What it has promised it carries out, once. */
import { randomUUID } from "node:crypto";
import { testCrashes, threeWays } from "./fleet/crash.ts";
import { declined, tombstones } from "./fleet/loads.ts";

testCrashes(
  ["product"],
  [
    ...threeWays("commit-reservations", ["commit", "commit", "commit"]),
    ...threeWays("abort-reservations", ["abort", "abort", "abort"], { load: declined }),
    ...threeWays(
      "tombstone-reservations",
      ["abort", "abort", "abort"],
      tombstones("product", {
        currency: "EUR",
        lines: [{ productId: randomUUID(), quantity: 1, unitPrice: 990 }],
      }),
    ),
  ],
);
