/**
 * What is verified: the configurations of docs/model/verify.pml with the properties that each checks, and the mutants
 * that each must fail. A mutant bears the name that the simulator gives it where both have it.
 */

export interface Configuration {
  name: string;
  about: string;
  defines: readonly string[];
  /** A liveness property, checked over cycles. All others are assertions that every step makes. */
  isLiveness: boolean;
}

export const CONFIGURATIONS: readonly Configuration[] = [
  { name: "attempts", about: "two attempts under one key", defines: [], isLiveness: false },
  { name: "three-attempts", about: "three attempts under one key", defines: ["N=3"], isLiveness: false },
  { name: "garbage", about: "seals, watermark and pruning", defines: ["GARBAGE"], isLiveness: false },
  {
    name: "subsets",
    about: "garbage, and runs that enlist any of the participants",
    defines: ["GARBAGE", "SUBSETS"],
    isLiveness: false,
  },
  { name: "ends", about: "everybody ends once faults stop", defines: ["ENDS"], isLiveness: true },
  {
    name: "garbage-ends",
    about: "everybody ends, whatever is sealed and pruned meanwhile",
    defines: ["ENDS", "GARBAGE"],
    isLiveness: true,
  },
];

export const SAFETY_PROPERTIES = [
  "agreement",
  "validity",
  "no_flip",
  "one_per_key",
  "no_double_effect",
  "released",
  "presumption",
  "acknowledgement",
  "late_messages",
  "doubt_below_watermark",
  "commit_without_row",
] as const;

export const propertiesOf = ({ isLiveness }: Configuration): readonly string[] =>
  isLiveness ? [...SAFETY_PROPERTIES, "everybody_ends"] : SAFETY_PROPERTIES;

/** All of them fail in this one, which has everything that they break. */
export const MUTANTS_RUN_IN = "garbage";

export const MUTANTS = [
  "answer-abort-from-absence",
  "believe-unwritten-abort",
  "forget-tombstone",
  "commit-without-all-votes",
  "expire-prepared-vote",
  "ack-failed-commit",
  "decide-from-memory-after-conflict",
  "last-writer-wins",
  "only-read-after-lost-answer",
  "no-watermark-check-on-insert",
  "raise-seal-over-doubt",
  "prune-before-ack",
  "rebind-key-without-outcome",
  "ignore-key-holder",
  "deadline-before-row",
  "error-as-no",
] as const;

export const defineOf = (mutant: string): string => `MUTANT_${mutant.toUpperCase().replaceAll("-", "_")}`;
