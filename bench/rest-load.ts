/** Loads POST /orders over HTTP with autocannon: registered users, their tokens, one random product per order. */
import autocannon from "autocannon";
import { anyOf } from "./catalogue.ts";
import { type Measured, summarize } from "./load.ts";

const USERS = 8;
const PASSWORD = "load of the bench";

export async function loadRest(
  url: string,
  products: readonly string[],
  { clients, seconds }: { clients: number[]; seconds: number },
  report: (clients: number, measured: Measured) => void,
): Promise<void> {
  const tokens = await Promise.all(
    Array.from({ length: USERS }, (_, i) => signIn(url, `bench-${i}@example.com`)),
  );
  for (const connections of clients) {
    await fire(url, tokens, products, connections, seconds / 5); // warm-up
    report(connections, await fire(url, tokens, products, connections, seconds));
  }
}

async function signIn(url: string, email: string): Promise<string> {
  await post(`${url}/register`, { email, password: PASSWORD, name: "Bench" });
  const { accessToken } = (await post(`${url}/login`, { email, password: PASSWORD })) as {
    accessToken: string;
  };
  return accessToken;
}

async function post(url: string, body: object): Promise<unknown> {
  const response = await fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  if (!response.ok) throw new Error(`POST ${url} answered ${response.status}: ${await response.text()}`);
  return response.json();
}

function fire(
  url: string,
  tokens: string[],
  products: readonly string[],
  connections: number,
  seconds: number,
): Promise<Measured> {
  const latencies: number[] = [];
  let failed = 0;
  return new Promise((resolve, reject) => {
    const instance = autocannon(
      {
        url,
        connections,
        duration: seconds,
        requests: [
          {
            method: "POST",
            path: "/orders",
            setupRequest: (request) => ({
              ...request,
              headers: { "content-type": "application/json", authorization: `Bearer ${anyOf(tokens)}` },
              body: `{"items":[{"productId":"${anyOf(products)}","quantity":1}],"payment":{"token":"tok_ok"}}`,
            }),
          },
        ],
      },
      (err, result) => {
        if (err) reject(err);
        else resolve(summarize(latencies, result.duration, failed + result.errors));
      },
    );
    instance.on("response", (_client, statusCode, _bytes, responseTime) => {
      if (statusCode === 201) latencies.push(responseTime);
      else failed++;
    });
  });
}
