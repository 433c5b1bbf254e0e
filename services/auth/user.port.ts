/** What auth needs of user: whom credentials belong to, and whether an account is still there. */
import { type Caller, type Carrier, carrierTo, type Route } from "../../mixins/carrier.ts";
import type { CredentialsParams, Identity, UserView } from "../user/api.ts";

const route = (action: string, path: string): Route => ({ action, method: "POST", path, idempotent: true });
const VERIFY = route("user.verifyCredentials", "/internal/user/verify-credentials");
const GET = route("user.get", "/internal/user/get");

export interface UserPort {
  /** Null where they are wrong. */
  verifyCredentials(caller: Caller, credentials: CredentialsParams): Promise<Identity | null>;
  /** Null where there is no such account. */
  get(caller: Caller, id: string): Promise<UserView | null>;
  close(): void;
}

export function openUserPort(carrier: Carrier = carrierTo("user")): UserPort {
  return {
    verifyCredentials: (caller, { email, password }) => carrier.call(caller, VERIFY, { email, password }),
    get: (caller, id) => carrier.call(caller, GET, { id }),
    close: () => carrier.close(),
  };
}
