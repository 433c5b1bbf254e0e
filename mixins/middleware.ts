/** What broker middleware wraps, typed: the framework's own types leave the handler's context and result open. */
import type { ActionSchema, Context, Service } from "moleculer";

export type Call = (ctx: Context) => Promise<unknown>;
export type WrappedAction = ActionSchema & { name: string; service?: Service };
export type Wrap = (handler: Call, action: WrappedAction) => Call;

/** What broker.call returns: the context is there as soon as an endpoint was found, and absent where none was. */
export type Sent = Promise<unknown> & { ctx?: Context };

/** One node's action, as the balancer sees it: `state` false takes it out. */
export interface Endpoint {
  readonly id: string;
  readonly local: boolean;
  readonly name: string;
  readonly action: WrappedAction;
  state: boolean;
}

export interface EndpointList {
  readonly endpoints: readonly Endpoint[];
  readonly localEndpoints: readonly Endpoint[];
  getFirst(): Endpoint | null;
  count(): number;
}
