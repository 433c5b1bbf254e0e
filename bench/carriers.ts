/**
 * `npm run bench:carriers`: what one call to another node costs, by the way it takes: in process, over NATS, over the
 * stream that our nodes keep open, and as a unary gRPC call of anybody. Two processes on loopback, rounds interleaved,
 * medians of the rounds. Starts and stops everything itself.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { Client, credentials, Metadata, type MethodDefinition } from "@grpc/grpc-js";
import { newId } from "../lib/ids.ts";
import { definitionOf } from "../proto/contract.ts";
import { Prepare } from "../proto/transactions.ts";
import { readArguments } from "../scripts/arguments.ts";
import { startNats } from "../scripts/servers/nats.ts";
import { BATCH, openNode } from "./carriers/open.ts";

const USAGE = "usage: npm run bench:carriers [-- --rounds N] [--seconds N] [--json]";

const { values } = readArguments(USAGE, {
  options: {
    rounds: { type: "string", default: "5" },
    seconds: { type: "string", default: "1" },
    json: { type: "boolean", default: false },
  },
});
const rounds = Number(values.rounds);
const ms = Number(values.seconds) * 1_000;

type Call = () => Promise<unknown>;
interface Round {
  p50: number;
  p99: number;
  perSecond: number;
}

async function measure(call: Call, inFlight: number): Promise<Round> {
  const latencies: number[] = [];
  const startedAt = performance.now();
  const until = startedAt + ms;
  await Promise.all(
    Array.from({ length: inFlight }, async () => {
      for (let at = performance.now(); at < until; ) {
        await call();
        const now = performance.now();
        latencies.push(now - at);
        at = now;
      }
    }),
  );
  const seconds = (performance.now() - startedAt) / 1_000;
  latencies.sort((a, b) => a - b);
  const at = (share: number) => latencies[Math.floor(latencies.length * share)] ?? 0;
  return { p50: at(0.5), p99: at(0.99), perSecond: latencies.length / seconds };
}

const median = (numbers: number[]): number =>
  [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? 0;

const nats = await startNats();
const namespace = `bench-${newId()}`;
const node = spawn(
  process.execPath,
  [new URL("./carriers/node.ts", import.meta.url).pathname, nats.url, namespace],
  { stdio: ["ignore", "pipe", "inherit"] },
);
const overNats = openNode({ url: nats.url, namespace, nodeID: "nats", hosts: false, streams: false });
const overStream = openNode({ url: nats.url, namespace, nodeID: "stream", hosts: false });
const inProcess = openNode({ namespace: "alone", nodeID: "alone", hosts: true, streams: false });
try {
  const [port] = (await once(node.stdout, "data")) as [Buffer];
  await Promise.all([overNats, overStream, inProcess].map(({ broker }) => broker.start()));
  await Promise.all([overNats, overStream].map(({ broker }) => broker.waitForServices("remote", 10_000, 20)));
  const client = new Client(`127.0.0.1:${String(port).trim()}`, credentials.createInsecure());
  const unary = (service: string, name: string, request: object): Promise<unknown> => {
    const { path, requestSerialize, responseDeserialize } = definitionOf(service)[name] as MethodDefinition<
      object,
      object
    >;
    return new Promise((resolve, reject) => {
      client.makeUnaryRequest(
        path,
        requestSerialize,
        responseDeserialize,
        request,
        new Metadata(),
        (err, got) => (err ? reject(err) : resolve(got)),
      );
    });
  };
  const id = newId();
  const get =
    ({ broker }: typeof overNats) =>
    () =>
      broker.call("remote.get", { id });
  const prepare =
    ({ broker }: typeof overNats) =>
    () =>
      broker.call("remote.prepare", { entries: BATCH });
  const loads: { what: string; inFlight: number; ways: Record<string, Call> }[] = [1, 32].map((inFlight) => ({
    what: "one product",
    inFlight,
    ways: {
      "in process": get(inProcess),
      NATS: get(overNats),
      stream: get(overStream),
      unary: () => unary("shop.v1.Products", "GetProduct", { id }),
    },
  }));
  loads.push(
    ...[1, 4].map((inFlight) => ({
      what: "100 prepares",
      inFlight,
      ways: {
        "in process": prepare(inProcess),
        NATS: prepare(overNats),
        stream: prepare(overStream),
        unary: () => unary("shop.v1.Participant", "Prepare", Prepare.toRequest("remote", BATCH)),
      },
    })),
  );
  const streamed = () => overStream.grpc?.peers?.carried ?? 0;
  while (streamed() === 0) await get(overStream)();
  const strays = { calls: 0, streamed: streamed() };
  for (const { what, inFlight, ways } of loads) {
    const results = new Map<string, Round[]>(Object.keys(ways).map((way) => [way, []]));
    for (let round = 0; round <= rounds; round++)
      for (const [way, call] of Object.entries(ways)) {
        const counted: Call = () => {
          if (way === "stream") strays.calls++;
          return call();
        };
        const result = await measure(counted, inFlight);
        if (round > 0) results.get(way)?.push(result); // the first one warms up
      }
    const lines = new Map<string, { p50Ms: number; perSecond: number }>();
    for (const [way, each] of results) {
      const line = {
        what,
        inFlight,
        way,
        p50Ms: Number(median(each.map(({ p50 }) => p50)).toFixed(3)),
        p99Ms: Number(median(each.map(({ p99 }) => p99)).toFixed(3)),
        perSecond: Math.round(median(each.map(({ perSecond }) => perSecond))),
      };
      lines.set(way, line);
      if (values.json) console.log(JSON.stringify(line));
      else
        console.log(
          `${what.padEnd(13)} ${String(inFlight).padStart(2)} in flight  ${way.padEnd(10)} p50 ${line.p50Ms} ms  p99 ${line.p99Ms} ms  ${line.perSecond}/s`,
        );
    }
    const [stream, viaNats] = [lines.get("stream"), lines.get("NATS")];
    if (stream && viaNats && !values.json)
      console.log(
        `stream / NATS: p50 ${(stream.p50Ms / viaNats.p50Ms).toFixed(2)}, calls per second ${(stream.perSecond / viaNats.perSecond).toFixed(2)}`,
      );
  }
  const beside = strays.calls - (streamed() - strays.streamed);
  if (beside > 0) console.log(`${beside} of ${strays.calls} calls went beside the stream`);
  client.close();
} finally {
  await Promise.all([overNats, overStream, inProcess].map(({ broker }) => broker.stop()));
  node.kill();
  await nats.stop();
}
