/**
 * user: accounts, their credentials and profiles. It alone sees passwords and their hashes; auth asks it whether
 * credentials are right and gets an identity or nothing.
 */
import { randomBytes } from "node:crypto";
import type { Context, Service, ServiceSchema } from "moleculer";
import { config } from "../../config/index.ts";
import { ShopError } from "../../lib/errors.ts";
import { newId } from "../../lib/ids.ts";
import { ONE_LINE } from "../../lib/text.ts";
import { type Database, databaseMixin } from "../../mixins/database.mixin.ts";
import { remainingMs } from "../../mixins/deadline.middleware.ts";
import { outboxMixin } from "../../mixins/events/outbox.mixin.ts";
import { judged } from "../../mixins/login.throttle.ts";
import { openThrottle } from "../../mixins/shared.throttle.ts";
import { traceparentOf } from "../../mixins/traces.ts";
import type {
  Contact,
  ContactsParams,
  CredentialsParams,
  Identity,
  PasswordParams,
  RegisterParams,
  UserView,
} from "./api.ts";
import { type AuthPort, openAuthPort } from "./auth.port.ts";
import { ensureFirstAdmin } from "./first-admin.ts";
import { PROFILE_OPENAPI, REGISTER_OPENAPI } from "./openapi.ts";
import { type Hasher, openHasher } from "./password.hasher.ts";
import { passwordFault, WRITTEN_MAX } from "./password.ts";
import {
  findContacts,
  findUserByEmail,
  findUserById,
  registerUser,
  replacePasswordHash,
  secretOf,
} from "./user.repository.ts";
import { EMAIL_LENGTH_MAX, EMAIL_PATTERN, viewOf } from "./user.ts";

interface Vars {
  db: Database;
  auth: AuthPort;
  throttle: ReturnType<typeof openThrottle>;
  hasher: Hasher;
  firstAdminPassword: string | null;
}
type UserService = Service & Vars;
interface Meta {
  user: Identity | null;
  clientAddress?: string;
}

/** The finer rules (the blocklist, and no minimum here, because NFKC makes eight characters of one) are password.ts's. */
const NEW_PASSWORD = {
  type: "string",
  max: WRITTEN_MAX,
  description: "8 to 256 characters, counted after NFKC.",
} as const;
const PEPPER_BYTES = 32;
/** More than notification asks for at once. */
const CONTACTS_MAX = 1_000;

const user = {
  name: "user",
  mixins: [outboxMixin, databaseMixin("user", new URL("./migrations/", import.meta.url))],
  settings: { rest: "/" },

  actions: {
    register: {
      rest: "POST /register",
      auth: "none",
      successStatus: 201,
      openapi: REGISTER_OPENAPI,
      params: {
        $$strict: true,
        email: { type: "string", trim: true, max: EMAIL_LENGTH_MAX, pattern: EMAIL_PATTERN },
        password: NEW_PASSWORD,
        name: { ...ONE_LINE, trim: true, min: 1, max: 200 },
      },
      async handler(this: UserService, ctx: Context<RegisterParams>): Promise<UserView> {
        const { email, password, name } = ctx.params;
        const fault = passwordFault(password);
        if (fault) throw new ShopError("validation_failed", fault.message, { errors: [fault] });
        // Looked up first, so that a taken address does not cost a hash; the insert decides between rivals.
        const taken = await findUserByEmail(this.db, email);
        const created = taken
          ? undefined
          : await registerUser(
              this.db,
              {
                id: newId(),
                email,
                name,
                passwordHash: await this.hasher.hash(password, remainingMs(ctx)),
                roles: ["user"],
              },
              traceparentOf(ctx),
            );
        if (!created)
          throw new ShopError("email_taken", `There is an account for ${email} already; log in instead.`);
        return viewOf(created);
      },
    },

    profile: {
      rest: "GET /profile",
      auth: "user",
      idempotent: true,
      openapi: PROFILE_OPENAPI,
      params: { $$strict: true },
      async handler(this: UserService, ctx: Context<object, Meta>): Promise<UserView> {
        const id = ctx.meta.user?.id;
        const found = id === undefined ? undefined : await findUserById(this.db, id);
        if (!found)
          throw new ShopError("unauthorized", "The account of this token does not exist; log in again.");
        return viewOf(found);
      },
    },

    /**
     * First the password, then the logins: where auth is away the answer is 503, and the same request sent again, which
     * finds the new password in force, ends them.
     */
    changePassword: {
      rest: "PUT /profile/password",
      auth: "user",
      successStatus: 204,
      idempotent: true,
      // As for a login: where replicas count failures for themselves, the same one counts those of an account.
      key: "#user.id",
      openapi: {
        summary: "Change your password",
        description:
          "Ends every login of the account. Access tokens stay good until they expire, 15 minutes at most.",
        tags: ["accounts"],
      },
      params: {
        $$strict: true,
        currentPassword: { type: "string", min: 1, max: 1024 },
        newPassword: NEW_PASSWORD,
      },
      async handler(this: UserService, ctx: Context<PasswordParams, Meta>): Promise<void> {
        const { currentPassword, newPassword } = ctx.params;
        const fault = passwordFault(newPassword);
        if (fault)
          throw new ShopError("validation_failed", fault.message, {
            errors: [{ ...fault, pointer: "/newPassword" }],
          });
        const id = ctx.meta.user?.id;
        const found = id === undefined ? undefined : await findUserById(this.db, id);
        if (!found)
          throw new ShopError("unauthorized", "The account of this token does not exist; log in again.");
        const was = found.passwordHash;
        const address = ctx.meta.clientAddress ?? "";
        const holds = await judged(this.throttle, { account: found.email, address }, async () => {
          if (await this.hasher.matches(currentPassword, was, remainingMs(ctx))) return "current";
          // The guess is judged by now, and counts also where this cannot be.
          const isRepeat = await this.hasher.matches(newPassword, was, remainingMs(ctx)).catch(() => false);
          return isRepeat ? "new" : null;
        });
        if (holds === null) throw new ShopError("invalid_credentials", "The current password is wrong.");
        if (holds === "current") {
          const becomes = await this.hasher.hash(newPassword, remainingMs(ctx));
          if (!(await replacePasswordHash(this.db, { id: found.id, was, becomes })))
            throw new ShopError(
              "invalid_credentials",
              "The password was changed by another request just now.",
            );
        }
        const ended = await this.auth.endLogins(ctx, found.id);
        this.logger.info(`user ${found.id} has a new password; ${ended} logins ended`);
      },
    },

    /** Called by auth at login. Null where the address is unknown or the password wrong, in the same time. */
    verifyCredentials: {
      rest: "POST /internal/user/verify-credentials",
      auth: "service",
      idempotent: true,
      params: { $$strict: true, email: "string", password: "string" },
      async handler(this: UserService, ctx: Context<CredentialsParams>): Promise<Identity | null> {
        const { email, password } = ctx.params;
        const found = await findUserByEmail(this.db, email);
        const isRight = await this.hasher.matches(password, found?.passwordHash, remainingMs(ctx));
        if (!isRight || !found) return null;
        // A changed BCRYPT_COST reaches old accounts here; else their logins would differ in time from unknown ones.
        if (this.hasher.outdated(found.passwordHash)) {
          const becomes = await this.hasher.hash(password);
          await replacePasswordHash(this.db, { id: found.id, was: found.passwordHash, becomes });
        }
        return { id: found.id, roles: found.roles };
      },
    },

    /** Called by auth when a token is refreshed. Null where there is no such account. */
    get: {
      rest: "POST /internal/user/get",
      auth: "service",
      idempotent: true,
      params: { $$strict: true, id: "uuid" },
      async handler(this: UserService, ctx: Context<{ id: string }>): Promise<UserView | null> {
        const found = await findUserById(this.db, ctx.params.id);
        return found ? viewOf(found) : null;
      },
    },

    /** Called by notification before it writes to somebody. Accounts that do not exist are left out. */
    contacts: {
      rest: "POST /internal/user/contacts",
      auth: "service",
      idempotent: true,
      params: { $$strict: true, ids: { type: "array", max: CONTACTS_MAX, items: "uuid" } },
      handler(this: UserService, ctx: Context<ContactsParams>): Promise<Contact[]> {
        return findContacts(this.db, ctx.params.ids);
      },
    },

    /**
     * The password that was made for the first administrator: once, and to this process alone (`protected` actions
     * are not announced to other nodes). Called by the start script to print it.
     */
    firstAdminPassword: {
      visibility: "protected",
      handler(this: UserService): string | null {
        const password = this.firstAdminPassword;
        this.firstAdminPassword = null;
        return password;
      },
    },
  },

  created(this: UserService) {
    this.auth = openAuthPort();
    this.throttle = openThrottle(this.logger);
  },

  async started(this: UserService) {
    const pepper = await secretOf(this.db, { name: "pepper", candidate: randomBytes(PEPPER_BYTES) });
    this.hasher = openHasher({ pepper, cost: config.bcryptCost });
    const outcome = await ensureFirstAdmin(this.db, this.hasher, {
      email: config.adminEmail,
      password: config.adminPassword,
      mayMake: !this.broker.options.transporter,
    });
    this.firstAdminPassword = outcome.madePassword ?? null;
    if (outcome.problem) this.logger.warn(outcome.problem);
  },

  async stopped(this: UserService) {
    await this.hasher?.close();
    this.throttle.close();
    this.auth.close();
  },
};

export default user as unknown as ServiceSchema;
