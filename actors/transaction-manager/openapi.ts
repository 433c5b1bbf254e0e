/** How transactions look in the OpenAPI document (JSON Schema 2020-12). Money is defined by product. */
const uuid = { type: "string", format: "uuid" } as const;
const time = { type: "string", format: "date-time" } as const;
const orNull = (schema: object) => ({ anyOf: [schema, { type: "null" }] });
const text = { type: "string" } as const;
const number = { type: ["integer", "null"] } as const;
const outcome = { enum: ["commit", "abort"] } as const;
const money = orNull({ $ref: "#/components/schemas/Money" });
const list = (items: object) => ({ type: "array", items });
const object = (properties: Record<string, object>) => ({
  type: "object",
  required: Object.keys(properties),
  properties,
});
const unreachable = list(object({ name: text, code: { $ref: "#/components/schemas/ErrorCode" } }));

const SCHEMAS = {
  Transaction: object({
    id: uuid,
    state: { enum: ["in-doubt", "committed", "aborted", "heuristic", "heuristic-mixed", "unknown"] },
    ageMs: number,
    userId: orNull(uuid),
    units: number,
    total: money,
    waitsFor: list(text),
    decision: orNull(object({ outcome, ageMs: number, settled: { type: "boolean" } })),
    enlisted: orNull(list(text)),
    participants: list(
      object({
        name: text,
        state: { enum: ["authorizing", "prepared", "committed", "aborted", "none", "unknown"] },
        ageMs: number,
        refusal: orNull({ type: "object", required: ["reason"], properties: { reason: text } }),
        debt: orNull({ enum: ["capture", "void"] }),
        units: number,
        money,
        acknowledged: orNull({ enum: ["yes", "no", "heuristic"] }),
        heuristics: list(
          object({
            outcome,
            stateBefore: text,
            by: text,
            reason: text,
            at: time,
            stored: orNull(outcome),
            closed: orNull(object({ by: text, reason: text, at: time })),
          }),
        ),
      }),
    ),
    event: orNull(object({ id: uuid, published: { type: "boolean" } })),
    forced: list(
      object({
        outcome,
        by: text,
        reason: text,
        at: time,
        stored: orNull({ enum: ["commit", "abort", "forgotten"] }),
      }),
    ),
    unreachable,
  }),
  TransactionPage: object({
    items: list({ $ref: "#/components/schemas/Transaction" }),
    nextCursor: { type: ["string", "null"] },
    unreachable,
  }),
};

const common = { tags: ["operations"], schemas: SCHEMAS };
const transaction = (description: string) => ({
  description,
  schema: { $ref: "#/components/schemas/Transaction" },
});
const problem = (description: string) => ({ description });

export const LIST_OPENAPI = {
  ...common,
  summary: "Transactions in doubt, or with an open heuristic, oldest first",
  description:
    "In doubt is what waits for an outcome, for the delivery of a commit, or for a debt to the card gateway. `unreachable` names who could not be asked: transactions that only they know are missing.",
  responses: {
    200: {
      description: "A page of transactions.",
      schema: { $ref: "#/components/schemas/TransactionPage" },
    },
  },
};

export const SHOW_OPENAPI = {
  ...common,
  summary: "Everything that is known of one transaction",
  responses: { 200: transaction("The transaction.") },
};

export const FORCE_OPENAPI = {
  ...common,
  summary: "Decide a transaction that nobody has decided",
  description:
    "Proposes the outcome to the register, whose first writer wins; a commit needs the recorded yes of everybody enlisted. Repeating it changes nothing. With `heuristic`, and only where the register holds the other outcome or cannot be asked, the rows of the named participants are changed all the same; that breaks atomicity on purpose, is recorded, and stays open until it is closed.",
  responses: {
    200: transaction("The transaction as it is now."),
    409: problem(
      "vote_missing, outcome_contradicted, transaction_forgotten or not_in_doubt; nothing was changed.",
    ),
  },
};

export const CLOSE_OPENAPI = {
  ...common,
  summary: "Close the open heuristics of a transaction",
  description:
    "Says that whatever the contradiction did to customer, stock and money has been put right elsewhere. It ends the alarm in the audit and lets garbage collection pass.",
  responses: {
    200: transaction("The transaction as it is now."),
    409: problem("transaction_undecided: the outcome is not known yet."),
  },
};
