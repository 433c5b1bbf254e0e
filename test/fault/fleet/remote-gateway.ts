/**
 * Stands in for the built-in card gateway in a process of the fleet: the bank is the test's process, so it survives
 * the death of payment as a real one would.
 */
import type { Authorization, AuthorizeRequest, CardGateway } from "../../../services/payment/gateway.ts";
import { around } from "./faults.ts";
import type { CardCall, FromNode, ToNode } from "./messages.ts";

let lastId = 0;
const waiting = new Map<number, PromiseWithResolvers<unknown>>();

export function bankAnswers(answer: ToNode & { what: "card" }): void {
  const { id, value, failed } = answer;
  const call = waiting.get(id);
  waiting.delete(id);
  if (failed) call?.reject(Object.assign(new Error(failed.message), failed));
  else call?.resolve(value);
}

function ask<Result>(call: CardCall, request: AuthorizeRequest | string): Promise<Result> {
  const key = typeof request === "string" ? request : request.key;
  let flushed: Promise<unknown> = Promise.resolve();
  const send = (): Promise<Result> => {
    const id = ++lastId;
    const answer = Promise.withResolvers<unknown>();
    waiting.set(id, answer);
    flushed = new Promise((resolve) =>
      process.send?.({ what: "card", id, call, request } satisfies FromNode, undefined, undefined, resolve),
    );
    return answer.promise as Promise<Result>;
  };
  return around(`card ${call}`, [key], send, () => flushed);
}

export const simulatedGateway = (): CardGateway => ({
  authorize: (request) => ask<Authorization>("authorize", request),
  lookup: (key) => ask<Authorization | { kind: "unknown" }>("lookup", key),
  capture: (key) => ask<void>("capture", key),
  void: (key) => ask<void>("void", key),
});
