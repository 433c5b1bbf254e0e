/** What user needs of auth: to end the logins of an account. */
import { type Caller, type Carrier, carrierTo, type Route } from "../../mixins/carrier.ts";

const END_LOGINS: Route = {
  action: "auth.endLogins",
  method: "POST",
  path: "/internal/auth/end-logins",
  idempotent: true,
};

export interface AuthPort {
  /** Every refresh token of the account is worthless when it resolves; answers how many logins that ended. */
  endLogins(caller: Caller, userId: string): Promise<number>;
  close(): void;
}

export function openAuthPort(carrier: Carrier = carrierTo("auth")): AuthPort {
  return {
    endLogins: async (caller, userId) =>
      (await carrier.call<{ ended: number }>(caller, END_LOGINS, { userId })).ended,
    close: () => carrier.close(),
  };
}
