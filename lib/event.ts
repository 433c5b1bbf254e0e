/**
 * An event: something that has happened, told by the service that did it, in the transaction that did it. Every
 * delivery of it is the same in all members, so its id tells a repeat. Pure.
 */
export interface ShopEvent<Payload = Record<string, unknown>> {
  /** The same for every delivery of the event. */
  id: string;
  /** Such as `order.confirmed`. */
  type: string;
  version: number;
  /** The id of what it is about. Events of one key are delivered in the order in which they happened. */
  key: string;
  payload: Payload;
  /** RFC 3339. */
  time: string;
  /** Of the transaction that told it, as W3C Trace Context writes it; null where nothing was traced. */
  traceparent: string | null;
}

/** `order.confirmed.v1`: what consumers subscribe to. */
export const kindOf = ({ type, version }: Pick<ShopEvent, "type" | "version">): string =>
  `${type}.v${version}`;

/** `order.confirmed.v1` apart; undefined for what is not the name of a kind, such as an event of the framework's. */
export function partsOf(kind: string): { type: string; version: number } | undefined {
  const [, type, version] = /^([a-z]+(?:[.-][a-z]+)+)\.v([1-9]\d{0,3})$/.exec(kind) ?? [];
  return type === undefined ? undefined : { type, version: Number(version) };
}

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** Undefined where the body is no event. */
export function eventOf(body: string): ShopEvent | undefined {
  let event: Partial<ShopEvent> | null;
  try {
    event = JSON.parse(body);
  } catch {
    return undefined; // which the caller makes a dead letter of
  }
  const { id, type, version, key, payload, time, traceparent = null } = event ?? {};
  const isEvent =
    typeof id === "string" &&
    UUID.test(id) &&
    typeof type === "string" &&
    Number.isSafeInteger(version) &&
    typeof key === "string";
  if (!isEvent || typeof payload !== "object" || payload === null || typeof time !== "string")
    return undefined;
  return { id, type, version, key, payload, time, traceparent } as ShopEvent;
}
