/**
 * auth: who may call as whom. It holds the private signing keys, hands out access and refresh tokens, and publishes
 * the public keys, by which every other service verifies tokens without asking.
 *
 * An access token cannot be taken back: after a logout or a loss of roles it stays good for its 15 minutes at most.
 */
import { createPrivateKey, type KeyObject } from "node:crypto";
import type { Context, Service, ServiceSchema } from "moleculer";
import { ShopError } from "../../lib/errors.ts";
import { newId } from "../../lib/ids.ts";
import { stopStep } from "../../lib/stop.ts";
import { ONE_LINE } from "../../lib/text.ts";
import { type Database, databaseMixin } from "../../mixins/database.mixin.ts";
import { judged } from "../../mixins/login.throttle.ts";
import { openThrottle } from "../../mixins/shared.throttle.ts";
import type { Identity } from "../user/api.ts";
import { ACCESS_TOKEN_SECONDS, signAccessToken } from "./access-token.ts";
import type {
  EndLoginsParams,
  JwksAnswer,
  KeysRotated,
  LoginParams,
  LoginsEnded,
  RefreshTokenParams,
  TokenAnswer,
} from "./api.ts";
import {
  deleteExpired,
  holderOf,
  insertFamily,
  revokeByToken,
  revokeByUser,
  rotateToken,
} from "./auth.repository.ts";
import {
  deleteDeadKeys,
  insertFirstKey,
  replaceSigner,
  signerKey,
  signerKid,
  verifyingKeys,
} from "./key.repository.ts";
import { JWKS_OPENAPI, LOGIN_OPENAPI, REFRESH_OPENAPI } from "./openapi.ts";
import { hashOf, makeRefreshToken } from "./refresh-token.ts";
import { makeSigningKey } from "./signing-key.ts";
import { openUserPort, type UserPort } from "./user.port.ts";

interface Vars {
  db: Database;
  users: UserPort;
  throttle: ReturnType<typeof openThrottle>;
  /** This process's copy of the key that signs. */
  signer: { kid: string; key: KeyObject } | undefined;
  tidyTimer: NodeJS.Timeout | undefined;
  tidying: Promise<void>;
  verify(ctx: Context, params: LoginParams, address: string): Promise<Identity>;
  accessTokenFor(identity: Identity): Promise<string>;
  tidy(): Promise<void>;
}
type AuthService = Service & Vars;
interface Meta {
  clientAddress?: string;
}

const TIDY_EVERY_MS = 60 * 60_000;
/** Longer than any of ours, so that its form stays our own affair: whatever it is, it is known or it is not. */
const REFRESH_TOKEN_CHARS_MAX = 512;

const refreshTokenParams = {
  $$strict: true,
  refreshToken: { type: "string", min: 1, max: REFRESH_TOKEN_CHARS_MAX },
};

const answerOf = (accessToken: string, refreshToken: string): TokenAnswer => ({
  accessToken,
  tokenType: "Bearer",
  expiresIn: ACCESS_TOKEN_SECONDS,
  refreshToken,
});

const auth = {
  name: "auth",
  mixins: [databaseMixin("auth", new URL("./migrations/", import.meta.url))],
  settings: { rest: "/" },

  actions: {
    login: {
      rest: "POST /login",
      auth: "none",
      // Where replicas count failures for themselves, the same one counts those of an account.
      key: "email",
      openapi: LOGIN_OPENAPI,
      params: {
        $$strict: true,
        // Not the address syntax of registering: what cannot be an address is only an unknown one.
        email: { ...ONE_LINE, trim: true, min: 1, max: 254 },
        password: { type: "string", min: 1, max: 1024 },
      },
      async handler(this: AuthService, ctx: Context<LoginParams, Meta>): Promise<TokenAnswer> {
        const identity = await this.verify(ctx, ctx.params, ctx.meta.clientAddress ?? "");
        const refresh = makeRefreshToken();
        const accessToken = await this.accessTokenFor(identity);
        await insertFamily(this.db, { id: newId(), userId: identity.id, hash: refresh.hash });
        return answerOf(accessToken, refresh.token);
      },
    },

    /** A repeat is reuse and revokes the login, so it must not be retried. */
    refresh: {
      rest: "POST /token/refresh",
      auth: "none",
      openapi: REFRESH_OPENAPI,
      params: refreshTokenParams,
      async handler(this: AuthService, ctx: Context<RefreshTokenParams>): Promise<TokenAnswer> {
        const hash = hashOf(ctx.params.refreshToken);
        const userId = await holderOf(this.db, hash);
        // Everything that may fail comes before the rotation: a token that is spent for nothing cannot be used again.
        const account = userId && (await this.users.get(ctx, userId));
        if (!account) throw refreshRefused();
        const accessToken = await this.accessTokenFor({ id: account.id, roles: account.roles });
        const next = makeRefreshToken();
        const rotation = await rotateToken(this.db, { hash, next: next.hash });
        if (rotation === "reused")
          this.logger.warn(`a refresh token of user ${userId} was used twice: its login is revoked`);
        if (rotation !== "rotated") throw refreshRefused();
        return answerOf(accessToken, next.token);
      },
    },

    /**
     * The refresh token is the credential, so no access token is asked for: it may have expired. An unknown token
     * is answered like a known one (RFC 7009, 2.2).
     */
    logout: {
      rest: "POST /logout",
      auth: "none",
      successStatus: 204,
      idempotent: true,
      openapi: {
        summary: "Log out",
        description:
          "Revokes the refresh token and its successors. The access token stays good until it expires, 15 minutes at most.",
        tags: ["accounts"],
      },
      params: refreshTokenParams,
      async handler(this: AuthService, ctx: Context<RefreshTokenParams>): Promise<void> {
        await revokeByToken(this.db, hashOf(ctx.params.refreshToken));
      },
    },

    /** Called by user when a password has changed. Access tokens stay good until they expire. */
    endLogins: {
      rest: "POST /internal/auth/end-logins",
      auth: "service",
      idempotent: true,
      params: { $$strict: true, userId: "uuid" },
      async handler(this: AuthService, ctx: Context<EndLoginsParams>): Promise<LoginsEnded> {
        return { ended: await revokeByUser(this.db, ctx.params.userId) };
      },
    },

    /** Read from the database each time: a verifier that meets a new kid must find it here. Verifiers cache it. */
    jwks: {
      rest: "GET /.well-known/jwks.json",
      auth: "none",
      idempotent: true,
      openapi: JWKS_OPENAPI,
      params: { $$strict: true },
      async handler(this: AuthService): Promise<JwksAnswer> {
        return { keys: await verifyingKeys(this.db) };
      },
    },

    /** Called by an operator. The new key signs from now on; the old one verifies until its last token has expired. */
    rotateKeys: {
      params: { $$strict: true },
      async handler(this: AuthService, ctx: Context): Promise<KeysRotated> {
        const key = await makeSigningKey();
        await replaceSigner(this.db, key);
        this.logger.info(`key ${key.kid} signs from now on`);
        const rotated: KeysRotated = { kid: key.kid };
        await ctx.broadcast("auth.keysRotated", rotated);
        return rotated;
      },
    },
  },

  methods: {
    /** Who these credentials belong to. The two refusals say nothing about whether the account exists. */
    async verify(this: AuthService, ctx: Context, params: LoginParams, address: string): Promise<Identity> {
      const identity = await judged(this.throttle, { account: params.email, address }, () =>
        this.users.verifyCredentials(ctx, params),
      );
      if (!identity)
        throw new ShopError("invalid_credentials", "The email address or the password is wrong.");
      return identity;
    },

    /** Asks for the kid each time, so that no replica signs with a key that another one has retired. */
    async accessTokenFor(this: AuthService, identity: Identity): Promise<string> {
      if (this.signer?.kid !== (await signerKid(this.db))) {
        const { kid, privateJwk } = await signerKey(this.db);
        this.signer = { kid, key: createPrivateKey({ key: privateJwk, format: "jwk" }) };
      }
      return signAccessToken(identity, this.signer);
    },

    async tidy(this: AuthService): Promise<void> {
      try {
        await deleteExpired(this.db);
        await deleteDeadKeys(this.db);
      } catch (err) {
        // What has expired opens nothing, so it may lie until the next tick.
        this.logger.warn("expired tokens could not be deleted; the next tick tries again", err);
      }
    },
  },

  created(this: AuthService) {
    this.throttle = openThrottle(this.logger);
    this.users = openUserPort();
    this.tidying = Promise.resolve();
  },

  async started(this: AuthService) {
    await insertFirstKey(this.db, await makeSigningKey());
    this.tidyTimer = setInterval(() => {
      this.tidying = this.tidy();
    }, TIDY_EVERY_MS).unref();
  },

  async stopped(this: AuthService) {
    clearInterval(this.tidyTimer);
    this.throttle.close();
    await stopStep("actors", this.logger, this.tidying, () => "old logins that are being deleted");
    this.users.close();
  },
};

const refreshRefused = (): ShopError =>
  new ShopError("unauthorized", "The refresh token is unknown, expired, revoked or spent; log in again.");

export default auth as unknown as ServiceSchema;
