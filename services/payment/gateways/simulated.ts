/**
 * The built-in gateway, for shops without a bank: it approves or declines by token. It keeps nothing on disk; an
 * authorization id follows from its key, so a key means the same authorization after any restart.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { LRUCache } from "lru-cache";
import { ShopError } from "../../../lib/errors.ts";
import type { Authorization, AuthorizeRequest, CardGateway } from "../gateway.ts";

const SLOW_MS = 2_000;
/** What the gateway remembers of recent keys; enough for its own repeats, bounded for long runs. */
const REMEMBERED_MAX = 10_000;

/** tok_ok approves, tok_slow after 2 s; tok_timeout authorizes and never says so; tok_error is an outage; all else declines. */
export function simulatedGateway(): CardGateway {
  const authorizations = new LRUCache<string, Authorization>({ max: REMEMBERED_MAX });
  const voided = new LRUCache<string, true>({ max: REMEMBERED_MAX });
  const remember = (key: string, authorization: Authorization): Authorization => {
    authorizations.set(key, authorization);
    return authorization;
  };
  const approve = (key: string) => remember(key, { kind: "approved", authorizationId: `sim_${key}` });
  const decline = (key: string, reason: string) => remember(key, { kind: "declined", reason });

  return {
    async authorize({ key, token }: AuthorizeRequest): Promise<Authorization> {
      const before = authorizations.get(key);
      if (before) return before;
      if (voided.has(key)) return decline(key, "voided");
      switch (token) {
        case "tok_ok":
          return approve(key);
        case "tok_slow":
          await sleep(SLOW_MS);
          return voided.has(key) ? decline(key, "voided") : approve(key);
        case "tok_timeout":
          approve(key);
          return new Promise(() => undefined); // authorized, but the answer never comes
        case "tok_error":
          throw new ShopError("payment_unavailable", "The payment provider cannot be reached; try again.", {
            retryAfter: 1,
          });
        default:
          return decline(key, token === "tok_insufficient_funds" ? "insufficient_funds" : "declined");
      }
    },
    async lookup(key) {
      return authorizations.get(key) ?? { kind: "unknown" };
    },
    async capture() {},
    async void(key) {
      voided.set(key, true);
      authorizations.delete(key);
    },
  };
}
