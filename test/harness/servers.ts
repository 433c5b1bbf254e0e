/**
 * `describe` for tests that need a real server beside PostgreSQL. In CI a missing server is a failure like any other;
 * on somebody's own machine the tests are skipped, which Jest counts and this says aloud, with how to get the server.
 */
import { describe } from "@jest/globals";
import { ServerMissing, type StartOptions } from "../../scripts/servers/provider.ts";
import type { Server } from "../../scripts/servers/server.ts";

/** `start` is startNats, startRedis, ... Starts one to see whether it can be had. */
export async function describeWith(
  start: (options?: StartOptions) => Promise<Server>,
): Promise<typeof describe | typeof describe.skip> {
  try {
    await (await start()).stop();
    return describe;
  } catch (err) {
    return skipWithout(err);
  }
}

/** Throws what is no absence, and in CI any. */
export function skipWithout(err: unknown): typeof describe.skip {
  if (process.env.CI || !(err instanceof ServerMissing)) throw err;
  console.warn(`SKIPPED, because ${err.message}`);
  return describe.skip;
}
