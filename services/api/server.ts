/**
 * The HTTP server under the gateway: its limits in time and size, an answer in the shop's own form for what never
 * becomes a request, and a stop that accepts nothing new and finishes what it has.
 */
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import { type Socket, Server as TcpServer } from "node:net";
import { type ErrorCode, ShopError } from "../../lib/errors.ts";
import { http } from "../../lib/http.ts";
import { newId } from "../../lib/ids.ts";
import { STEPS_MS_MAX } from "../../lib/stop.ts";
import { responseHeaders } from "./headers.ts";
import { problemOf } from "./problem.ts";

/** A request line of URL_CHARS_MAX and 8 KB of headers. */
const HEADER_BYTES_MAX = 16 * 1024;
export const URL_CHARS_MAX = 8 * 1024;
/** After it, requests that still run are cut off. */
const DRAIN_MS_MAX = STEPS_MS_MAX.calls;
/** A busy client uses its connection several times in this time; nobody notices that a stop takes that much longer. */
const LINGER_MS = 500;

export function createGatewayServer(onRequest: (req: IncomingMessage, res: ServerResponse) => void): Server {
  const server = http.createServer(
    {
      maxHeaderSize: HEADER_BYTES_MAX,
      headersTimeout: 10_000,
      requestTimeout: 30_000,
      // Longer than the 60 s of common load balancers: the side that closes first must be the one that sends.
      keepAliveTimeout: 65_000,
      connectionsCheckingInterval: 5_000,
      // The missing Host of HTTP/1.1 is answered by the gateway, as a problem document.
      requireHostHeader: false,
      noDelay: true,
    },
    onRequest,
  );
  server.on("clientError", answerClientError);
  // An expectation other than 100-continue may be ignored (RFC 9110, 10.1.1); Node would answer a bare 417.
  server.on("checkExpectation", onRequest);
  return server;
}

/** How long what was answered to what is no request has, to arrive. */
const CLOSING_MS = 1_000;

type Parsed = Error & { code?: string; rawPacket?: Buffer };
const refused = new WeakSet<Socket>();

/** What the parser refuses ends its connection; more of it may arrive before that. */
function answerClientError(err: Parsed, socket: Socket): void {
  if (err.code === "ECONNRESET") socket.destroy(err);
  else if (!refused.has(socket)) answerInTurn(err, socket);
  refused.add(socket);
}

/** It has no request object, so the response is written by hand, after those of the whole requests before it. */
function answerInTurn(err: Parsed, socket: Socket): void {
  const underway = (socket as Socket & { _httpMessage?: ServerResponse })._httpMessage;
  if (underway?.req.complete) {
    underway.once("finish", () => answerInTurn(err, socket));
    return;
  }
  // Closing at once would reset a connection whose client is still sending, and lose the answer. A client that goes on
  // sending has it by then.
  setTimeout(() => socket.destroy(), CLOSING_MS).unref();
  // By an answer that was the connection's last.
  if (!socket.writable) return;
  if (underway?.headersSent) {
    socket.destroy(err);
    return;
  }
  const requestId = newId();
  const problem = problemOf(parserError(err), { requestId, instance: `urn:uuid:${requestId}` });
  const fields = {
    ...responseHeaders(requestId),
    ...problem.headers,
    "content-length": String(Buffer.byteLength(problem.body)),
    connection: "close",
  };
  const head = Object.entries(fields).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.end(
    `HTTP/1.1 ${problem.status} ${http.STATUS_CODES[problem.status]}\r\n${head.join("")}\r\n${problem.body}`,
  );
}

function parserError(err: { code?: string; rawPacket?: Buffer }): ShopError {
  const answer = (code: ErrorCode, detail: string): ShopError => new ShopError(code, detail);
  switch (err.code) {
    case "HPE_HEADER_OVERFLOW":
      // The parser counts the request line among the headers; the packet tells which of the two it was.
      return /^[A-Z]+ [^\r]{8192}/.test(err.rawPacket?.toString("latin1", 0, 2 * URL_CHARS_MAX) ?? "")
        ? answer("uri_too_long", `The URL is longer than ${URL_CHARS_MAX} characters.`)
        : answer("headers_too_large", `The headers are larger than ${HEADER_BYTES_MAX} bytes.`);
    case "HPE_CHUNK_EXTENSIONS_OVERFLOW":
      return answer("body_too_large", "The chunk extensions are too large.");
    case "ERR_HTTP_REQUEST_TIMEOUT":
      return answer("request_timeout", "The request was not complete in time.");
    default:
      return answer("malformed_request", "The request is not valid HTTP.");
  }
}

/**
 * Stops accepting at once and resolves when the last connection is closed or DRAIN_MS_MAX has passed. A connection that
 * is idle stays open for a moment longer: its client may be sending on it right now, and is told to close by the answer.
 */
export function drain(server: Server): Promise<void> {
  if (!server.listening) return Promise.resolve();
  return new Promise((resolve, reject) => {
    // Server.close closes idle connections, too; run again it does only that, and reports that it is closed.
    const linger = setTimeout(() => server.close(() => undefined), LINGER_MS);
    const cut = setTimeout(() => server.closeAllConnections(), DRAIN_MS_MAX);
    TcpServer.prototype.close.call(server, (err) => {
      clearTimeout(linger);
      clearTimeout(cut);
      server.close(() => undefined);
      if (err) reject(err);
      else resolve();
    });
  });
}
