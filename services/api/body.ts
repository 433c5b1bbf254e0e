/**
 * Reads the body of a request: content type, encoding, size before and after inflating, then json.ts. Answers the
 * object that becomes the action's params; an absent body is an empty object, so that validation names what is missing.
 */
import type { IncomingMessage } from "node:http";
import { promisify } from "node:util";
import { brotliDecompress, gunzip, inflate } from "node:zlib";
import { ShopError } from "../../lib/errors.ts";
import { parseJson } from "./json.ts";
import { isJson } from "./negotiation.ts";

/** An order of 1,000 lines, the largest thing anyone sends, is about 70 KB. */
export const BODY_BYTES_MAX = 100 * 1024;

const inflaters = new Map([
  ["gzip", promisify(gunzip)],
  ["x-gzip", promisify(gunzip)],
  ["deflate", promisify(inflate)],
  ["br", promisify(brotliDecompress)],
]);

/** True where the request announces a body of at least one byte, or of a length it does not tell. */
export function hasBody(req: IncomingMessage): boolean {
  const length = req.headers["content-length"];
  return req.headers["transfer-encoding"] !== undefined || (length !== undefined && length !== "0");
}

export async function readBody(req: IncomingMessage): Promise<Record<string, unknown>> {
  if (!hasBody(req)) return {};
  const inflateBytes = inflaterOf(req);
  if (!isJson(req.headers["content-type"]))
    throw new ShopError("unsupported_media_type", "Send the body as application/json in UTF-8.");
  if (Number(req.headers["content-length"] ?? 0) > BODY_BYTES_MAX) throw tooLarge();
  const sent = await readBytes(req);
  const bytes = inflateBytes ? await inflateBytes(sent) : sent;
  if (bytes.length === 0) return {};
  const value = parseJson(bytes);
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new ShopError("validation_failed", "The body must be a JSON object.", {
      errors: [{ pointer: "", code: "object", message: "must be an object" }],
    });
  return value as Record<string, unknown>;
}

function inflaterOf(req: IncomingMessage): ((bytes: Buffer) => Promise<Buffer>) | undefined {
  const encoding = req.headers["content-encoding"]?.trim().toLowerCase() ?? "identity";
  if (encoding === "identity") return undefined;
  const inflater = inflaters.get(encoding);
  if (!inflater)
    throw new ShopError(
      "unsupported_media_type",
      "The content encoding is not supported; send gzip, deflate, br or none.",
    );
  return async (bytes) => {
    try {
      return await inflater(bytes, { maxOutputLength: BODY_BYTES_MAX });
    } catch (err) {
      if ((err as { code?: string }).code === "ERR_BUFFER_TOO_LARGE") throw tooLarge();
      throw new ShopError("malformed_request", `The body is not valid ${encoding}.`);
    }
  };
}

/** Collects at most BODY_BYTES_MAX bytes. What a client sends beyond is discarded unread once the answer is out. */
function readBytes(req: IncomingMessage): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let length = 0;
    const settle = (done: () => void): void => {
      req.off("data", onData).off("end", onEnd).off("close", onGone).off("error", onGone);
      done();
    };
    const onData = (chunk: Buffer): void => {
      length += chunk.length;
      if (length > BODY_BYTES_MAX) settle(() => reject(tooLarge()));
      else chunks.push(chunk);
    };
    const onEnd = (): void =>
      settle(() => resolve(chunks.length === 1 && chunks[0] ? chunks[0] : Buffer.concat(chunks)));
    const onGone = (): void =>
      settle(() => reject(new ShopError("malformed_request", "The body ended before it was complete.")));
    req.on("data", onData).on("end", onEnd).on("close", onGone).on("error", onGone);
  });
}

const tooLarge = (): ShopError =>
  new ShopError(
    "body_too_large",
    `The body is larger than ${BODY_BYTES_MAX} bytes, before or after inflating.`,
  );
