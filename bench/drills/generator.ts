/**
 * The customers of the drills, a program of its own so that its cost can be told from the shop's: orders (six in ten
 * unless told), reads (three) and logins (one). Like real clients they repeat what met a lost connection, an answer that does not
 * come, or a "not yet", with the same Idempotency-Key, on a new connection, waiting as long as they are asked to; what has no final answer
 * after 5 s has failed. In an open loop requests are due at a constant rate, whatever becomes of those before.
 */
import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { type ShopAnswer, ShopClient, type ShopRequest } from "../../scripts/replay/shop-client.ts";
import { type Customer, Customers } from "./customers.ts";
import {
  ANSWER_MS_MAX,
  type Answer,
  type Command,
  isFinal,
  type Kind,
  type Mix,
  monotonicMs,
  type Request,
} from "./traffic.ts";

const CUSTOMERS = 32;
const SKUS = 200;
const STOCK = 10_000_000;
/** Half of what a request may take: whoever waits longer for one connection has no time left for another. */
const ATTEMPT_MS_MAX = ANSWER_MS_MAX / 2;
const PAUSE_MS_MIN = 50;
const TICK_MS = 5;

const url = process.argv[2] ?? "";
const tell = (answer: Answer): void => void process.send?.(answer);

const shop = new ShopClient(url, { sockets: Number.POSITIVE_INFINITY, answerMsMax: ATTEMPT_MS_MAX });
/** Of clients that send once. */
const patient = new ShopClient(url, { sockets: Number.POSITIVE_INFINITY, answerMsMax: ANSWER_MS_MAX });
const any = <Item>(items: readonly Item[]): Item => items[Math.floor(Math.random() * items.length)] as Item;
let customers: Customer[] = [];
let emails: string[] = [];
let products: string[] = [];
let orderIds: string[] = [];

const is = (share: number): boolean => Math.random() < share;

/** `wanted`: its good answer, if it is not one below 300. */
function next(mix: Mix): { kind: Kind; request: ShopRequest; wanted?: number } {
  if (is(mix.orders)) {
    const declined = is(mix.declined);
    const token = declined ? "tok_declined" : "tok_ok";
    const body = { items: [{ productId: any(products), quantity: 1 }], payment: { token } };
    const request: ShopRequest = { method: "POST", path: "/orders", token: any(customers).token, body };
    return {
      kind: "order",
      request: { ...request, idempotencyKey: randomUUID() },
      ...(declined && { wanted: 402 }),
    };
  }
  if (is(0.25)) {
    const body = { email: any(emails), password: Customers.PASSWORD };
    return { kind: "login", request: { method: "POST", path: "/login", body } };
  }
  const path = is(0.5) ? `/products/${any(products)}` : "/products?limit=20";
  return { kind: "read", request: { method: "GET", path } };
}

const nameOf = ({ status, body }: ShopAnswer<{ code?: string; status?: unknown }>): string =>
  `${status} ${body.code ?? (typeof body.status === "string" ? body.status : "")}`.trim();

/** `sentAt`: when it was due. A generator that is late makes requests late; that must not look like a quick answer. */
async function ask(
  client: ShopClient,
  repeats: boolean,
  mix: Mix,
  sentAt: number = monotonicMs(),
): Promise<Request> {
  const { kind, request, wanted } = next(mix);
  const givesUpAt = sentAt + ANSWER_MS_MAX;
  let outcome = "";
  let retryAfter = false;
  for (let attempts = 1, pauseMs = PAUSE_MS_MIN; ; attempts++, pauseMs *= 2) {
    let asked = 0;
    try {
      const answer = await client.once<{ id?: string; code?: string; status?: unknown }>({
        ...request,
        fresh: attempts > 1,
      });
      const isOver = isFinal(answer);
      const isGood = wanted === undefined ? answer.status < 300 && isOver : answer.status === wanted;
      outcome = isGood ? "ok" : nameOf(answer);
      retryAfter = answer.headers["retry-after"] !== undefined;
      asked = Number(answer.headers["retry-after"] ?? 0) * 1_000;
      if (answer.status === 201 && kind === "order") orderIds.push(answer.body.id as string);
      if (isOver || !repeats)
        return { kind, sentAt, tookMs: monotonicMs() - sentAt, outcome, attempts, retryAfter };
    } catch (err) {
      const { code, message } = err as NodeJS.ErrnoException;
      outcome = code ?? message;
    }
    const pause = Math.max(asked, pauseMs) * (1 + Math.random() / 4);
    if (!repeats || monotonicMs() + pause > givesUpAt)
      return { kind, sentAt, tookMs: monotonicMs() - sentAt, outcome, attempts, retryAfter };
    await sleep(pause);
  }
}

/** A final answer that came after 5 s is none. */
const judged = (request: Request): Request =>
  request.tookMs > ANSWER_MS_MAX && request.outcome === "ok" ? { ...request, outcome: "too late" } : request;

async function closedLoop(clients: number, seconds: number, mix: Mix): Promise<void> {
  const until = monotonicMs() + seconds * 1_000;
  const failed: Record<string, number> = {};
  let ok = 0;
  const client = async () => {
    while (monotonicMs() < until) {
      const { outcome } = judged(await ask(shop, true, mix));
      if (outcome !== "ok") failed[outcome] = (failed[outcome] ?? 0) + 1;
      else if (monotonicMs() <= until) ok++;
    }
  };
  await Promise.all(Array.from({ length: clients }, client));
  tell({ kind: "measured", perSecond: Math.round((ok / seconds) * 10) / 10, failed });
}

let stop: (() => void) | undefined;

async function openLoop({
  perSecond,
  repeats,
  stubPerSecond,
  mix,
}: Extract<Command, { kind: "open" }>): Promise<void> {
  const stub = stubPerSecond > 0 ? await startStub() : undefined;
  const requests: Request[] = [];
  orderIds = [];
  const running = new Set<Promise<unknown>>();
  const track = (work: Promise<unknown>): void => {
    const tracked: Promise<unknown> = work.finally(() => running.delete(tracked));
    running.add(tracked);
  };
  const cpuBefore = process.cpuUsage();
  const startedAt = monotonicMs();
  let sent = 0;
  let stubbed = 0;
  const timer = setInterval(() => {
    const seconds = (monotonicMs() - startedAt) / 1_000;
    for (; sent < seconds * perSecond; sent++) {
      const request = ask(repeats ? shop : patient, repeats, mix, startedAt + (sent / perSecond) * 1_000);
      track(request.then((ended) => requests.push(judged(ended))));
    }
    for (; stub && stubbed < seconds * stubPerSecond; stubbed++) track(ask(stub.client, false, mix));
  }, TICK_MS);
  await new Promise<void>((resolve) => {
    stop = resolve;
  });
  clearInterval(timer);
  const seconds = (monotonicMs() - startedAt) / 1_000;
  const cpu = process.cpuUsage(cpuBefore);
  await Promise.all(running);
  stub?.close();
  const cpuShare = Math.round((cpu.user + cpu.system) / 10_000 / seconds) / 100;
  tell({ kind: "sent", requests, orderIds, cpuShare, seconds });
}

/** Costs its clients what a refusal of the shop costs them, and the machine next to nothing else. */
async function startStub() {
  const body = JSON.stringify({ code: "overloaded", status: 503 });
  const server = createServer((req, res) => {
    req.resume();
    res.writeHead(503, { "content-type": "application/problem+json", "retry-after": "1" }).end(body);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const client = new ShopClient(`http://127.0.0.1:${port}`, { sockets: Number.POSITIVE_INFINITY });
  return {
    client,
    close: () => {
      client.close();
      server.close();
      server.closeAllConnections();
    },
  };
}

process.on("disconnect", () => process.exit());
process.on("message", (command: Command) => {
  if (command.kind === "closed") void closedLoop(command.clients, command.seconds, command.mix);
  else if (command.kind === "open") void openLoop(command);
  else stop?.();
});

try {
  const setUp = new Customers(url, 8);
  customers = await setUp.signUp(CUSTOMERS);
  emails = customers.map(({ email }) => email);
  products = await setUp.addProducts(SKUS, STOCK);
  setUp.close();
  tell({ kind: "ready" });
} catch (err) {
  tell({ kind: "failed", message: (err as Error).message });
}
