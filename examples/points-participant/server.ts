/**
 * A participant of the shop's transactions that shares nothing with it but the contract in proto/: a ledger of loyalty
 * points, which earns every order its points or, with the order, nothing. Serves shop.v1.Participant, and asks the shop's
 * shop.v1.TransactionManager about votes in doubt. Configured by PORT, DATABASE_URL, SHOP (host:port) and PARTICIPANT_TOKEN.
 */
import { timingSafeEqual } from "node:crypto";
import { readFileSync } from "node:fs";
import * as grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { type Acknowledgement, type Entry, Ledger } from "./ledger.ts";

const { PORT = "50061", DATABASE_URL, SHOP = "127.0.0.1:50051", PARTICIPANT_TOKEN } = process.env;
if (!DATABASE_URL || !PARTICIPANT_TOKEN) throw new Error("set DATABASE_URL and PARTICIPANT_TOKEN");

/** A vote is asked about when it has waited this long, and then again after each of these. */
const ASK_EVERY_MS = 500;
const ASK_AFTER_MS = 1_000;

const file = (name: string): string => new URL(name, import.meta.url).pathname;
const definition = loadSync("shop/v1/transactions.proto", {
  includeDirs: [file("../../proto/")],
  longs: Number,
  enums: String,
  defaults: true,
});
// biome-ignore lint/suspicious/noExplicitAny: what grpc-js makes of a contract has no type
const { shop } = grpc.loadPackageDefinition(definition) as any;

const ledger = new Ledger(DATABASE_URL);
await ledger.open(readFileSync(file("schema.sql"), "utf8"));

type Call = grpc.ServerUnaryCall<Record<string, unknown>, object>;

/** A method whose failure is UNAVAILABLE: the managers say everything again until they have an answer. */
const method =
  (work: (request: never) => Promise<object>) =>
  async (call: Call, callback: grpc.sendUnaryData<object>): Promise<void> => {
    if (!isFromShop(call.metadata)) {
      callback({ code: grpc.status.UNAUTHENTICATED, details: "wrong token" });
      return;
    }
    try {
      callback(null, await work(call.request as never));
    } catch (err) {
      console.error("failed:", (err as Error).message);
      callback({ code: grpc.status.UNAVAILABLE, details: "try again" });
    }
  };

function isFromShop(metadata: grpc.Metadata): boolean {
  const sent = Buffer.from(String(metadata.get("authorization")[0] ?? ""));
  const expected = Buffer.from(`Bearer ${PARTICIPANT_TOKEN}`);
  return sent.length === expected.length && timingSafeEqual(sent, expected);
}

/** One entry after the other: its failure is its own, and the others' votes stand. */
async function prepare({ entries }: { entries: (Omit<Entry, "request"> & { request: string })[] }) {
  const replies = entries.map(async ({ request, ...entry }) => {
    try {
      const reply = await ledger.prepare({ ...entry, request: JSON.parse(request) });
      return { ...reply, kind: `VOTE_KIND_${reply.kind}` };
    } catch (err) {
      console.error(`prepare of ${entry.txId} failed:`, (err as Error).message);
      return { kind: "VOTE_KIND_ERROR", code: "unavailable", message: "the ledger cannot be reached" };
    }
  });
  return { replies: await Promise.all(replies) };
}

const decide = (settle: (txId: string) => Promise<Acknowledgement>) =>
  method(async ({ txIds }: { txIds: string[] }) => ({
    replies: await Promise.all(txIds.map(async (txId) => `ACKNOWLEDGEMENT_${await settle(txId)}`)),
  }));

const server = new grpc.Server();
server.addService(shop.v1.Participant.service, {
  Prepare: method(prepare),
  Commit: decide((txId) => ledger.commit(txId)),
  Abort: decide((txId) => ledger.abort(txId)),
  RaiseSeal: method(async ({ upTo }: { upTo: string }) => ({ seal: await ledger.raiseSeal(upTo) })),
  Prune: method(async ({ watermark, limit }: { watermark: string; limit: number }) => ({
    deleted: await ledger.prune(watermark, limit),
  })),
});
const port = await new Promise<number>((resolve, reject) => {
  server.bindAsync(`0.0.0.0:${PORT}`, grpc.ServerCredentials.createInsecure(), (err, bound) =>
    err ? reject(err) : resolve(bound),
  );
});
console.log(`the points ledger listens on ${port}`);

const managers = new shop.v1.TransactionManager(SHOP, grpc.credentials.createInsecure(), {
  "grpc.max_reconnect_backoff_ms": 2_000,
});
const metadata = new grpc.Metadata();
metadata.set("authorization", `Bearer ${PARTICIPANT_TOKEN}`);

/** Since when a vote is seen in doubt here, by a clock that cannot jump. A restart begins anew, which is allowed. */
const since = new Map<string, number>();

/** Asks about what is in doubt, for ever: nothing here ends a vote by itself. */
async function inquire(): Promise<void> {
  const now = performance.now();
  const txIds = await ledger.inDoubt();
  for (const txId of since.keys()) if (!txIds.includes(txId)) since.delete(txId);
  for (const txId of txIds) if (!since.has(txId)) since.set(txId, now);
  const waitedMs = (txId: string) => Math.round(now - (since.get(txId) as number));
  const doubts = txIds.filter((txId) => waitedMs(txId) >= ASK_AFTER_MS);
  if (doubts.length === 0) return;
  const request = { inquiries: doubts.map((txId) => ({ txId, waitedMs: waitedMs(txId) })) };
  const { outcomes } = await new Promise<{ outcomes: string[] }>((resolve, reject) => {
    managers.Outcome(
      request,
      metadata,
      { deadline: Date.now() + 3_000 },
      (err: Error | null, answer: never) => (err ? reject(err) : resolve(answer)),
    );
  });
  for (const [i, txId] of doubts.entries()) {
    if (outcomes[i] === "OUTCOME_COMMIT") await ledger.commit(txId);
    else if (outcomes[i] === "OUTCOME_ABORT") await ledger.abort(txId);
    else if (outcomes[i] === "OUTCOME_FORGOTTEN")
      console.error(`needs an operator: ${txId} is in doubt here and forgotten by the shop`);
  }
}

async function keepAsking(): Promise<void> {
  for (;;) {
    await inquire().catch((err) => console.error("cannot ask:", err.message));
    await new Promise((resolve) => setTimeout(resolve, ASK_EVERY_MS));
  }
}
void keepAsking();

process.once("SIGTERM", () => {
  server.tryShutdown(() => process.exit(0));
});
