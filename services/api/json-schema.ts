/**
 * fastest-validator rules as JSON Schema 2020-12, so that the published contract is the one that is enforced. Rules
 * that JSON Schema cannot say (custom functions, sanitizers) are left out: the schema may be wider, never narrower.
 */

export type JsonSchema = Record<string, unknown>;
type Rule = Record<string, unknown> & { type: string };

export interface ParamsSchema {
  properties: Record<string, JsonSchema>;
  required: string[];
  isStrict: boolean;
}

/** The members of an action's `params`. A `$$root` rule has none. */
export function paramsSchemaOf(params: Record<string, unknown>): ParamsSchema {
  const names = Object.keys(params).filter((name) => !name.startsWith("$$"));
  const properties: Record<string, JsonSchema> = {};
  const required: string[] = [];
  for (const name of names) {
    const rule = ruleOf(params[name]);
    if (rule.type === "forbidden") continue;
    properties[name] = schemaOf(rule);
    if (isRequired(rule)) required.push(name);
  }
  return { properties, required, isStrict: isClosed(params.$$strict) };
}

export function objectSchemaOf({ properties, required, isStrict }: ParamsSchema): JsonSchema {
  return {
    type: "object",
    properties,
    ...(required.length > 0 ? { required } : {}),
    ...(isStrict ? { additionalProperties: false } : {}),
  };
}

/** Our broker's validator refuses unknown members unless a rule says otherwise. */
const isClosed = (strict: unknown): boolean => strict === undefined || strict === true;

function isRequired(rule: Rule): boolean {
  if (rule.type === "multi")
    return !rule.optional && !(rule.rules as unknown[]).some((option) => !isRequired(ruleOf(option)));
  return rule.optional !== true && rule.default === undefined;
}

/** Undoes the short hands: "string|min:3|optional", "string[]", [rule, rule], { $$type: "object", … }. */
function ruleOf(rule: unknown): Rule {
  if (typeof rule === "string") return shortHand(rule);
  if (Array.isArray(rule)) return rule.length === 1 ? ruleOf(rule[0]) : { type: "multi", rules: rule };
  const given = rule as Record<string, unknown>;
  if (given.$$type !== undefined) {
    const { $$type, ...props } = given;
    return { ...shortHand(String($$type)), props };
  }
  return { ...given, type: String(given.type ?? "any") };
}

function shortHand(text: string): Rule {
  const [type = "any", ...flags] = text.split("|").map((part) => part.trim());
  const rule: Rule = type.endsWith("[]") ? { type: "array", items: type.slice(0, -2) } : { type };
  for (const flag of flags) {
    const cut = flag.indexOf(":");
    if (cut === -1) rule[flag.replace(/^no-/, "")] = !flag.startsWith("no-");
    else rule[flag.slice(0, cut)] = literal(flag.slice(cut + 1).trim());
  }
  return rule;
}

function literal(text: string): unknown {
  if (text === "true" || text === "false") return text === "true";
  return text === "" || Number.isNaN(Number(text)) ? text : Number(text);
}

function schemaOf(rule: Rule): JsonSchema {
  const schema = { ...typeSchemaOf(rule), ...pick(rule, ["default", "description", "examples"]) };
  if (rule.nullable !== true) return schema;
  return typeof schema.type === "string"
    ? { ...schema, type: [schema.type, "null"] }
    : { anyOf: [schema, { type: "null" }] };
}

function typeSchemaOf(rule: Rule): JsonSchema {
  const lengths = { min: "minLength", max: "maxLength" };
  switch (rule.type) {
    case "string":
      return {
        type: "string",
        ...renamed(rule, lengths),
        ...exactly(rule, "Length"),
        ...pick(rule, ["enum"]),
        ...nonEmpty(rule),
        ...patternOf(rule),
      };
    case "email":
      return { type: "string", format: "email", ...renamed(rule, lengths) };
    case "uuid":
      return { type: "string", format: "uuid" };
    case "url":
      return { type: "string", format: "uri" };
    case "date":
      return { type: "string", format: "date-time" };
    case "number":
      return numberSchemaOf(rule);
    case "boolean":
      return { type: "boolean" };
    case "enum":
      return { enum: rule.values };
    case "equal":
      return rule.value === undefined ? {} : { const: rule.value };
    case "array":
      return {
        type: "array",
        ...(rule.items === undefined ? {} : { items: schemaOf(ruleOf(rule.items)) }),
        ...renamed(rule, { min: "minItems", max: "maxItems", unique: "uniqueItems" }),
        ...exactly(rule, "Items"),
        ...(rule.empty === false && rule.min === undefined ? { minItems: 1 } : {}),
      };
    case "tuple":
      return {
        type: "array",
        ...(Array.isArray(rule.items)
          ? { prefixItems: rule.items.map((item) => schemaOf(ruleOf(item))) }
          : {}),
      };
    case "record":
      return {
        type: "object",
        ...(rule.value === undefined ? {} : { additionalProperties: schemaOf(ruleOf(rule.value)) }),
      };
    case "object": {
      const props = (rule.props ?? rule.properties) as Record<string, unknown> | undefined;
      if (!props) return { type: "object" };
      const inner = paramsSchemaOf(props);
      return objectSchemaOf({ ...inner, isStrict: inner.isStrict && isClosed(rule.strict) });
    }
    case "multi":
      return { anyOf: (rule.rules as unknown[]).map((option) => schemaOf(ruleOf(option))) };
    default:
      return {};
  }
}

function numberSchemaOf(rule: Rule): JsonSchema {
  return {
    type: rule.integer === true ? "integer" : "number",
    ...renamed(rule, { min: "minimum", max: "maximum", equal: "const" }),
    ...(rule.positive === true ? { exclusiveMinimum: 0 } : {}),
    ...(rule.negative === true ? { exclusiveMaximum: 0 } : {}),
    ...(rule.notEqual === undefined ? {} : { not: { const: rule.notEqual } }),
  };
}

const nonEmpty = (rule: Rule): JsonSchema =>
  rule.empty === false && rule.min === undefined && rule.length === undefined ? { minLength: 1 } : {};

const exactly = (rule: Rule, of: "Length" | "Items"): JsonSchema =>
  rule.length === undefined ? {} : { [`min${of}`]: rule.length, [`max${of}`]: rule.length };

/** A RegExp does not survive the way from another node; then the pattern is left out. Flags have no place in JSON Schema. */
function patternOf(rule: Rule): JsonSchema {
  const { pattern } = rule;
  if (pattern instanceof RegExp)
    return pattern.flags.replace("u", "") === "" ? { pattern: pattern.source } : {};
  return typeof pattern === "string" && rule.patternFlags === undefined ? { pattern } : {};
}

function pick(rule: Rule, names: readonly string[]): JsonSchema {
  return renamed(rule, Object.fromEntries(names.map((name) => [name, name])));
}

function renamed(rule: Rule, names: Record<string, string>): JsonSchema {
  const schema: JsonSchema = {};
  for (const [from, to] of Object.entries(names)) if (rule[from] !== undefined) schema[to] = rule[from];
  return schema;
}
