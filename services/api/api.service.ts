/**
 * The REST gateway. moleculer-web owns the server's life and generates the aliases from the actions' `rest`; the way
 * of a request (serve.ts) is ours, because every check of the contract must hold and the route must cost little.
 * Nothing is served that no action declares: no mapping by action name, no internal services.
 */

import { timingSafeEqual } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Context, Service, ServiceSchema, ServiceSettingSchema } from "moleculer";
import ApiGateway from "moleculer-web";
import { type Config, config } from "../../config/index.ts";
import { ShopError } from "../../lib/errors.ts";
import { parseTraceparent } from "../../lib/traceparent.ts";
import { carrierTo, type Route } from "../../mixins/carrier.ts";
import { READINESS, readiness } from "../../mixins/readiness.ts";
import { SharedRedis } from "../../mixins/redis.ts";
import { TokenVerifier } from "../../mixins/token-verifier.ts";
import { requestTagsOf } from "../../mixins/traces.ts";
import type { ProductChanged } from "../product/api.ts";
import { clientAddressReader } from "./client-address.ts";
import { docsAliases } from "./docs.ts";
import { answerError, beginExchange, type Exchange } from "./exchange.ts";
import { LoadShedder, refuse } from "./load-shedding.ts";
import { openApiOf } from "./openapi.ts";
import { memoryLimiter, sharedLimiter } from "./rate-limit.ts";
import { operationsOf, Router } from "./router.ts";
import { serve } from "./serve.ts";
import { createGatewayServer, drain } from "./server.ts";
import { StaleCopies } from "./stale-copies.ts";

const JWKS: Route = {
  action: "auth.jwks",
  method: "GET",
  path: "/.well-known/jwks.json",
  idempotent: true,
};
const DRAIN = "GatewayDrain";
interface Drained {
  drain(): Promise<void>;
}

/** Limits and breakers belong to the actions behind the gateway; around it they would close the whole shop. */
const unguarded = {
  timeout: 0,
  bulkhead: { enabled: false },
  circuitBreaker: { enabled: false },
  retryPolicy: { enabled: false },
};

/** The answer of /health/live as JSON Schema. */
const LIVENESS = {
  type: "object",
  required: ["status", "checks"],
  properties: { status: { const: "live" }, checks: { type: "object" } },
};

interface GatewaySettings extends ServiceSettingSchema {
  port: number;
  ip: string | null;
  corsOrigins: readonly string[];
  trustedProxies: readonly string[];
  /** Services that must be known before this node is ready. */
  expectedServices: readonly string[];
  /** What opens the routes between services; undefined closes them. */
  serviceSecret: string | undefined;
  inFlightMax: number;
  rateLimit: Config["rateLimit"];
  cacher: string | undefined;
  [setting: string]: unknown;
}

const gateway: ServiceSchema<GatewaySettings> = {
  name: "api",
  mixins: [ApiGateway],

  settings: {
    rest: "/",
    port: config.port,
    // No address: both IP versions, or the one the machine has.
    ip: null,
    corsOrigins: config.corsOrigins,
    trustedProxies: config.trustedProxies,
    expectedServices: config.expectedServices,
    serviceSecret: config.serviceSecret,
    inFlightMax: config.inFlightMax,
    rateLimit: config.rateLimit,
    cacher: config.cacher,
    logRequest: null,
    logResponse: null,
    logRouteRegistration: "debug",
    routes: [
      {
        path: "/",
        autoAliases: true,
        mappingPolicy: "restrict",
        bodyParsers: false,
        logging: false,
        pathToRegexpOptions: { sensitive: true },
        aliases: docsAliases,
      },
    ],
    // Settings are broadcast to every node; these are nobody else's business.
    $secureSettings: [
      "serviceSecret",
      "corsOrigins",
      "trustedProxies",
      "expectedServices",
      "inFlightMax",
      "rateLimit",
      "cacher",
      "routes",
    ],
  },

  actions: {
    rest: {
      ...unguarded,
      // moleculer-web would name spans by the whole URL, query included.
      tracing: { spanName: (ctx) => `HTTP ${(ctx.params as Exchange).req.method}`, tags: requestTagsOf },
      async handler(ctx: Context<Exchange>) {
        try {
          await serve(this as never, ctx, ctx.params);
        } catch (err) {
          answerError(ctx.params, err, this.logger);
        }
      },
    },
    // They would show or change the routes from outside.
    listAliases: false,
    addRoute: false,
    removeRoute: false,

    live: {
      rest: "GET /health/live",
      auth: "none",
      openapi: {
        summary: "Is the process alive?",
        tags: ["operations"],
        responses: { 200: { description: "Alive", schema: LIVENESS } },
      },
      handler: () => ({ status: "live", checks: {} }),
    },
    ready: {
      rest: "GET /health/ready",
      auth: "none",
      openapi: {
        summary: "May this node be sent requests?",
        tags: ["operations"],
        responses: {
          200: { description: "Ready", schema: READINESS },
          503: { description: "Not ready", schema: READINESS, mediaType: "application/json" },
        },
      },
      async handler(ctx) {
        const result = await readiness(this.broker, this.settings.expectedServices);
        ctx.meta.$statusCode = result.status === "ready" ? 200 : 503;
        return result;
      },
    },
    document: {
      rest: "GET /openapi.json",
      auth: "none",
      openapi: {
        summary: "This contract as OpenAPI 3.1",
        tags: ["operations"],
        responses: { 200: { description: "The document", schema: { type: "object" } } },
      },
      handler() {
        return openApiOf(this.router.operations);
      },
    },
  },

  methods: {
    createServer() {
      this.server ??= createGatewayServer((req, res) => {
        const shedder: LoadShedder = this.shedder;
        if (!shedder.enter(req.url)) return refuse(req, res, this.settings.corsOrigins);
        const enteredAt = performance.now();
        void this.httpHandler(req, res).finally(() => shedder.left(enteredAt, req.method === "POST"));
      });
    },

    /** Every request enters here, from the HTTP server. */
    async httpHandler(req: IncomingMessage, res: ServerResponse) {
      const exchange = beginExchange(req, res, {
        clientAddress: this.clientAddressOf(req.socket.remoteAddress, req.headers["x-forwarded-for"]),
        corsOrigins: this.settings.corsOrigins,
        isStopping: () => !this.broker.started,
      });
      try {
        const rest = this.actions.rest as Service.ServiceAction;
        await rest(exchange, { requestID: exchange.requestId, meta: exchange.meta, ...this.traceOf(req) });
      } catch (err) {
        answerError(exchange, err, this.logger);
      }
    },

    /** The caller's trace, to go on with it; nothing where there is none or nobody traces. */
    traceOf(req: IncomingMessage) {
      const parentSpan = this.isTraced && parseTraceparent(req.headers.traceparent);
      return parentSpan ? { parentSpan } : undefined;
    },

    verify(token: string) {
      return this.verifier.verify(token);
    },

    isService(token: string): boolean {
      const given = Buffer.from(token);
      const secret = Buffer.from(this.settings.serviceSecret ?? "");
      return given.length === secret.length && timingSafeEqual(given, secret);
    },

    /** Nothing to wait for where there is no limit, which is the common case. */
    limit(exchange: Exchange, path: string): Promise<void> | undefined {
      if (!this.limiter || path.startsWith("/health/")) return undefined;
      return this.limiter.take(exchange.meta.clientAddress).then((retryAfter: number | undefined) => {
        if (retryAfter === undefined) return;
        throw new ShopError("too_many_requests", `Send fewer requests; try again in ${retryAfter} seconds.`, {
          retryAfter,
        });
      });
    },

    isComplete() {
      const known = new Set(this.broker.registry.getServiceList({}).map((service) => service.name));
      return this.broker.started && this.settings.expectedServices.every((name) => known.has(name));
    },

    refreshRoutes() {
      this.areRoutesStale = false;
      for (const route of this.routes) this.regenerateAutoAliases(route);
      const operations = operationsOf(
        this.broker,
        this.aliases,
        this.knownOperations,
        (reason) => this.logger.error(`an action cannot be served: ${reason}`),
        this.settings.serviceSecret !== undefined,
      );
      this.knownOperations = operations;
      return new Router(operations);
    },

    drain() {
      return drain(this.server);
    },
  },

  events: {
    // A token signed with the new key may be here a moment later.
    "auth.keysRotated"() {
      this.verifier.allowRefetch();
    },
    "product.changed"(ctx: Context<ProductChanged>) {
      this.staleCopies.forget((key: string) => key.includes(ctx.params.id));
    },
  },

  created() {
    this.clientAddressOf = clientAddressReader(this.settings.trustedProxies);
    this.auth = carrierTo("auth");
    this.verifier = new TokenVerifier({ fetchKeys: () => this.auth.call(this.broker, JWKS, {}) });
    this.isTraced = this.broker.isTracingEnabled();
    const { inFlightMax, rateLimit, cacher } = this.settings;
    this.shedder = new LoadShedder({ inFlightMax });
    this.staleCopies = new StaleCopies();
    if (rateLimit && cacher?.startsWith("redis")) this.redis = new SharedRedis(cacher, this.logger);
    if (rateLimit)
      this.limiter = this.redis
        ? sharedLimiter(rateLimit, this.redis, `${config.namespace}:`)
        : memoryLimiter(rateLimit);
    this.knownOperations = [];
    this.areRoutesStale = true;
    // moleculer-web rebuilds half a second after a change. Rebuilding at the next request instead means that no
    // request after broker.start() meets a route that is not there yet.
    this.regenerateAllAutoAliases = () => {
      this.areRoutesStale = true;
    };
    let router: Router;
    Object.defineProperty(this, "router", {
      get: () => {
        if (this.areRoutesStale) router = this.refreshRoutes();
        return router;
      },
    });
    // Before any service stops: requests in flight still need the others.
    // By name: one hook, whichever instance is the gateway when the broker stops.
    const { broker } = this;
    if (broker.middlewares.list.some(({ name }: { name?: string }) => name === DRAIN)) return;
    const stopping = async () => (broker.getLocalService("api") as unknown as Drained | undefined)?.drain();
    broker.middlewares.add({ name: DRAIN, stopping });
  },

  started() {
    this.shedder.start((refused: number, limit: number) =>
      this.logger.warn(`overloaded: refused ${refused} requests, lets ${limit} in at once`),
    );
  },

  async stopped() {
    await this.drain();
    this.shedder.stop();
    this.redis?.close();
    this.auth.close();
  },
};

export default gateway;
