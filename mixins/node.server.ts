/**
 * The HTTP server of a node for those who look after it, on METRICS_PORT: /health/live (does the event loop turn?),
 * /health/ready (may it be sent requests?) and /metrics. It opens before anything is waited for and closes after
 * everything has stopped, so a probe always gets an answer. It serves no client and knows no secret; keep it off the
 * internet all the same.
 */
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { monitorEventLoopDelay } from "node:perf_hooks";
import type { Middleware, ServiceBroker } from "moleculer";
import { CONTENT_TYPE } from "../lib/exposition.ts";
import { http } from "../lib/http.ts";
import { measure, type Reading, scrape } from "./measures.ts";
import { readiness } from "./readiness.ts";

export interface NodeServerOptions {
  /** 0 takes a free one. */
  port: number;
  /** What this node must have seen to be ready; the broker's own list where it has one. */
  expected: readonly string[];
}

type EventLoop = ReturnType<typeof monitorEventLoopDelay>;

/** How often the event loop is looked at, which wakes an idle node; what that takes is taken off the reading. */
const LOOK_MS = 20;
const CLOSE_MS_MAX = 500;
const QUANTILES = [0.5, 0.99, 1] as const;

const ports = new WeakMap<ServiceBroker, number>();

/** The port that a broker's node server listens on; undefined where it has none. */
export const nodeServerPort = (broker: ServiceBroker): number | undefined => ports.get(broker);

export function nodeServerMiddleware({
  port,
  expected,
}: NodeServerOptions): (broker: ServiceBroker) => Middleware {
  return (broker) => {
    let server: Server;
    let eventLoop: EventLoop;
    const expectedOf = () => (broker as { expected?: readonly string[] }).expected ?? expected;
    measure(broker, async () => [
      ["shop_node_ready", (await readiness(broker, expectedOf())).status === "ready" ? 1 : 0],
      ...processReadings(),
      ...lateness(eventLoop),
      ...breakerReadings(broker),
    ]);

    const answers: Record<string, () => Promise<[status: number, type: string, body: string]>> = {
      "/health/live": async () => [200, "application/json", '{"status":"live","checks":{}}'],
      "/health/ready": async () => {
        const result = await readiness(broker, expectedOf());
        return [result.status === "ready" ? 200 : 503, "application/json", JSON.stringify(result)];
      },
      "/metrics": async () => [200, CONTENT_TYPE, await scrape(broker)],
    };

    return {
      name: "NodeServer",
      async starting() {
        eventLoop = monitorEventLoopDelay({ resolution: LOOK_MS });
        eventLoop.enable();
        server = http.createServer(async (req, res) => {
          const answer = answers[req.url ?? ""];
          const [status, type, body] = answer
            ? await answer().catch((err: Error): [number, string, string] => [500, "text/plain", err.message])
            : ([404, "text/plain", `expected one of ${Object.keys(answers).join(", ")}`] as const);
          res.writeHead(status, { "content-type": type, "cache-control": "no-store" });
          res.end(req.method === "HEAD" ? undefined : body);
        });
        await new Promise<void>((resolve, reject) => {
          server.once("error", reject);
          // Exclusive, so that gateways that share their public port by node:cluster do not share this one.
          server.listen({ port, exclusive: true }, resolve);
        });
        const taken = (server.address() as AddressInfo).port;
        ports.set(broker, taken);
        broker.logger.info(`probes and metrics are on port ${taken}`);
      },
      async stopped() {
        eventLoop?.disable();
        if (!server?.listening) return;
        const closed = new Promise((resolve) => server.close(resolve));
        // A scrape may wait for a database that does not answer.
        setTimeout(() => server.closeAllConnections(), CLOSE_MS_MAX).unref();
        server.closeIdleConnections();
        await closed;
      },
    } as unknown as Middleware;
  };
}

function processReadings(): Reading[] {
  const { user, system } = process.cpuUsage();
  return [
    ["shop_process_resident_bytes", process.memoryUsage.rss()],
    ["shop_process_cpu_seconds_total", (user + system) / 1e6],
  ];
}

/** Since the last scrape: a peak is told once. */
function lateness(eventLoop: EventLoop): Reading[] {
  const readings = QUANTILES.map((quantile): Reading => {
    const ms = eventLoop.percentile(quantile * 100) / 1e6 - LOOK_MS;
    return ["shop_event_loop_delay_seconds", Math.max(ms, 0) / 1_000, { quantile: String(quantile) }];
  });
  eventLoop.reset();
  return readings;
}

const OPENNESS = { closed: 0, "half-open": 0.5, open: 1 } as const;

/** The breakers' middleware gives the broker the method; without it there are none. */
function breakerReadings(broker: ServiceBroker): Reading[] {
  const { breakers } = broker as {
    breakers?(): { nodeID: string; action: string; state: keyof typeof OPENNESS }[];
  };
  return (breakers?.() ?? []).map(({ nodeID, action, state }) => [
    "shop_breaker_open",
    OPENNESS[state],
    { node: nodeID, action },
  ]);
}
