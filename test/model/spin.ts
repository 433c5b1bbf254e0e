/**
 * Where spin or gcc is missing these tests cannot run: in CI that is a failure, on a laptop they are skipped, loudly,
 * and counted as skipped.
 */
import { test } from "@jest/globals";
import { missing } from "../../scripts/model/spin.ts";

const lacking = await missing(["spin", "gcc"]);
if (lacking.length > 0) {
  if (process.env.CI) throw new Error(`${lacking.join(" and ")} must be installed in CI`);
  console.warn(`The model of the protocol is NOT checked here: ${lacking.join(" and ")} not found.`);
}

export const checked = lacking.length > 0 ? test.skip : test;
