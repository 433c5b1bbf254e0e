/**
 * The rules that a strict reviewer holds a deployment to, over all objects of an overlay at once: what no schema can
 * see. A rule answers one line per violation and never throws for what it finds.
 */
import { CAPACITY_RULES } from "./capacity.rules.ts";
import { EVENTS_RULES } from "./events.rules.ts";
import { REFERENCE_RULES } from "./reference.rules.ts";
import type { ResourceSet } from "./resource-set.ts";
import { SECURITY_RULES } from "./security.rules.ts";
import { WATCH_RULES } from "./watch.rules.ts";
import { WORKLOAD_RULES } from "./workload.rules.ts";

export type Rule = (set: ResourceSet) => string[];

/** By a name that says what holds. */
export const RULES: Readonly<Record<string, Rule>> = {
  ...REFERENCE_RULES,
  ...WORKLOAD_RULES,
  ...SECURITY_RULES,
  ...CAPACITY_RULES,
  ...EVENTS_RULES,
  ...WATCH_RULES,
};

export const ruleFaults = (set: ResourceSet): string[] =>
  Object.entries(RULES).flatMap(([name, rule]) => rule(set).map((fault) => `${name}: ${fault}`));
