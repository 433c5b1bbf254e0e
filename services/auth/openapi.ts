/** How tokens and keys look in the OpenAPI document (JSON Schema 2020-12). */
const text = { type: "string" } as const;

const TOKEN_SCHEMAS = {
  Tokens: {
    type: "object",
    required: ["accessToken", "tokenType", "expiresIn", "refreshToken"],
    properties: {
      accessToken: text,
      tokenType: { const: "Bearer" },
      expiresIn: { type: "integer", description: "Seconds until the access token expires." },
      refreshToken: { ...text, description: "Good for one use and 30 days." },
    },
  },
};

const KEY_SCHEMAS = {
  Keys: {
    type: "object",
    description: "A JSON Web Key Set (RFC 7517).",
    required: ["keys"],
    properties: {
      keys: {
        type: "array",
        items: {
          type: "object",
          required: ["kty", "crv", "x", "y", "kid", "alg", "use"],
          properties: {
            kty: { const: "EC" },
            crv: { const: "P-256" },
            x: text,
            y: text,
            kid: text,
            alg: { const: "ES256" },
            use: { const: "sig" },
          },
        },
      },
    },
  },
};

const tokensResponse = (description: string) => ({
  tags: ["accounts"],
  schemas: TOKEN_SCHEMAS,
  responses: { 200: { description, schema: { $ref: "#/components/schemas/Tokens" } } },
});

export const LOGIN_OPENAPI = { summary: "Log in", ...tokensResponse("Logged in.") };

export const REFRESH_OPENAPI = {
  summary: "Exchange a refresh token for new tokens",
  ...tokensResponse("New tokens; the one that was sent is spent."),
};

export const JWKS_OPENAPI = {
  summary: "The public keys that verify access tokens",
  tags: ["accounts"],
  schemas: KEY_SCHEMAS,
  responses: {
    200: {
      description: "Every key by which a token that has not expired may be signed.",
      schema: { $ref: "#/components/schemas/Keys" },
    },
  },
};
