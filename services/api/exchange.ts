/** One request and its answer: what is known about it while it passes through, and the only way to answer it. */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Logger } from "moleculer";
import type { Failed } from "../../lib/failure.ts";
import { requestIdOf } from "../../lib/headers.ts";
import type { AnswerMeta, CallerMeta } from "./api.ts";
import { corsHeaders, responseHeaders } from "./headers.ts";
import { problemOf } from "./problem.ts";

export interface Exchange extends Failed {
  req: IncomingMessage;
  res: ServerResponse;
  meta: CallerMeta & AnswerMeta;
  /** Fields of every answer to this request. */
  fields: Record<string, string>;
  /** Asked when the answer goes out: its connection must not stay open on a server that stopped meanwhile. */
  isStopping(): boolean;
}

export function beginExchange(
  req: IncomingMessage,
  res: ServerResponse,
  settings: { clientAddress: string; corsOrigins: readonly string[]; isStopping(): boolean },
): Exchange {
  const requestId = requestIdOf(req.headers["x-request-id"]);
  const fields = { ...responseHeaders(requestId), ...corsHeaders(req, settings.corsOrigins) };
  const meta = { user: null, requestId, clientAddress: settings.clientAddress };
  return { req, res, requestId, instance: "/", meta, fields, isStopping: settings.isStopping };
}

export function answer(
  { req, res, fields, isStopping }: Exchange,
  status: number,
  headers: Record<string, string>,
  body?: string,
): void {
  const all: Record<string, string | number> = { ...fields, ...headers };
  if (isStopping()) all.connection = "close";
  if (body !== undefined) all["content-length"] = Buffer.byteLength(body);
  else if (status !== 204 && status !== 304) all["content-length"] = 0;
  res.writeHead(status, all);
  res.end(req.method === "HEAD" ? undefined : body);
}

/** Answers with the action's result, by what it left in meta. */
export function answerResult(exchange: Exchange, successStatus: number, result: unknown): void {
  const { $statusCode, $location } = exchange.meta;
  const status = $statusCode ?? successStatus;
  const headers = actionHeaders(exchange);
  if ($location !== undefined) headers.location = $location;
  if (status === 204 || status === 304 || result === undefined || result === null) {
    answer(exchange, status, headers);
    return;
  }
  headers["content-type"] ??= "application/json; charset=utf-8";
  answer(exchange, status, headers, JSON.stringify(result));
}

/** Answers with a problem document and records what is our fault. */
export function answerError(exchange: Exchange, err: unknown, logger: Logger): void {
  const { req, res, requestId, instance } = exchange;
  const problem = problemOf(err, exchange);
  const isBug = problem.code === "internal_error";
  if (isBug)
    logger.error(`${req.method} ${instance} failed`, {
      requestId,
      stack: (err as Error | null)?.stack ?? String(err),
      data: (err as { data?: unknown } | null)?.data,
    });
  else if (problem.status >= 500)
    logger.warn(`${req.method} ${instance} failed: ${problem.code}`, {
      requestId,
      message: (err as Error).message,
    });
  if (res.headersSent) {
    // Half an answer is out: only a broken connection still tells the client that it is not whole.
    res.destroy();
    return;
  }
  // A bug may be a header that cannot be sent.
  const fromAction = isBug ? {} : actionHeaders(exchange);
  answer(exchange, problem.status, { ...fromAction, ...problem.headers }, problem.body);
}

/** Lower case, so that an action's `Cache-Control` replaces ours instead of standing beside it. */
function actionHeaders({ meta: { $responseHeaders } }: Exchange): Record<string, string> {
  const headers: Record<string, string> = {};
  for (const name in $responseHeaders) headers[name.toLowerCase()] = $responseHeaders[name] as string;
  return headers;
}
