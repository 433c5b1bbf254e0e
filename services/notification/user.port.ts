/** What notification needs of user: where somebody is written to. */
import { type Caller, type Carrier, carrierTo, type Route } from "../../mixins/carrier.ts";
import type { Contact } from "../user/api.ts";

const CONTACTS: Route = {
  action: "user.contacts",
  method: "POST",
  path: "/internal/user/contacts",
  idempotent: true,
};

export interface UserPort {
  /** By id; who does not exist any more is not in it. */
  contacts(caller: Caller, ids: readonly string[]): Promise<Map<string, Contact>>;
  close(): void;
}

export function openUserPort(carrier: Carrier = carrierTo("user")): UserPort {
  return {
    async contacts(caller, ids) {
      const found = await carrier.call<Contact[]>(caller, CONTACTS, { ids: [...new Set(ids)] });
      return new Map(found.map((contact) => [contact.id, contact]));
    },
    close: () => carrier.close(),
  };
}
