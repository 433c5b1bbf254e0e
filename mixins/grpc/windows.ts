/**
 * How many bytes of one stream between our nodes may be under way unread. HTTP/2 begins with 64 KB, less than one batch of
 * a hundred prepares: its sender would stop in the middle and wait for leave to go on, a round trip for each batch.
 */
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import type { Http2Session, ServerHttp2Stream } from "node:http2";
import { definitionOf } from "../../proto/contract.ts";

/** Some batches of the largest kind. What is unread stays in memory, for each node that calls this one. */
export const WINDOW_BYTES = 4 * 1024 * 1024;

/** Of Node 24; without it the windows stay as they are. */
const CREATED = "http2.server.stream.created";
const CALLS_PATH = definitionOf("shop.v1.Peers").Calls?.path;

/** Told once: a connection of many short streams would run out of settings that wait for their acknowledgement. */
const widened = new WeakSet<Http2Session>();

/**
 * grpc-js has an option for the calling side alone; on the other one each connection is told, before it is used. Answers
 * what ends that; a process has as many listeners as servers.
 */
export function openWindows(): () => void {
  const listener = (message: unknown): void => widen(message as Created);
  subscribe(CREATED, listener);
  return () => void unsubscribe(CREATED, listener);
}

interface Created {
  stream: ServerHttp2Stream;
  headers: Record<string, string>;
}

function widen({ stream: { session }, headers }: Created): void {
  if (headers[":path"] !== CALLS_PATH || !session || session.destroyed || widened.has(session)) return;
  widened.add(session);
  session.setLocalWindowSize(WINDOW_BYTES);
  session.settings({ initialWindowSize: WINDOW_BYTES });
}
