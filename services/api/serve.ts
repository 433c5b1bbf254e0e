/**
 * The way of one request: route, method, Accept, caller, headers, query, body, call, answer. Checks that cost nothing
 * come first, and an anonymous body is never parsed for an action that wants a user. Throws what problem.ts renders.
 */
import type { Context } from "moleculer";
import { ShopError } from "../../lib/errors.ts";
import { bearerTokenOf, idempotencyKeyOf } from "../../lib/headers.ts";
import { isId } from "../../lib/ids.ts";
import { REPEATED_ABOVE } from "../../mixins/retry.middleware.ts";
import type { Principal } from "../../mixins/token-verifier.ts";
import { hasBody, readBody } from "./body.ts";
import { answer, answerResult, type Exchange } from "./exchange.ts";
import { preflightHeaders } from "./headers.ts";
import { accepts } from "./negotiation.ts";
import { parseQuery } from "./query.ts";
import type { Operation, Route, Router } from "./router.ts";
import { URL_CHARS_MAX } from "./server.ts";
import type { StaleCopies } from "./stale-copies.ts";

export interface Serving {
  router: Router;
  verify(token: string): Promise<Principal>;
  /** Is this the secret that services of the shop share? */
  isService(token: string): boolean;
  /** Throws too_many_requests where the client has used up its limit. */
  limit(exchange: Exchange, path: string): Promise<void> | undefined;
  staleCopies: StaleCopies;
  /** False while a service that this node expects has not been seen: then an unknown path may yet be one. */
  isComplete(): boolean;
}

const NOTHING_HERE = "There is nothing at this path.";

export async function serve(serving: Serving, ctx: Context, exchange: Exchange): Promise<void> {
  const { req, meta } = exchange;
  const { path, query } = targetOf(exchange);
  await serving.limit(exchange, path);
  if (path === "*" && req.method === "OPTIONS")
    return answer(exchange, 204, { allow: "DELETE, GET, HEAD, OPTIONS, POST, PUT" });
  const route = serving.router.find(path.length > 1 && path.endsWith("/") ? path.slice(0, -1) : path);
  if (!route) throw new ShopError(serving.isComplete() ? "not_found" : "unavailable", NOTHING_HERE);
  const { allow } = route.resource;
  if (req.method === "OPTIONS") {
    const isAllowed = exchange.fields["access-control-allow-origin"] !== undefined;
    return answer(exchange, 204, { allow, ...(isAllowed ? preflightHeaders(allow) : {}) });
  }

  const operation = operationOf(route, req.method ?? "");
  if (operation.produces !== "*/*" && !accepts(req.headers.accept, operation.produces))
    throw new ShopError("not_acceptable", `This resource is only available as ${operation.produces}.`);
  if (operation.auth === "service") {
    requireService(serving, exchange);
    // That service repeats for itself, by its carrier.
    ctx.headers[REPEATED_ABOVE] = true;
  } else if (operation.auth !== "none") meta.user = await callerOf(serving, exchange, operation);
  if (operation.handler) return runHandler(operation.handler, exchange);

  const params = await paramsOf(exchange, operation, route.params, query);
  exchange.params = params;
  exchange.parameters = operation.parameters;
  setPreconditions(exchange);
  const result = await serving.staleCopies.call(ctx, operation, exchange, params);
  answerResult(exchange, operation.successStatus, result);
}

/** Path and query of the request target, in origin form or absolute form (RFC 9112, 3.2). */
function targetOf(exchange: Exchange): { path: string; query: string } {
  const { req } = exchange;
  let url = req.url ?? "";
  if (url.length > URL_CHARS_MAX)
    throw new ShopError("uri_too_long", `The URL is longer than ${URL_CHARS_MAX} characters.`);
  if (!/^[\x21-\x7e]+$/.test(url))
    throw new ShopError("malformed_request", "The URL holds characters that must be percent-encoded.");
  if (req.headers.host === undefined && req.httpVersion === "1.1")
    throw new ShopError("malformed_request", "The Host header is missing.");
  if (!url.startsWith("/") && url !== "*") {
    const absolute = URL.parse(url);
    if (!absolute) throw new ShopError("malformed_request", "The request target is not a URL.");
    url = absolute.pathname + absolute.search;
  }
  const mark = url.indexOf("?");
  const path = mark === -1 ? url : url.slice(0, mark);
  exchange.instance = path;
  return { path, query: mark === -1 ? "" : url.slice(mark + 1) };
}

function operationOf({ resource, params }: Route, method: string): Operation {
  const operation = resource.operations.get(method === "HEAD" ? "GET" : method);
  if (!operation)
    throw new ShopError("method_not_allowed", `${method} is not allowed here; allowed: ${resource.allow}.`, {
      allow: resource.allow,
    });
  for (const [name, value] of Object.entries(params))
    if (operation.action && (name === "id" || name.endsWith("Id")) && !isId(value))
      throw new ShopError("malformed_request", `The ${name} in the path is not a lower-case UUID.`, {
        errors: [{ parameter: name, code: "uuid", message: "must be a lower-case UUID" }],
      });
  return operation;
}

async function callerOf(serving: Serving, { req }: Exchange, operation: Operation): Promise<Principal> {
  const token = bearerTokenOf(req.headers.authorization);
  if (token === undefined)
    throw new ShopError(
      "unauthorized",
      "Send an access token of POST /login as Authorization: Bearer <token>.",
    );
  const caller = await serving.verify(token);
  if (operation.auth === "admin" && !caller.roles.includes("admin"))
    throw new ShopError("forbidden", "This needs the role admin.");
  return caller;
}

function requireService(serving: Serving, { req }: Exchange): void {
  const token = bearerTokenOf(req.headers.authorization);
  if (token === undefined || !serving.isService(token))
    throw new ShopError("unauthorized", "This is for other services of the shop, which know its secret.");
}

/** One flat object: path and named query parameters, and the members of the body, none of which may hide another. */
async function paramsOf(
  { req }: Exchange,
  operation: Operation,
  fromPath: Record<string, string>,
  query: string,
): Promise<Record<string, unknown>> {
  const fromQuery = query === "" ? undefined : parseQuery(query, operation.query);
  if (!operation.takesBody) {
    if (hasBody(req))
      throw new ShopError("validation_failed", `${req.method} takes no body here.`, {
        errors: [{ pointer: "", code: "forbidden", message: "must not be sent" }],
      });
    return { ...fromQuery, ...fromPath };
  }
  const body = await readBody(req);
  const hidden = [...operation.parameters].filter((name) => Object.hasOwn(body, name));
  if (hidden.length > 0)
    throw new ShopError("validation_failed", "The body repeats what belongs to the URL.", {
      errors: hidden.map((name) => ({
        pointer: `/${name}`,
        code: "unknown_member",
        message: "belongs to the URL, not to the body",
      })),
    });
  return Object.assign(body, fromQuery, fromPath);
}

function setPreconditions({ req, meta }: Exchange): void {
  const idempotencyKey = idempotencyKeyOf(req.headers["idempotency-key"]);
  if (idempotencyKey !== undefined) meta.idempotencyKey = idempotencyKey;
  if (req.headers["if-match"] !== undefined) meta.ifMatch = req.headers["if-match"];
  if (req.headers["if-none-match"] !== undefined) meta.ifNoneMatch = req.headers["if-none-match"];
}

/** The gateway's own pages write their answer themselves; one that passes on has found nothing. */
function runHandler(
  handler: NonNullable<Operation["handler"]>,
  { req, res, fields, isStopping }: Exchange,
): Promise<void> {
  for (const name in fields) res.setHeader(name, fields[name] as string);
  if (isStopping()) res.setHeader("connection", "close");
  return new Promise((resolve, reject) => {
    res.once("close", resolve);
    handler(req, res, (err) => reject(err ?? new ShopError("not_found", NOTHING_HERE)));
  });
}
