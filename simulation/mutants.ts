/**
 * Ways to break the protocol, each as a patch of one source file that is applied when the module is loaded. The checker
 * must catch every one of them: a mutant that survives means that the checker, or the schedule, is too weak. Production
 * code knows nothing of them; a patch whose `find` does not stand in its file exactly once is an error.
 */
export interface Mutant {
  name: string;
  /** What is broken, and which rule of the protocol forbids it. */
  about: string;
  file: string;
  find: string;
  replace: string;
}

const MANAGER = "actors/transaction-manager/transaction-manager.ts";
const SEAL = "simulation/databases/seal.ts";
const REGISTER = "actors/transaction-manager/register.ts";

export const MUTANTS: readonly Mutant[] = [
  {
    name: "answer-abort-from-absence",
    about: "an inquiry that finds no decision is told abort, and nothing is written",
    file: MANAGER,
    find: 'return this.#decisions.ask({ txId, outcome: "abort", participants: [] });',
    replace: 'return "abort";',
  },
  {
    name: "believe-unwritten-abort",
    about: "where votes are missing the driver aborts without writing it down first",
    file: "actors/protocol/driver.ts",
    find: '"commit" : "propose-abort"',
    replace: '"commit" : "abort"',
  },
  {
    name: "forget-tombstone",
    about: "an abort that overtakes its prepare leaves nothing behind",
    file: "actors/participant.ts",
    find: 'else if (step.do === "tombstone") tombstones.push(txId);',
    replace: 'else if (step.do === "tombstone") replies.set(txId, "done");',
  },
  {
    name: "commit-without-all-votes",
    about: "one missing vote is taken for a yes",
    file: "actors/protocol/driver.ts",
    find: "this.#yes.size === this.enlisted.length",
    replace: "this.#yes.size >= this.enlisted.length - 1",
  },
  {
    name: "pending-as-yes",
    about: "an answer that is no vote yet is counted as one",
    file: "actors/protocol/driver.ts",
    find: 'if (reply.kind === "yes") this',
    replace: 'if (reply.kind === "yes" || reply.kind === "pending") this',
  },
  {
    name: "expire-prepared-vote",
    about: "a participant gives up a vote that has been in doubt for long",
    file: "actors/inquiry.ts",
    find: "if (doubt.askAt > now) continue;",
    replace:
      'if (now - doubt.since > 3_000) void settle(txId, "abort");\n      if (doubt.askAt > now) continue;',
  },
  {
    name: "ack-unknown-commit",
    about: "the commit of a transaction without a vote is acknowledged",
    file: "actors/protocol/participant.ts",
    find: 'if (!record) return txId <= seal ? "forgotten" : "unknown";',
    replace: 'if (!record) return txId <= seal ? "forgotten" : "done";',
  },
  {
    name: "ack-failed-commit",
    about: "a commit that failed is acknowledged",
    file: "actors/voter.ts",
    find: 'const notYet = (): DecisionReply => "pending";',
    replace: 'const notYet = (): DecisionReply => "done";',
  },
  {
    name: "ack-for-all",
    about: "one acknowledgement is taken for everybody's",
    file: "actors/transaction-manager/phase-two.ts",
    find: "const acknowledged = participants.filter((_, i) => done[i]);",
    replace: "const acknowledged = done.some(Boolean) ? participants : [];",
  },
  {
    name: "ack-before-capture",
    about: "payment acknowledges a commit before the money is captured",
    file: "services/payment/payment.participant.ts",
    find: 'return captured.has(txId) ? "done" : "pending";',
    replace: 'return "done";',
  },
  {
    name: "decide-from-memory-after-conflict",
    about: "the driver believes what it proposed, whatever is stored",
    file: REGISTER,
    find: 'return proposals.map((proposal: Proposal) => stored.get(proposal.txId) ?? "forgotten");',
    replace: "return proposals.map((proposal: Proposal) => proposal.outcome);",
  },
  {
    name: "last-writer-wins",
    about: "the register lets a second decision replace the first",
    file: "simulation/databases/register.ts",
    find: 'if (view.get("decisions", tx_id)) continue;',
    replace: "",
  },
  {
    name: "only-read-after-lost-answer",
    about: "after a lost answer the driver only reads, and takes absence for an abort",
    file: MANAGER,
    find: "try {\n        const stored = await this.#decisions.ask(proposal);",
    replace:
      'try {\n        const stored = failures === 0 ? await this.#decisions.ask(proposal) : ((await this.#reads.ask(drive.txId)) ?? "abort");',
  },
  {
    name: "rebind-key-without-outcome",
    about: "a new attempt takes the key of one whose outcome nobody knows",
    file: "services/order/place.ts",
    find: 'if (outcome === "abort") return { replaces: held.id };',
    replace: 'if (outcome !== "commit") return { replaces: held.id };',
  },
  {
    name: "ignore-key-holder",
    about: "order takes a second live attempt under one key",
    file: "simulation/databases/order.ts",
    find: '(live !== undefined && view.lock("live_keys", live)))',
    replace: "false)",
  },
  {
    name: "deadline-before-row",
    about: "a repeated prepare is judged by its deadline and not by the recorded vote",
    file: "actors/protocol/participant.ts",
    find: "  if (record) {\n    if (record.hash",
    replace:
      '  if (entry.budgetMs <= 0) return { do: "refuse", refusal: EXPIRED };\n  if (record) {\n    if (record.hash',
  },
  {
    name: "error-as-no",
    about: "a prepare that fails is answered with a no that is recorded nowhere",
    file: "actors/voter.ts",
    find: 'return { kind: "error", code: type ?? "internal_error", message };',
    replace: 'return { kind: "no", reason: type ?? "internal_error" };',
  },
  {
    name: "vote-before-durable",
    about: "a yes is sent while it is still being written",
    file: "actors/participant.ts",
    find: "const plain = await this.#store.recordPlainYes(firsts.filter((entry) => entry.budgetMs > 0));",
    replace:
      "void this.#store.recordPlainYes(firsts).catch(() => {});\n      const plain = new Set(firsts.map((entry) => entry.txId));",
  },
  {
    name: "forget-to-compare-hashes",
    about: "another request under the same txId gets the vote of the first",
    file: "actors/protocol/participant.ts",
    find: "if (record.hash !== undefined && record.hash !== entry.hash)",
    replace: "if (record === undefined)",
  },
  {
    name: "answer-before-durable",
    about: "the client hears 201 before order's commit is durable",
    file: "services/order/place.ts",
    find: 'result.outcome === "commit" && result.durable.includes("order")',
    replace: 'result.outcome === "commit"',
  },
  {
    name: "drop-the-void",
    about: "an abort leaves no debt to void, and the card stays charged",
    file: "services/payment/payment.repository.ts",
    find: "paid.has(txId) ? null : debt",
    replace: 'paid.has(txId) || debt === "void" ? null : debt',
  },
  {
    name: "new-key-per-call",
    about: "a repeated call to the bank bears another key than the first",
    file: "services/payment/card-caller.ts",
    find: "this.#gateway.authorize({ key: txId, amount",
    replace: "this.#gateway.authorize({ key: calls === 1 ? txId : txId + calls, amount",
  },
  {
    name: "no-watermark-check-on-insert",
    about: "the register decides what lies below the watermark, and may have decided it before",
    file: "simulation/databases/register.ts",
    find: "if (tx_id <= low) continue;",
    replace: "",
  },
  {
    name: "raise-seal-over-doubt",
    about: "a seal is raised over a vote that is in doubt",
    file: SEAL,
    find: "const isFree = () => !view",
    replace: "const isFree = () => true || !view",
  },
  {
    name: "raise-seal-beside-prepares",
    about: "a seal is raised while a vote below it is being recorded",
    file: SEAL,
    find: 'view.require(isFree, new SqlError("55P03", "the seal is in use"));',
    replace: "",
  },
  {
    name: "forget-the-seal",
    about: "a late prepare is examined as if it were new",
    file: "actors/protocol/participant.ts",
    find: 'if (entry.txId <= seal) return { do: "answer", reply: { kind: "forgotten" } };',
    replace: "",
  },
  {
    name: "watermark-without-seals",
    about: "the watermark is raised although not everybody has sealed",
    file: "actors/transaction-manager/garbage.ts",
    find: "sealed = seal === undefined ? undefined : seal < sealed ? seal : sealed;",
    replace: "sealed = upTo;",
  },
  {
    name: "prune-before-ack",
    about: "decisions are deleted before everybody has acknowledged them",
    file: "simulation/databases/register.ts",
    find: "tx_id <= watermark(view))\n      .slice(0, limit as number)",
    replace: "true)\n      .slice(0, limit as number)",
  },
  {
    name: "forgotten-as-abort",
    about: "the driver takes forgotten for an abort",
    file: MANAGER,
    find: 'return stored === "forgotten" ? "unknown" : stored;',
    replace: 'return stored === "forgotten" ? "abort" : stored;',
  },
];
