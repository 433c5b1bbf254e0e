/** What a test and the processes of its fleet say to each other over their IPC channels; all of it plain JSON. */
import type { AuthorizeRequest } from "../../../services/payment/gateway.ts";

export type When = "before" | "middle" | "after";

/**
 * What is to happen at the `nth` time from now that a process comes to `point`: the name of a statement, or the first
 * two words of one that writes and has none (with ` + commit` the COMMIT of the transaction in which it was the last one), `call ACTION` for a message to another
 * node, or `card authorize|capture|void` for the bank. Before it is sent; in the middle, when its bytes are out and
 * the answer is not in; after, when the answer is in and nobody has seen it. `stop` is SIGSTOP; `terminate` ends the
 * server's backend of the connection and leaves the process alone.
 */
export interface Fault {
  point: string;
  when: When;
  deed: "kill" | "stop" | "terminate";
  nth: number;
}

/** A fault that has come true, and the transactions that the statement was about. */
export interface Hit {
  point: string;
  when: When;
  txIds: string[];
}

export type CardCall = "authorize" | "lookup" | "capture" | "void";

export interface Failed {
  message: string;
  type?: string;
  status?: number;
}

export type ToNode =
  | { what: "call"; id: number; action: string; params: object; meta: object; nodeId?: string }
  | { what: "arm"; id: number; fault: Fault }
  | { what: "clock"; id: number; offsetMs: number }
  | { what: "collect"; id: number }
  | { what: "await"; id: number; services: string[] }
  | { what: "card"; id: number; value?: unknown; failed?: Failed };

export type FromNode =
  | { what: "ready" }
  | { what: "reply"; id: number; status?: number | undefined; value?: unknown; failed?: Failed }
  | { what: "card"; id: number; call: CardCall; request: AuthorizeRequest | string };
