/** What the drills ask of a shop over HTTP: accounts, products, and orders that are sent once and never repeated. */
import { eachOf } from "../../scripts/replay/each-of.ts";
import { type ShopAnswer, ShopClient, unexpected } from "../../scripts/replay/shop-client.ts";
import { ADMIN } from "./shop.ts";

/** Password hashes cost the shop's processors; more at once would only wait. */
const SIGN_INS_AT_ONCE = 8;

export interface Customer {
  id: string;
  email: string;
  token: string;
}

export interface OrderAnswer {
  id: string;
  status: string;
  code?: string;
}

export interface Purchase {
  customer: Customer;
  productId: string;
  /** The card's token; tok_ok by default. */
  card?: string;
  key?: string;
}

const PRODUCT = { name: "Drill", price: { amount: 1_999, currency: "EUR" } };

export class Customers {
  static readonly PASSWORD = "a customer of the drills";
  readonly #client: ShopClient;
  #admin: string | undefined;
  #made = 0;

  /** `connections` at most are open at once. */
  constructor(url: string, connections: number) {
    this.#client = new ShopClient(url, { sockets: connections });
  }

  close(): void {
    this.#client.close();
  }

  async signUp(count: number): Promise<Customer[]> {
    const customers: Customer[] = [];
    await eachOf(Array.from({ length: count }), SIGN_INS_AT_ONCE, async () => {
      const email = `customer-${++this.#made}@drill.example`;
      const body = { email, password: Customers.PASSWORD, name: "Drill" };
      const answer = await this.#client.send<{ id: string }>({ method: "POST", path: "/register", body });
      if (answer.status !== 201) throw unexpected(`registering ${email}`, answer);
      customers.push({ id: answer.body.id, email, token: await this.#logIn(email, Customers.PASSWORD) });
    });
    return customers;
  }

  /** The ids of `count` new products with `stock` each. */
  async addProducts(count: number, stock: number): Promise<string[]> {
    this.#admin ??= await this.#logIn(ADMIN.email, ADMIN.password);
    const ids: string[] = [];
    await eachOf(Array.from({ length: count }), SIGN_INS_AT_ONCE, async () => {
      const sku = `DRILL-${++this.#made}`;
      const body = { ...PRODUCT, sku, stock };
      const answer = await this.#client.send<{ id: string }>({
        method: "POST",
        path: "/products",
        body,
        token: this.#admin,
      });
      if (answer.status !== 201) throw unexpected(`adding ${sku}`, answer);
      ids.push(answer.body.id);
    });
    return ids;
  }

  /** Gives it another price. False where that did not come to be, or nobody can tell. */
  async editProduct(productId: string, amount: number): Promise<boolean> {
    this.#admin ??= await this.#logIn(ADMIN.email, ADMIN.password);
    const body = { ...PRODUCT, sku: `EDITED-${productId}`, price: { amount, currency: "EUR" }, stock: 1 };
    const request = { method: "PUT", path: `/products/${productId}`, body, token: this.#admin } as const;
    const answer = await this.#client.once(request).catch(() => undefined);
    return answer?.status === 200;
  }

  /** One request, whatever comes of it. Rejects where no whole answer came. */
  order({ customer, productId, card = "tok_ok", key }: Purchase): Promise<ShopAnswer<OrderAnswer>> {
    return this.#client.once<OrderAnswer>({
      method: "POST",
      path: "/orders",
      token: customer.token,
      ...(key !== undefined && { idempotencyKey: key }),
      body: { items: [{ productId, quantity: 1 }], payment: { token: card } },
    });
  }

  async #logIn(email: string, password: string): Promise<string> {
    const answer = await this.#client.send<{ accessToken: string }>({
      method: "POST",
      path: "/login",
      body: { email, password },
    });
    if (answer.status !== 200) throw unexpected(`logging in as ${email}`, answer);
    return answer.body.accessToken;
  }
}
