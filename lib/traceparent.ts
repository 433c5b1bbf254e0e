/** Trace contexts as W3C Trace Context writes them, and ids of other makers brought into its form. Pure. */
import { createHash } from "node:crypto";

/** Where in a trace somebody is: the trace, the span that further ones hang below, and whether anybody records it. */
export interface TraceContext {
  /** 32 hexadecimal digits. */
  traceID: string;
  /** 16 hexadecimal digits. */
  id: string;
  sampled: boolean;
}

// A version from the future may say more after the flags; 00 may not.
const FORM = /^(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;

/** Undefined for what is not a traceparent: then a new trace begins. */
export function parseTraceparent(text: unknown): TraceContext | undefined {
  const [, version, traceID, id, flags, more] = (typeof text === "string" && FORM.exec(text)) || [];
  if (traceID === undefined || id === undefined || (version === "00" && more !== undefined)) return undefined;
  return { traceID, id, sampled: (Number.parseInt(flags as string, 16) & 1) === 1 };
}

/** Ids may be of any form. */
export const formatTraceparent = ({ traceID, id, sampled }: TraceContext): string =>
  `00-${toTraceId(traceID)}-${toSpanId(id)}-${sampled ? "01" : "00"}`;

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** A trace id as it is, a UUID without its hyphens, and a digest of anything else, such as a client's request id. */
export function toTraceId(id: string): string {
  if (/^[0-9a-f]{32}$/.test(id)) return id;
  return UUID.test(id) ? id.replaceAll("-", "") : digest(id, 32);
}

/** A span id as it is, the random half of a UUID, and a digest of anything else. */
export function toSpanId(id: string): string {
  if (/^[0-9a-f]{16}$/.test(id)) return id;
  return UUID.test(id) ? id.replaceAll("-", "").slice(16) : digest(id, 16);
}

const digest = (text: string, digits: number): string =>
  createHash("sha256").update(text).digest("hex").slice(0, digits);
