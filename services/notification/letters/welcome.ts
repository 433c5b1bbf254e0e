/** The letter to somebody who has registered. Pure. */
import type { UserRegisteredV1 } from "../../user/api.ts";
import { html, oneLine } from "./html.ts";
import { type Letter, page, paragraphs } from "./layout.ts";

/** The address is that of the registration. */
export type UserContent = Pick<UserRegisteredV1, "name" | "email">;

export function welcome({ name, email }: UserContent): Letter {
  const greeting = `Welcome to the shop, ${oneLine(name)}.`;
  const account = `Your account is ${oneLine(email)}.`;
  return {
    subject: "Welcome",
    text: paragraphs(greeting, account),
    html: page(
      "Welcome",
      html`<p>${greeting}</p>
<p>${account}</p>`,
    ),
  };
}
