/** A client of the REST gateway that sends exactly what it is told to. */
import http from "node:http";
import { until } from "./until.ts";

export interface Reply {
  status: number;
  headers: http.IncomingHttpHeaders;
  text: string;
  // biome-ignore lint/suspicious/noExplicitAny: a test reads whatever came back
  body: any;
}

export interface Send {
  token?: string;
  headers?: http.OutgoingHttpHeaders;
  /** A string or bytes are sent as they are, anything else as JSON. */
  body?: unknown;
}

export class Client {
  readonly #url: string;
  readonly #agent = new http.Agent({ keepAlive: true, maxSockets: 256 });

  constructor(url: string) {
    this.#url = url;
  }

  close(): void {
    this.#agent.destroy();
  }

  send(method: string, path: string, { token, headers = {}, body }: Send = {}): Promise<Reply> {
    const raw = body === undefined || typeof body === "string" || Buffer.isBuffer(body);
    const bytes = (raw ? body : JSON.stringify(body)) as string | Buffer | undefined;
    const all: http.OutgoingHttpHeaders = {
      ...(bytes === undefined ? {} : { "content-type": "application/json" }),
      ...(bytes === undefined ? {} : { "content-length": Buffer.byteLength(bytes) }),
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      ...headers,
    };
    const { hostname, port } = new URL(this.#url);
    return new Promise((resolve, reject) => {
      const request = http.request(
        { hostname, port, agent: this.#agent, method, path, headers: all },
        (response) => {
          const chunks: Buffer[] = [];
          response.on("data", (chunk: Buffer) => chunks.push(chunk));
          response.on("error", reject);
          response.on("end", () => {
            const text = Buffer.concat(chunks).toString();
            resolve({
              status: response.statusCode ?? 0,
              headers: response.headers,
              text,
              body: parsed(text),
            });
          });
        },
      );
      request.on("error", reject);
      request.end(bytes);
    });
  }

  get(path: string, token?: string, headers?: http.OutgoingHttpHeaders): Promise<Reply> {
    return this.send("GET", path, { ...(token ? { token } : {}), ...(headers ? { headers } : {}) });
  }

  post(path: string, body: unknown, token?: string, headers?: http.OutgoingHttpHeaders): Promise<Reply> {
    return this.send("POST", path, { body, ...(token ? { token } : {}), ...(headers ? { headers } : {}) });
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

export interface User {
  id: string;
  email: string;
  token: string;
}

/** What shoppers and admins do, without the ceremony. Throws where the shop refuses what must succeed. */
export class Shopper extends Client {
  #made = 0;

  async login(email: string, password: string): Promise<string> {
    return (expectStatus(await this.post("/login", { email, password }), 200).body as { accessToken: string })
      .accessToken;
  }

  async register(name = "Ann"): Promise<User> {
    const email = `${name.toLowerCase()}.${++this.#made}@example.com`;
    const password = "correct horse battery";
    const { body } = expectStatus(await this.post("/register", { email, password, name }), 201);
    return { id: body.id, email, token: await this.login(email, password) };
  }

  async addProduct(admin: string, fields: Record<string, unknown> = {}) {
    const body = {
      sku: `SKU-${++this.#made}-${Math.random().toString(36).slice(2, 8)}`,
      name: "Mug",
      price: { amount: 990, currency: "EUR" },
      stock: 100,
      ...fields,
    };
    return expectStatus(await this.post("/products", body, admin), 201).body;
  }

  buy(user: User, productId: string, { quantity = 1, card = "tok_ok", key = "", ...rest }: Purchase = {}) {
    const body = { items: [{ productId, quantity }], payment: { token: card }, ...rest };
    return this.post("/orders", body, user.token, key ? { "idempotency-key": key } : {});
  }

  /** The product once no order holds any of it. */
  async quiet(productId: string) {
    return until(`nothing of ${productId} is reserved`, async () => {
      const { body } = await this.get(`/products/${productId}`);
      return body.stock === body.available && body;
    });
  }
}

export interface Purchase {
  quantity?: number;
  card?: string;
  key?: string;
  expectedTotal?: { amount: number; currency: string };
}

export function expectStatus(reply: Reply, status: number): Reply {
  if (reply.status !== status) throw new Error(`expected ${status}, got ${reply.status}: ${reply.text}`);
  return reply;
}
