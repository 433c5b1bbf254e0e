/** What other services may know about `auth`: the shapes that its actions take and answer. */

/** POST /login. */
export interface LoginParams {
  email: string;
  password: string;
}

/** POST /token/refresh and POST /logout. */
export interface RefreshTokenParams {
  refreshToken: string;
}

/** POST /login and POST /token/refresh. */
export interface TokenAnswer {
  accessToken: string;
  tokenType: "Bearer";
  /** Seconds until the access token expires. */
  expiresIn: number;
  /** Good for one use and 30 days. */
  refreshToken: string;
}

/** `auth.endLogins`, called by user. */
export interface EndLoginsParams {
  userId: string;
}
export interface LoginsEnded {
  ended: number;
}

/** A public signing key (RFC 7517). */
export interface PublicJwk {
  kty: "EC";
  crv: "P-256";
  x: string;
  y: string;
  kid: string;
  alg: "ES256";
  use: "sig";
}

/** GET /.well-known/jwks.json: every key by which a token that has not expired may be signed. */
export interface JwksAnswer {
  keys: PublicJwk[];
}

/** `auth.keysRotated`, broadcast after a rotation so that verifiers fetch the keys before a new token reaches them. */
export interface KeysRotated {
  kid: string;
}
