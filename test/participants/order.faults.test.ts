import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { entryOf } from "../support/replica.ts";
import { describeFaults } from "./conformance.faults.ts";
import { order } from "./order.subject.ts";
import { Bench } from "./subject.ts";

describe("order as a participant", () => describeFaults(order));

describe("the one statement for plain orders", () => {
  let bench: Bench;
  beforeAll(async () => {
    bench = await Bench.open(order);
  });
  afterAll(() => bench.close());

  test.each(["40001", "40P01"])(
    "that meets %s gives way to one by one: a vote, and no error",
    async (code) => {
      const replica = await bench.replica();
      const asked: string[] = [];
      replica.db.around = async (run, name) => {
        if (name === "insert-orders") {
          asked.push(name);
          throw Object.assign(new Error("try again"), { code });
        }
        return run();
      };
      const entry = entryOf(bench.world.request());
      expect(await replica.prepare([entry])).toEqual([{ kind: "yes" }]);
      expect(asked).toEqual(["insert-orders"]);
      expect(await bench.state(entry.txId)).toBe("prepared");
    },
  );
});
