/** Product is killed around every durable step of phase two. What it has promised it carries out, once. */
import { randomUUID } from "node:crypto";
import { declined, describeCrashes, threeWays, tombstones } from "./fleet/crash.ts";

describeCrashes(
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
