/** What several services ask of the text that people write, as a rule of the validator. */

/** Neither control characters nor half characters: PostgreSQL, mail headers and lists take neither. */
export const ONE_LINE = {
  type: "string",
  pattern: "^[^\\p{Cc}\\p{Cs}]*$",
  patternFlags: "u",
  messages: { stringPattern: "must not contain control characters" },
} as const;
