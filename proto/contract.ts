/**
 * The contract as a whole: the definitions in shop/v1/ and, for each method that an action can serve, how its messages
 * map. An action names its method (`grpc: "shop.v1.Products/GetProduct"`); the rest follows from here.
 */
import { readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { ServiceDefinition } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import * as orders from "./orders.ts";
import * as products from "./products.ts";
import * as transactions from "./transactions.ts";

const DIRECTORY = fileURLToPath(new URL("./", import.meta.url));

/** Everything in shop/v1/, for the reflection service too. int64 is text, because a number would not be exact. */
export const CONTRACT = loadSync(
  readdirSync(`${DIRECTORY}shop/v1`).map((file) => `shop/v1/${file}`),
  { includeDirs: [DIRECTORY], longs: String, enums: String, arrays: true },
);

export interface Mapping {
  /** Throws validation_failed for a message that has no counterpart. */
  toParams(request: object): object;
  /** `meta` is what the action left there for its caller. */
  toResponse(result: unknown, meta: object): object;
}

const mappings = (service: string, methods: object): [string, Mapping][] =>
  Object.entries(methods).map(([name, mapping]) => [`shop.v1.${service}/${name}`, mapping as Mapping]);

const { GetProduct, ListProducts, Quote } = products;
const { PlaceOrder, GetOrder, ListOrdersByUser } = orders;
const { Prepare, Commit, Abort, RaiseSeal, Prune, Outcome } = transactions;

/** By the name that an action gives. */
export const MAPPINGS: ReadonlyMap<string, Mapping> = new Map([
  ...mappings("Products", { GetProduct, ListProducts, Quote }),
  ...mappings("Orders", { PlaceOrder, GetOrder, ListOrdersByUser }),
  ...mappings("Participant", { Prepare, Commit, Abort, RaiseSeal, Prune }),
  ...mappings("TransactionManager", { Outcome }),
]);

/** `shop.v1.Products` and so on: the services that actions serve, by name, with their definitions. */
export const SERVED: ReadonlyMap<string, ServiceDefinition> = new Map(
  [...new Set([...MAPPINGS.keys()].map((method) => method.split("/")[0] as string))].map((service) => [
    service,
    definitionOf(service),
  ]),
);

export function definitionOf(service: string): ServiceDefinition {
  const definition = CONTRACT[service];
  if (!definition) throw new Error(`proto/shop/v1 defines no ${service}`);
  return definition as ServiceDefinition;
}

export { refuseFaultyStrings } from "./values.ts";
