/**
 * How one service reaches another that may be deployed on its own: over the broker, or over HTTP where the
 * configuration names its address. Either way a call answers the same result or throws a ShopError of the same code, so
 * ports are written once. Over HTTP a call has one time limit for all its tries, repeats what is idempotent or has not
 * begun, and stops asking for a moment when nobody answers.
 */
import type { ServiceBroker } from "moleculer";
import { config, type ReachableByUrl } from "../config/index.ts";
import { codeOf, type Fault, ShopError } from "../lib/errors.ts";
import { HttpCarrier } from "./http.carrier.ts";
import { expectServed } from "./registry.ts";

/** One call of a port: an action, and where its service serves it over HTTP. */
export interface Route {
  action: string;
  method: "GET" | "POST";
  path: string;
  idempotent: boolean;
}

/** A context, whose deadline and request id go along, or a broker. */
export interface Caller {
  call<Result, Params>(action: string, params: Params): Promise<Result>;
  requestID?: string | null | undefined;
  registry?: ServiceBroker["registry"];
}

export interface Carrier {
  call<Result>(caller: Caller, route: Route, params: Record<string, unknown>): Promise<Result>;
  close(): void;
}

export function carrierTo(service: ReachableByUrl): Carrier {
  const url = config.serviceUrls[service];
  return url === undefined ? overBroker : new HttpCarrier(url, config.serviceSecret ?? "");
}

export const overBroker: Carrier = {
  async call<Result>(caller: Caller, route: Route, params: Record<string, unknown>): Promise<Result> {
    // Where a broker calls by itself and not for a request, it will again.
    if (caller.registry) expectServed({ registry: caller.registry }, route.action);
    try {
      return await caller.call<Result, object>(route.action, params);
    } catch (err) {
      const code = codeOf(err);
      const { type, message, data } = err as { type?: string; message: string; data?: { errors?: Fault[] } };
      if (type === code) throw err;
      // The framework's own words for what is in our table.
      throw new ShopError(code, `${route.action}: ${message}`, Array.isArray(data) ? {} : { ...data });
    }
  },
  close: () => undefined,
};
