/** An account at the shop that stays logged in: a token that has expired is refreshed, or the account logs in again. */
import { type ShopAnswer, type ShopClient, type ShopRequest, unexpected } from "./shop-client.ts";

interface Tokens {
  accessToken: string;
  refreshToken: string;
}

export class Account {
  readonly #client: ShopClient;
  readonly #email: string;
  readonly #password: string;
  #tokens: Tokens | undefined;
  #renewing: Promise<void> | undefined;

  constructor(client: ShopClient, email: string, password: string) {
    this.#client = client;
    this.#email = email;
    this.#password = password;
  }

  /** True where the account is new, false where it was there already. */
  async register(name: string): Promise<boolean> {
    const body = { email: this.#email, password: this.#password, name };
    const answer = await this.#client.send({ method: "POST", path: "/register", body });
    if (answer.status === 201) return true;
    if ((answer.body as { code?: string }).code === "email_taken") return false;
    throw unexpected(`registering ${this.#email}`, answer);
  }

  async login(): Promise<void> {
    const body = { email: this.#email, password: this.#password };
    const answer = await this.#client.send<Tokens>({ method: "POST", path: "/login", body });
    if (answer.status !== 200) throw unexpected(`logging in as ${this.#email}`, answer);
    this.#tokens = answer.body;
  }

  /** Sends with a token; one that is refused is renewed once. */
  async send<Body>(request: ShopRequest): Promise<ShopAnswer<Body>> {
    if (!this.#tokens) await this.#renew(undefined);
    const used = this.#tokens;
    const answer = await this.#client.send<Body>({ ...request, token: used?.accessToken });
    if (answer.status !== 401) return answer;
    await this.#renew(used);
    return this.#client.send<Body>({ ...request, token: this.#tokens?.accessToken });
  }

  /** Requests that find the same token refused share one renewal: a refresh token is good for one use. */
  async #renew(refused: Tokens | undefined): Promise<void> {
    if (this.#tokens !== refused) return;
    this.#renewing ??= this.#refreshOrLogin().finally(() => {
      this.#renewing = undefined;
    });
    await this.#renewing;
  }

  async #refreshOrLogin(): Promise<void> {
    const refreshToken = this.#tokens?.refreshToken;
    if (refreshToken) {
      const path = "/token/refresh";
      const answer = await this.#client.send<Tokens>({ method: "POST", path, body: { refreshToken } });
      if (answer.status === 200) {
        this.#tokens = answer.body;
        return;
      }
      // Spent by a refresh whose answer was lost, or expired.
      if (answer.status !== 401) throw unexpected(`refreshing the token of ${this.#email}`, answer);
    }
    await this.login();
  }
}
