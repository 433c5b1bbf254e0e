/**
 * Renders any error as a gRPC status by the table in lib/errors.ts. The trailing metadata says the rest: `shop-code`, the
 * stable word to branch on; `shop-problem-bin`, the same problem document that REST answers, as JSON; `retry-after`.
 */
import { Metadata, type ServiceError, status } from "@grpc/grpc-js";
import { ERRORS, type ErrorCode } from "../../lib/errors.ts";
import { type Failed, failureOf } from "../../lib/failure.ts";

export type Status = Pick<ServiceError, "code" | "details" | "metadata"> & { shopCode: ErrorCode };

export function statusOf(err: unknown, failed: Failed): Status {
  const { code, document, retryAfter } = failureOf(err, failed);
  const metadata = new Metadata();
  metadata.set("shop-code", code);
  metadata.set("shop-problem-bin", Buffer.from(JSON.stringify(document)));
  if (retryAfter !== undefined) metadata.set("retry-after", String(retryAfter));
  return {
    code: status[ERRORS[code].grpc as keyof typeof status],
    details: String(document.detail),
    metadata,
    shopCode: code,
  };
}
