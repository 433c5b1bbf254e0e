/**
 * The bank behind the card gateway: outside of the shop, always up, and reached over the same bad network. It keeps what
 * it did per key, and says at once when it is asked for something that no correct shop asks for.
 */
import { ShopError } from "../lib/errors.ts";
import type { Authorization, AuthorizeRequest } from "../services/payment/gateway.ts";
import type { World } from "./world.ts";

export interface Account {
  amount: number;
  authorization: Authorization;
  isVoided: boolean;
  captures: number;
}

const SLOW_MS = 2_000;

export class Bank {
  readonly accounts = new Map<string, Account>();
  readonly #world: World;
  readonly #watch: (what: "capture" | "void", key: string) => void;

  constructor(world: World, watch: (what: "capture" | "void", key: string) => void) {
    this.#world = world;
    this.#watch = watch;
  }

  async authorize({ key, amount, token }: AuthorizeRequest): Promise<Authorization> {
    const known = this.accounts.get(key);
    if (known) return known.authorization;
    switch (token) {
      case "tok_ok":
        return this.#open(key, amount);
      case "tok_slow":
        await new Promise<void>((resolve) => this.#world.after(SLOW_MS, undefined, "slow card", resolve));
        return this.accounts.get(key)?.authorization ?? this.#open(key, amount);
      case "tok_timeout":
        this.#open(key, amount);
        return new Promise(() => {}); // authorized, but the answer never comes
      case "tok_error":
        throw new ShopError("payment_unavailable", "The bank cannot be reached; try again.");
      default:
        return this.#open(key, amount, "declined");
    }
  }

  async lookup(key: string): Promise<Authorization | { kind: "unknown" }> {
    return this.accounts.get(key)?.authorization ?? { kind: "unknown" };
  }

  async capture(key: string): Promise<void> {
    const account = this.accounts.get(key);
    if (account?.authorization.kind !== "approved" || account.isVoided)
      this.#world.violate(`the bank is to capture ${key}, for which it holds nothing`);
    else if (account.captures++ === 0) this.#watch("capture", key);
  }

  async void(key: string): Promise<void> {
    const account = this.accounts.get(key) ?? this.#declined(key);
    if (account.captures > 0) this.#world.violate(`the bank is to void ${key}, which it has captured`);
    if (!account.isVoided) this.#watch("void", key);
    account.isVoided = true;
  }

  #open(key: string, amount: number, declineReason?: string): Authorization {
    const authorization: Authorization =
      declineReason === undefined
        ? { kind: "approved", authorizationId: `bank ${key}` }
        : { kind: "declined", reason: declineReason };
    this.accounts.set(key, { amount, authorization, isVoided: false, captures: 0 });
    return authorization;
  }

  /** A void of a key that never came: an authorization that comes later is refused. */
  #declined(key: string): Account {
    this.#open(key, 0, "voided");
    return this.accounts.get(key) as Account;
  }
}
