import { randomBytes } from "node:crypto";
import { availableParallelism } from "node:os";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { type Hasher, openHasher } from "../../../services/user/password.hasher.ts";

const pepper = randomBytes(32);
let hasher: Hasher;

beforeAll(() => {
  hasher = openHasher({ pepper, cost: 4 });
});
afterAll(() => hasher.close());

describe("the hasher", () => {
  test("matches a password with its own hash alone", async () => {
    const hash = await hasher.hash("correct horse");
    expect(hash).toMatch(/^\$2b\$04\$/);
    expect(await hasher.matches("correct horse", hash)).toBe(true);
    expect(await hasher.matches("correct horsf", hash)).toBe(false);
  });

  test("counts every byte, also those after bcrypt's 72 and after a zero byte", async () => {
    for (const start of ["x".repeat(72), "x\0"]) {
      const hash = await hasher.hash(`${start}a`);
      expect(await hasher.matches(`${start}a`, hash)).toBe(true);
      expect(await hasher.matches(`${start}b`, hash)).toBe(false);
    }
  });

  test("matches the same text typed in another way", async () => {
    const hash = await hasher.hash("Café au lait");
    expect(await hasher.matches("Cafe\u0301 au lait", hash)).toBe(true);
  });

  test("matches nothing under another pepper", async () => {
    const hash = await hasher.hash("correct horse");
    const other = openHasher({ pepper: randomBytes(32), cost: 4 });
    try {
      expect(await other.matches("correct horse", hash)).toBe(false);
    } finally {
      await other.close();
    }
    // The threads are shared: they outlive the hasher that closed first.
    expect(await hasher.matches("correct horse", hash)).toBe(true);
  });

  test("answers false without a hash, as slowly as with one", async () => {
    const slow = openHasher({ pepper, cost: 9 });
    try {
      const hash = await slow.hash("correct horse");
      const known: number[] = [];
      const unknown: number[] = [];
      for (let round = 0; round < 7; round++) {
        known.push(await msOf(async () => expect(await slow.matches("wrong", hash)).toBe(false)));
        unknown.push(await msOf(async () => expect(await slow.matches("wrong", undefined)).toBe(false)));
      }
      // A comparison with a malformed hash would take a hundredth of the time.
      expect(median(unknown) / median(known)).toBeGreaterThan(0.5);
      expect(median(unknown) / median(known)).toBeLessThan(2);
    } finally {
      await slow.close();
    }
  });

  test("knows a hash of another cost", async () => {
    const costly = openHasher({ pepper, cost: 5 });
    try {
      expect(hasher.outdated(await costly.hash("correct horse"))).toBe(true);
      expect(costly.outdated(await costly.hash("correct horse"))).toBe(false);
    } finally {
      await costly.close();
    }
  });

  test("does not begin what nobody waits for any more", async () => {
    const slow = openHasher({ pepper, cost: 11 });
    try {
      const busy = Array.from({ length: availableParallelism() }, () => slow.hash("correct horse"));
      const startedAt = performance.now();
      const late = await Promise.allSettled(
        Array.from({ length: 10 * availableParallelism() }, () => slow.matches("wrong", undefined, 1)),
      );
      const tookMs = performance.now() - startedAt;
      await Promise.all(busy);
      const busyMs = performance.now() - startedAt;
      for (const result of late)
        expect(result).toMatchObject({ reason: { type: "deadline_exceeded", code: 504 } });
      // Ten rounds more would have taken ten times as long.
      expect(tookMs).toBeLessThan(busyMs * 3);
    } finally {
      await slow.close();
    }
  });

  test("refuses at once what its queue does not hold, and does the rest", async () => {
    const asked = 60 * availableParallelism();
    const results = await Promise.allSettled(
      Array.from({ length: asked }, () => hasher.hash("correct horse")),
    );
    const refused = results.filter((result) => result.status === "rejected");
    expect(refused.length).toBeGreaterThan(0);
    expect(refused.length).toBeLessThan(asked);
    for (const { reason } of refused)
      expect(reason).toMatchObject({ type: "overloaded", retryable: true, data: { retryAfter: 1 } });
    expect(await hasher.hash("correct horse")).toMatch(/^\$2b\$/);
  });
});

async function msOf(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

const median = (values: number[]): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] as number;
