/** A card gateway that does what a test says, and keeps the books of a bank: what is held, captured, voided. */

import { ShopError } from "../../lib/errors.ts";
import type { Authorization, AuthorizeRequest, CardGateway } from "../../services/payment/gateway.ts";

export type CardState = "held" | "captured" | "voided";

export class ScriptedGateway implements CardGateway {
  /** What the bank knows of a key. */
  readonly cards = new Map<string, CardState>();
  readonly calls: { what: "authorize" | "lookup" | "capture" | "void"; key: string }[] = [];
  /** How often money was really held, or taken, per key: repeats by key have no second effect. */
  readonly holds = new Map<string, number>();
  readonly captures = new Map<string, number>();
  /** Behaviour by token; a token without one approves, except `tok_declined` and `tok_error`. */
  readonly scripts = new Map<string, (request: AuthorizeRequest) => Promise<Authorization>>();
  beforeCapture: (key: string) => void | Promise<void> = () => undefined;
  beforeVoid: (key: string) => void | Promise<void> = () => undefined;
  lookupFinds = true;

  async authorize(request: AuthorizeRequest): Promise<Authorization> {
    this.calls.push({ what: "authorize", key: request.key });
    const script = this.scripts.get(request.token);
    if (script) return script(request);
    if (request.token === "tok_error") throw new ShopError("payment_unavailable", "The bank is closed.");
    if (request.token === "tok_declined") return { kind: "declined", reason: "declined" };
    return this.approve(request.key);
  }

  /** Holds the money now, whenever the answer arrives. */
  approve(key: string): Authorization {
    if (this.cards.get(key) === "voided") return { kind: "declined", reason: "voided" };
    if (!this.cards.has(key)) {
      this.cards.set(key, "held");
      this.holds.set(key, (this.holds.get(key) ?? 0) + 1);
    }
    return { kind: "approved", authorizationId: `auth_${key}` };
  }

  async lookup(key: string): Promise<Authorization | { kind: "unknown" }> {
    this.calls.push({ what: "lookup", key });
    if (!this.lookupFinds || !this.cards.has(key) || this.cards.get(key) === "voided")
      return { kind: "unknown" };
    return { kind: "approved", authorizationId: `auth_${key}` };
  }

  async capture(key: string): Promise<void> {
    this.calls.push({ what: "capture", key });
    await this.beforeCapture(key);
    if (this.cards.get(key) === "captured") return;
    if (this.cards.get(key) !== "held") throw new Error(`nothing is held for ${key}`);
    this.cards.set(key, "captured");
    this.captures.set(key, (this.captures.get(key) ?? 0) + 1);
  }

  async void(key: string): Promise<void> {
    this.calls.push({ what: "void", key });
    await this.beforeVoid(key);
    if (this.cards.get(key) === "captured") throw new Error(`${key} is captured already`);
    this.cards.set(key, "voided");
  }

  count(state: CardState): number {
    return [...this.cards.values()].filter((each) => each === state).length;
  }

  times(what: "authorize" | "lookup" | "capture" | "void", key: string): number {
    return this.calls.filter((call) => call.what === what && call.key === key).length;
  }
}
