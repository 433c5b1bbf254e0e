import { beforeEach, describe, expect, test } from "@jest/globals";
import {
  type Attempt,
  FAILURES_MAX,
  judged,
  type LoginThrottle,
  memoryThrottle,
  type Refusal,
  WINDOW_MS,
} from "../../mixins/login.throttle.ts";

let now = 0;
let throttle: LoginThrottle;
beforeEach(() => {
  now = 1_700_000_000_000;
  throttle = memoryThrottle(() => now);
});

const begin = (account = "a@example.com", address = "192.0.2.1"): Promise<Attempt | Refusal> =>
  throttle.begin(account, address);
const passed = async (account?: string, address?: string): Promise<Attempt> => {
  const attempt = await begin(account, address);
  if ("retryAfter" in attempt) throw new Error(`refused for ${attempt.retryAfter} s`);
  return attempt;
};
const fail = async (times: number): Promise<void> => {
  for (let time = 0; time < times; time++) await (await passed()).failed();
};

describe("the login throttle", () => {
  test("lets ten failures through and then names the seconds until the first is 15 minutes old", async () => {
    await fail(1);
    now += 60_000;
    await fail(FAILURES_MAX - 1);
    expect(await begin()).toEqual({ retryAfter: 14 * 60 });
    now += 14 * 60_000 - 1;
    expect(await begin()).toEqual({ retryAfter: 1 });
    now += 1;
    await fail(1);
    // The others are still young.
    expect(await begin()).toEqual({ retryAfter: 60 });
  });

  test("does not count what it refuses", async () => {
    await fail(FAILURES_MAX);
    for (let time = 0; time < 50; time++) expect(await begin()).toEqual({ retryAfter: WINDOW_MS / 1_000 });
    now += WINDOW_MS;
    await fail(FAILURES_MAX);
  });

  test("counts attempts that are under way, so that a hundred at once are ten guesses", async () => {
    const attempts = await Promise.all(Array.from({ length: 100 }, () => begin()));
    expect(attempts.filter((attempt) => !("retryAfter" in attempt))).toHaveLength(FAILURES_MAX);
  });

  test("has a wait of no time while attempts are under way, whose end is not known", async () => {
    await fail(FAILURES_MAX - 2);
    const [one, two] = [await passed(), await passed()];
    expect(await begin()).toEqual({ retryAfter: 0 });
    await one.failed();
    expect(await begin()).toEqual({ retryAfter: 0 });
    await two.failed();
    expect(await begin()).toEqual({ retryAfter: WINDOW_MS / 1_000 });
  });

  test("refuses who has waited in vain for those under way, with a second and no word of failures", async () => {
    for (let time = 0; time < FAILURES_MAX; time++) await passed();
    const refused = judged(throttle, { account: "a@example.com", address: "192.0.2.1" }, async () => true);
    await expect(refused).rejects.toMatchObject({
      type: "too_many_requests",
      message: expect.stringContaining("being checked"),
      data: { retryAfter: 1 },
    });
  });

  test("forgives earlier failures after a success", async () => {
    await fail(FAILURES_MAX - 1);
    await (await passed()).succeeded();
    await fail(FAILURES_MAX);
  });

  test("does not count an attempt that was not judged", async () => {
    await fail(FAILURES_MAX - 1);
    for (let time = 0; time < 5; time++) await (await passed()).cancelled();
    await fail(1);
    expect(await begin()).toEqual({ retryAfter: WINDOW_MS / 1_000 });
  });

  test("counts each pair of account and address by itself, the account in any case", async () => {
    await fail(FAILURES_MAX);
    expect(await begin("A@EXAMPLE.com ")).toHaveProperty("retryAfter");
    await passed("b@example.com");
    await passed("a@example.com", "192.0.2.2");
  });
});
