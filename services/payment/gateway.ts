/**
 * The port to a card gateway. Every call carries a key derived from the transaction, and repeating a call with its key
 * has no second effect; that is what lets us repeat after a crash or a lost answer. A rejection means "not known",
 * never "declined".
 */
export interface AuthorizeRequest {
  key: string;
  /** Minor units of `currency`. */
  amount: number;
  currency: string;
  token: string;
}

export type Authorization =
  | { kind: "approved"; authorizationId: string }
  | { kind: "declined"; reason: string };

export interface CardGateway {
  /** Holds the amount on the card. Rejects with `payment_unavailable` where the gateway itself says it cannot work. */
  authorize(request: AuthorizeRequest): Promise<Authorization>;
  /** What became of an authorize with this key; `unknown` where the gateway has not seen it (yet). */
  lookup(key: string): Promise<Authorization | { kind: "unknown" }>;
  /** Takes the held money. */
  capture(key: string): Promise<void>;
  /** Lets go of what the key holds, and refuses an authorize with this key that arrives later. */
  void(key: string): Promise<void>;
}
