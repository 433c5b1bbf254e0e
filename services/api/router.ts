/**
 * What the gateway serves: the aliases that moleculer-web generates from the actions' `rest`, joined with what the
 * actions say about themselves, grouped by path so that a wrong method is told from an unknown path.
 */
import type { ActionSchema, ServiceBroker } from "moleculer";
import { ShopError } from "../../lib/errors.ts";
import { type JsonSchema, paramsSchemaOf } from "./json-schema.ts";

/** As moleculer-web's alias.js makes it. `handler` is set for the gateway's own pages, `action` for all others. */
export interface Alias {
  method: string;
  fullPath: string;
  action: string | null;
  handler: AliasHandler | null;
  match(path: string): Record<string, string> | false;
}
export type AliasHandler = (
  req: import("node:http").IncomingMessage,
  res: import("node:http").ServerResponse,
  next: (err?: unknown) => void,
) => void;

export interface Operation {
  method: string;
  /** `/orders/:id` */
  path: string;
  action: string | null;
  schema: ActionSchema;
  auth: "none" | "user" | "admin" | "service";
  handler: AliasHandler | null;
  /** Names of the params that come from the query, with their schemas. */
  query: ReadonlyMap<string, JsonSchema>;
  /** Names of the params that come from the path or the query. */
  parameters: ReadonlySet<string>;
  takesBody: boolean;
  successStatus: number;
  produces: string;
  match(path: string): Record<string, string> | false;
}

export interface Resource {
  operations: Map<string, Operation>;
  /** Value of the Allow header. */
  allow: string;
}

export interface Route {
  resource: Resource;
  params: Record<string, string>;
}

const METHODS = new Set(["GET", "POST", "PUT", "PATCH", "DELETE"]);
const WITH_BODY = new Set(["POST", "PUT", "PATCH"]);

export class Router {
  readonly operations: readonly Operation[];
  readonly #fixed = new Map<string, Resource>();
  readonly #patterns: { match: Operation["match"]; resource: Resource }[] = [];

  constructor(operations: readonly Operation[]) {
    this.operations = operations;
    const byPath = Map.groupBy(operations, (operation) => operation.path);
    for (const [path, group] of byPath) {
      const methods = new Map(group.map((operation) => [operation.method, operation]));
      const names = [...methods.keys(), ...(methods.has("GET") ? ["HEAD"] : []), "OPTIONS"];
      const resource = { operations: methods, allow: names.sort().join(", ") };
      if (path.includes(":")) this.#patterns.push({ match: (group[0] as Operation).match, resource });
      else this.#fixed.set(path, resource);
    }
  }

  /** The resource at a path, or undefined. Throws malformed_request for a percent-encoding that is none. */
  find(path: string): Route | undefined {
    const fixed = this.#fixed.get(path);
    if (fixed) return { resource: fixed, params: {} };
    for (const { match, resource } of this.#patterns) {
      const params = matchOf(match, path);
      if (params) return { resource, params };
    }
    return undefined;
  }
}

function matchOf(match: Operation["match"], path: string): Record<string, string> | false {
  try {
    return match(path);
  } catch (cause) {
    throw new ShopError("malformed_request", "The path holds a percent-encoding that is not UTF-8.", {
      cause,
    });
  }
}

/**
 * The operations of all aliases. Those of `previous` whose service has left the registry stay: a client should hear
 * that the service is away (503), not that the path never existed (404). `refuse` is told of what cannot be served.
 */
export function operationsOf(
  broker: ServiceBroker,
  aliases: readonly Alias[],
  previous: readonly Operation[],
  refuse: (reason: string) => void,
  isOpenToServices = false,
): Operation[] {
  const schemas = new Map(broker.registry.getActionList({}).map((item) => [item.name, item.action]));
  const operations = new Map<string, Operation>();
  for (const alias of aliases) {
    const operation = operationOf(alias, alias.action ? schemas.get(alias.action) : undefined);
    if (operation.auth === "service" && !isOpenToServices) continue;
    const key = `${operation.method} ${operation.path}`;
    const rival = operations.get(key);
    if (!METHODS.has(operation.method)) refuse(`${operation.action}: rest needs a method, got "${key}"`);
    else if (rival) refuse(`${operation.action}: ${key} is taken by ${rival.action}`);
    else operations.set(key, operation);
  }
  const services = broker.registry.getServiceList({}).map((service) => `${service.fullName}.`);
  for (const operation of previous) {
    const key = `${operation.method} ${operation.path}`;
    const isServed = services.some((prefix) => operation.action?.startsWith(prefix));
    if (!isServed && !operations.has(key)) operations.set(key, operation);
  }
  return [...operations.values()];
}

function operationOf(alias: Alias, schema: ActionSchema = {}): Operation {
  const { properties } = paramsSchemaOf((schema.params ?? {}) as Record<string, unknown>);
  const query = new Map((schema.query ?? []).map((name) => [name, properties[name] ?? {}]));
  const pathNames = [...alias.fullPath.matchAll(/:(\w+)/g)].map((match) => match[1] as string);
  return {
    method: alias.method,
    path: alias.fullPath,
    action: alias.action,
    handler: alias.handler,
    schema,
    auth: alias.handler ? "none" : authOf(schema.auth),
    query,
    parameters: new Set([...query.keys(), ...pathNames]),
    takesBody: WITH_BODY.has(alias.method),
    successStatus: schema.successStatus ?? 200,
    produces: alias.handler ? "*/*" : "application/json",
    match: (path) => alias.match(path),
  };
}

/** Absent means "user"; a word we do not know means the strictest we have. */
function authOf(auth: unknown): Operation["auth"] {
  if (auth === undefined) return "user";
  return auth === "none" || auth === "user" || auth === "service" ? auth : "admin";
}
