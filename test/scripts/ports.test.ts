import { expect, test } from "@jest/globals";
import { freePort } from "../../scripts/ports.ts";

test("a port is given out once: whoever asked before may not have taken it yet", async () => {
  const ports = await Promise.all(Array.from({ length: 1_000 }, freePort));
  expect(new Set(ports).size).toBe(ports.length);
});
