/** A gateway in front of stand-in services, and a client that sends exactly what it is told to. */
import { generateKeyPairSync } from "node:crypto";
import http from "node:http";
import net from "node:net";
import jwt from "jsonwebtoken";
import { type BrokerOptions, ServiceBroker, type ServiceSchema } from "moleculer";
import gatewaySchema from "../../../services/api/api.service.ts";

export const USER_ID = "01900000-0000-7000-8000-000000000001";

export interface Signer {
  kid: string;
  jwk: Record<string, unknown>;
  sign(
    claims?: Record<string, unknown>,
    header?: Record<string, unknown>,
    options?: Partial<jwt.SignOptions>,
  ): string;
}

/** A key pair and a maker of tokens that are right unless `claims` or `header` say otherwise (undefined removes). */
export function signer(kid = "key-1"): Signer {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  return {
    kid,
    jwk: { ...publicKey.export({ format: "jwk" }), kid, alg: "ES256" },
    sign(claims = {}, header = {}, options = {}) {
      const now = Math.floor(Date.now() / 1_000);
      const standard = { iss: "concord", aud: "concord", sub: USER_ID, jti: "1", iat: now, exp: now + 900 };
      const payload = Object.entries({ ...standard, roles: ["user"], ...claims });
      return jwt.sign(Object.fromEntries(payload.filter(([, value]) => value !== undefined)), privateKey, {
        algorithm: "ES256",
        header: { alg: "ES256", typ: "at+jwt", kid, ...header } as jwt.JwtHeader,
        ...options,
      });
    },
  };
}

export interface Reply {
  status: number;
  headers: http.IncomingHttpHeaders;
  text: string;
  // biome-ignore lint/suspicious/noExplicitAny: a test reads whatever came back
  body: any;
}

export interface Request {
  method?: string;
  headers?: http.OutgoingHttpHeaders;
  /** A string or bytes are sent as they are, anything else as JSON. */
  body?: unknown;
  token?: string;
}

export class TestGateway {
  readonly broker: ServiceBroker;
  readonly keys = signer();
  readonly userToken = this.keys.sign();
  readonly adminToken = this.keys.sign({ roles: ["user", "admin"] });
  readonly logged: unknown[][] = [];

  constructor(
    services: ServiceSchema[],
    settings: Record<string, unknown> = {},
    options: Partial<BrokerOptions> = {},
  ) {
    this.broker = new ServiceBroker({
      nodeID: "secret-node",
      logger: false,
      registry: { stopDelay: 0 },
      ...options,
    });
    this.broker.createService({
      ...gatewaySchema,
      settings: {
        ...gatewaySchema.settings,
        port: 0,
        ip: "127.0.0.1",
        expectedServices: ["api"],
        ...settings,
      },
    } as ServiceSchema);
    const { jwk } = this.keys;
    this.broker.createService({ name: "auth", actions: { jwks: () => ({ keys: [jwk] }) } });
    for (const service of services) this.broker.createService(service);
    const { logger } = this.broker.getLocalService("api") as { logger: Record<string, unknown> };
    for (const level of ["warn", "error"])
      logger[level] = (...parts: unknown[]) => {
        this.logged.push([level, ...parts]);
      };
  }

  get server(): http.Server {
    return (this.broker.getLocalService("api") as unknown as { server: http.Server }).server;
  }

  get port(): number {
    return (this.server.address() as net.AddressInfo).port;
  }

  send(path: string, { method = "GET", headers = {}, body, token }: Request = {}): Promise<Reply> {
    const isRaw = body === undefined || typeof body === "string" || body instanceof Uint8Array;
    const bytes = isRaw ? (body as string | Uint8Array | undefined) : JSON.stringify(body);
    return new Promise((resolve, reject) => {
      const request = http.request({
        port: this.port,
        host: "127.0.0.1",
        path,
        method,
        agent: false,
        headers: {
          ...(bytes === undefined ? {} : { "content-type": "application/json", ...lengthOf(bytes, headers) }),
          ...(token ? { authorization: `Bearer ${token}` } : {}),
          ...headers,
        },
      });
      request.on("error", reject);
      request.on("response", (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk) => chunks.push(chunk));
        response.on("error", reject);
        response.on("end", () => {
          const text = Buffer.concat(chunks).toString("utf8");
          const isJson = /json/.test(response.headers["content-type"] ?? "") && text !== "";
          resolve({
            status: response.statusCode as number,
            headers: response.headers,
            text,
            body: isJson ? JSON.parse(text) : undefined,
          });
        });
      });
      request.end(bytes);
    });
  }

  /** Writes `text` to a fresh connection and answers all that comes back until the server closes it. */
  raw(text: string): Promise<string> {
    return new Promise((resolve, reject) => {
      const socket = net.connect(this.port, "127.0.0.1", () => socket.write(text, "latin1"));
      let received = "";
      socket.on("data", (chunk) => {
        received += chunk;
      });
      socket.on("error", reject);
      socket.on("end", () => {
        socket.end();
        resolve(received);
      });
    });
  }
}

const lengthOf = (bytes: string | Uint8Array, headers: http.OutgoingHttpHeaders): http.OutgoingHttpHeaders =>
  "transfer-encoding" in headers ? {} : { "content-length": Buffer.byteLength(bytes) };
