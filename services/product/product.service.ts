/** The catalogue and its stock. Also a participant: a stock reservation is its vote. */
import type { Context, ServiceSchema } from "moleculer";
import { config } from "../../config/index.ts";
import { ShopError } from "../../lib/errors.ts";
import { newId } from "../../lib/ids.ts";
import type { Money } from "../../lib/money.ts";
import { ONE_LINE } from "../../lib/text.ts";
import { sqlState } from "../../mixins/database.errors.ts";
import { databaseMixin } from "../../mixins/database.mixin.ts";
import { remainingMs } from "../../mixins/deadline.middleware.ts";
import { Follower } from "../../mixins/events/follower.ts";
import { outboxMixin } from "../../mixins/events/outbox.mixin.ts";
import { measure } from "../../mixins/measures.ts";
import { operatedMixin } from "../../mixins/operated.mixin.ts";
import { participantMixin, type Votes } from "../../mixins/participant.mixin.ts";
import { traceparentOf } from "../../mixins/traces.ts";
import type { Product, ProductChanged, Quote, QuoteParams } from "./api.ts";
import { DEMO_PRODUCTS } from "./demo.ts";
import { etagOf, versionsOf } from "./etag.ts";
import {
  type ListParams,
  type Page,
  readPage,
  type StocklessPage,
  withoutStock,
  withStock,
} from "./listing.ts";
import { PRODUCT_SCHEMAS, productResponse, STALE_NOTE } from "./openapi.ts";
import { operatedReservations } from "./product.operated.ts";
import { productParticipant } from "./product.participant.ts";
import {
  type Author,
  adjustStock,
  deleteProduct,
  type EditResult,
  findProducts,
  insertProducts,
  isCatalogueEmpty,
  type ProductFields,
  replaceProduct,
  SORTS,
  toProduct,
} from "./product.repository.ts";
import { STOCK_MAX } from "./product.ts";
import { Quotes } from "./quotes.ts";

interface Meta {
  user: { id: string };
  ifMatch?: string;
  ifNoneMatch?: string;
  $statusCode?: number;
  $location?: string;
  $responseHeaders?: Record<string, string>;
}

type WriteParams = Omit<ProductFields, "price" | "currency"> & { price: Money };

/** While product is away the gateway shows what it saw last, for an hour, and nothing of the stock. */
const STALE = { seconds: 3_600, omit: ["stock", "available"] };

/** How long a replica that the broadcast did not reach goes on with what it remembers. */
const FOLLOW_MS = 250;

const PRICE_MAX = 90_000_000;
const CURRENCIES = Intl.supportedValuesOf("currency");
const CURRENCY = { type: "enum", values: CURRENCIES } as const;

const FIELDS = {
  sku: { ...ONE_LINE, min: 1, max: 64 },
  name: { ...ONE_LINE, min: 1, max: 200 },
  description: { type: "string", max: 5_000, default: "" },
  price: {
    type: "object",
    props: { amount: { type: "number", integer: true, min: 1, max: PRICE_MAX }, currency: CURRENCY },
  },
  stock: { type: "number", integer: true, min: 0, max: STOCK_MAX },
} as const;

const PRICE_FILTER = {
  type: "number",
  integer: true,
  min: 0,
  max: PRICE_MAX,
  convert: true,
  optional: true,
} as const;

/** The longest that is handed out has 1,678: a name of 200 control characters, of before they were refused. */
const CURSOR_CHARS_MAX = 2_000;

const LIST_PARAMS = {
  limit: { type: "number", integer: true, min: 1, max: 100, default: 20, convert: true },
  cursor: { type: "string", max: CURSOR_CHARS_MAX, optional: true },
  q: { type: "string", max: 200, optional: true },
  sort: { type: "enum", values: SORTS, default: "name" },
  currency: { ...CURRENCY, optional: true },
  minPrice: PRICE_FILTER,
  maxPrice: PRICE_FILTER,
} as const;

const authorOf = (ctx: Context<object, Meta>): Author => ({
  userId: ctx.meta.user.id,
  traceparent: traceparentOf(ctx),
});

const toFields = ({ price, ...rest }: WriteParams): ProductFields => ({
  ...rest,
  price: price.amount,
  currency: price.currency,
});

const service: ServiceSchema = {
  name: "product",
  mixins: [
    outboxMixin,
    operatedMixin(operatedReservations),
    participantMixin(({ db }) => productParticipant(db) as Votes),
    databaseMixin("product", new URL("./migrations/", import.meta.url)),
  ],
  settings: { rest: "/" },

  actions: {
    list: {
      rest: "GET /products",
      grpc: "shop.v1.Products/ListProducts",
      auth: "none",
      idempotent: true,
      query: ["limit", "cursor", "q", "sort", "currency", "minPrice", "maxPrice"],
      staleIfError: STALE,
      // Searches must leave connections to the checkout.
      bulkhead: { enabled: true, concurrency: Math.ceil(config.databasePoolMax / 2), maxQueueSize: 100 },
      openapi: {
        summary: "The catalogue",
        tags: ["products"],
        schemas: PRODUCT_SCHEMAS,
        responses: {
          200: {
            description: `A page of products. ${STALE_NOTE}`,
            schema: { $ref: "#/components/schemas/ProductPage" },
          },
        },
      },
      params: LIST_PARAMS,
      async handler(ctx: Context<ListParams>): Promise<Page> {
        if (!this.broker.cacher) return readPage(this.db, ctx.params);
        return withStock(this.db, await ctx.call<StocklessPage, ListParams>("product.page", ctx.params));
      },
    },

    // What of a page may be remembered. Called by list, on this node.
    page: {
      visibility: "protected",
      auth: "none",
      idempotent: true,
      cache: { keys: Object.keys(LIST_PARAMS) },
      params: LIST_PARAMS,
      async handler(ctx: Context<ListParams>): Promise<StocklessPage> {
        return withoutStock(await readPage(this.db, ctx.params));
      },
    },

    get: {
      rest: "GET /products/:id",
      grpc: "shop.v1.Products/GetProduct",
      auth: "none",
      idempotent: true,
      key: "id",
      staleIfError: STALE,
      openapi: {
        ...productResponse(200, `The product. ${STALE_NOTE}`),
        summary: "One product",
        tags: ["products"],
        headers: ["If-None-Match"],
      },
      params: { id: "uuid" },
      async handler(ctx: Context<{ id: string }, Meta>): Promise<Product | undefined> {
        const [row] = await findProducts(this.db, [ctx.params.id]);
        if (!row) throw new ShopError("not_found", `There is no product ${ctx.params.id}.`);
        const product = toProduct(row);
        const etag = etagOf(product);
        ctx.meta.$responseHeaders = { ETag: etag, "Cache-Control": "no-cache" };
        const known = ctx.meta.ifNoneMatch?.split(",").map((tag) => tag.trim().replace(/^W\//, ""));
        if (known?.some((tag) => tag === etag || tag === "*")) {
          ctx.meta.$statusCode = 304;
          return undefined;
        }
        return product;
      },
    },

    create: {
      rest: "POST /products",
      auth: "admin",
      successStatus: 201,
      openapi: {
        ...productResponse(201, "The product as added."),
        summary: "Add a product",
        tags: ["products"],
      },
      params: FIELDS,
      async handler(ctx: Context<WriteParams, Meta>): Promise<Product> {
        const fields = toFields(ctx.params);
        const rows = await this.refusingTakenSku(fields.sku, () =>
          insertProducts(this.db, [{ ...fields, id: newId() }], authorOf(ctx)),
        );
        const product = toProduct(rows[0]);
        await this.changed(ctx, product.id);
        ctx.meta.$location = `/products/${product.id}`;
        return product;
      },
    },

    replace: {
      rest: "PUT /products/:id",
      auth: "admin",
      openapi: {
        ...productResponse(200, "The product as it is now."),
        summary: "Replace all fields of a product",
        tags: ["products"],
        headers: ["If-Match"],
      },
      params: { id: "uuid", ...FIELDS },
      async handler(ctx: Context<WriteParams & { id: string }, Meta>): Promise<Product> {
        const { id, ...params } = ctx.params;
        const fields = toFields(params);
        const result = await this.refusingTakenSku(fields.sku, () =>
          replaceProduct(this.db, id, fields, versionsOf(ctx.meta.ifMatch), authorOf(ctx)),
        );
        await this.changed(ctx, id);
        return this.edited(id, result);
      },
    },

    adjustStock: {
      rest: "POST /products/:id/stock",
      auth: "admin",
      openapi: {
        ...productResponse(200, "The product as it is now."),
        summary: "Goods in, shrinkage, correction",
        tags: ["products"],
      },
      params: {
        id: "uuid",
        delta: { type: "number", integer: true, min: -STOCK_MAX, max: STOCK_MAX, notEqual: 0 },
        reason: { type: "string", min: 1, max: 200 },
      },
      async handler(ctx: Context<{ id: string; delta: number; reason: string }, Meta>): Promise<Product> {
        const { id, delta, reason } = ctx.params;
        return this.edited(id, await adjustStock(this.db, id, delta, reason, authorOf(ctx)));
      },
    },

    remove: {
      rest: "DELETE /products/:id",
      auth: "admin",
      successStatus: 204,
      openapi: { summary: "Take a product out of the catalogue", tags: ["products"] },
      params: { id: "uuid" },
      async handler(ctx: Context<{ id: string }, Meta>): Promise<void> {
        const removed = await deleteProduct(this.db, ctx.params.id, authorOf(ctx));
        await this.changed(ctx, ctx.params.id);
        if (!removed) throw new ShopError("not_found", `There is no product ${ctx.params.id}.`);
        ctx.meta.$statusCode = 204;
      },
    },

    // Called by order.place. The answer is a proposal: prepare checks it on the locked rows.
    quote: {
      grpc: "shop.v1.Products/Quote",
      auth: "user",
      visibility: "public",
      idempotent: true,
      params: {
        items: {
          type: "array",
          min: 1,
          items: { type: "object", props: { productId: "string", quantity: "number" } },
        },
        fresh: { type: "boolean", optional: true },
      },
      handler(ctx: Context<QuoteParams>): Promise<Quote> {
        return this.quotes.quote(ctx.params, remainingMs(ctx));
      },
    },
  },

  events: {
    // Heard by every node, the one that edits included: what is remembered of the product is no longer so.
    async "product.changed"(ctx: Context<ProductChanged>) {
      await this.forget([ctx.params.id]);
    },
  },

  created() {
    measure(this, () =>
      this.follower ? [["shop_catalogue_delay_seconds", this.follower.takeDelaySeconds()]] : [],
    );
  },

  async started() {
    this.quotes = new Quotes(this.db, this.supervisor);
    // What is broadcast may be lost; an edit's row in the outbox is not.
    this.follower = new Follower(this.db, (events) => this.forget(events.map(({ key }) => key)));
    await this.follower.begin();
    // One process without neighbours is somebody's first look: show them a shop with goods in it.
    const alone = !this.broker.options.transporter && config.environment !== "test";
    if (alone && (await isCatalogueEmpty(this.db))) {
      await insertProducts(
        this.db,
        DEMO_PRODUCTS.map((product) => ({ ...product, id: newId() })),
        {},
      );
      this.logger.info(`seeded the empty catalogue with ${DEMO_PRODUCTS.length} demo products`);
    }
    await this.quotes.warm();
    this.supervisor.loop({ name: "follow", intervalMs: FOLLOW_MS, tick: () => this.follower.tick() });
  },

  methods: {
    async forget(ids: readonly string[]): Promise<void> {
      for (const id of ids) this.quotes?.forget(id);
      await this.broker.cacher?.clean("product.page:**");
    },

    /** Tells all nodes, after the change is durable. One that does not hear it finds it in the outbox. */
    async changed(ctx: Context, id: string): Promise<void> {
      await ctx.broadcast("product.changed", { id } satisfies ProductChanged);
    },

    async refusingTakenSku<Result>(sku: string, write: () => Promise<Result>): Promise<Result> {
      try {
        return await write();
      } catch (err) {
        if (sqlState(err) === "23505")
          throw new ShopError("sku_taken", `Another product has the SKU ${sku}.`, { sku });
        throw err;
      }
    },

    edited(id: string, result: EditResult): Product {
      switch (result.kind) {
        case "done":
          return toProduct(result.row);
        case "gone":
          throw new ShopError("not_found", `There is no product ${id}.`);
        case "stale":
          throw new ShopError(
            "version_stale",
            `The product is at version ${result.version}; read it and edit again.`,
            {
              version: result.version,
            },
          );
        case "too_low": {
          const { on_hand: stock, reserved } = result.row;
          const why =
            reserved > 0 ? `${reserved} units are reserved by orders on their way` : "no stock is below 0";
          throw new ShopError(
            "stock_reserved",
            `The stock is ${stock} and cannot become ${result.wanted}: ${why}.`,
            { stock, reserved },
          );
        }
        case "too_high":
          throw new ShopError("validation_failed", `A stock is ${STOCK_MAX} units at most; add fewer.`, {
            errors: [
              {
                pointer: "/delta",
                code: "number_max",
                message: `would make ${result.wanted} of the stock of ${result.row.on_hand}`,
              },
            ],
          });
      }
    },
  },
};

export default service;
