/**
 * The simulated shop: nodes that run the real transaction manager, the real participants and the real placing of
 * orders, over simulated databases, network and bank. A node that is killed loses its memory and comes up again with
 * none; everything that was durable is in the databases.
 */

import { AsyncLocalStorage } from "node:async_hooks";
import type {
  DecisionReply,
  Inquiry,
  InquiryReply,
  PrepareEntry,
  PrepareReply,
  Requests,
  RunResult,
  TxId,
} from "../actors/protocol/messages.ts";
import { Supervisor } from "../actors/supervisor.ts";
import { Garbage } from "../actors/transaction-manager/garbage.ts";
import type { ParticipantPort, RunOptions } from "../actors/transaction-manager/ports.ts";
import { register } from "../actors/transaction-manager/register.ts";
import { TransactionManager } from "../actors/transaction-manager/transaction-manager.ts";
import { Voter, type Votes } from "../actors/voter.ts";
import { isOutOfReach, ShopError } from "../lib/errors.ts";
import { idMaker } from "../lib/ids.ts";
import { unavailable } from "../mixins/database.errors.ts";
import type { Database } from "../mixins/database.mixin.ts";
import { orderParticipant } from "../services/order/order.participant.ts";
import { findByKey, findOrder, markAnsweredPending } from "../services/order/order.repository.ts";
import { bodyHashOf, type PlaceCommand, type PlacePorts, place } from "../services/order/place.ts";
import { CardCaller } from "../services/payment/card-caller.ts";
import { paymentParticipant } from "../services/payment/payment.participant.ts";
import type { QuoteParams } from "../services/product/api.ts";
import { productParticipant } from "../services/product/product.participant.ts";
import { Bank } from "./bank.ts";
import { Checker } from "./checker.ts";
import { SimulatedDatabase } from "./database.ts";
import { ORDER } from "./databases/order.ts";
import { PAYMENT } from "./databases/payment.ts";
import { PRODUCT, type ProductRow } from "./databases/product.ts";
import { REGISTER, unmarked } from "./databases/register.ts";
import { unsealed } from "./databases/seal.ts";
import { Network } from "./network.ts";
import { nodeNames, PARTICIPANTS, type Plan, type Stray } from "./plan.ts";
import type { Incarnation, World } from "./world.ts";

/** As the service has them. */
const RECOVERY = { intervalMs: 1_000, ageMs: 2_000 };
/** More often than in the service, so that much is deleted within a short run. */
const GARBAGE_INTERVAL_MS = 1_000;
const PARTICIPANT_TIMEOUT_MS = 3_000;
const CALL_TIMEOUT_MS = 10_000;
/** When the simulation begins, by the nodes' wall clocks. */
const EPOCH_MS = Date.UTC(2026, 0, 1);
const CURRENCY = "GBP";
const PRICE = 100;
/** A transaction that was never run here, minted late enough to be above every watermark. */
const STRANGE_TX = "0fffffff-ffff-7fff-bfff-ffffffffffff";

interface Node {
  name: string;
  service: string;
  incarnation: Incarnation;
  wallClockOffMs: number;
}

export const productIdOf = (product: number): string => `00000000-0000-4000-8000-00000000000${product}`;

export class Shop {
  readonly network: Network;
  readonly bank: Bank;
  readonly databases: Record<"register" | "order" | "product" | "payment", SimulatedDatabase>;
  readonly checker: Checker;
  readonly #world: World;
  readonly #nodes = new Map<string, Node>();

  constructor(world: World) {
    this.#world = world;
    this.network = new Network(world);
    this.checker = new Checker(world, this);
    const { checker } = this;
    const database = (name: string, statements: typeof ORDER) =>
      new SimulatedDatabase(name, world, statements, (...what) => checker.onDurable(...what));
    this.databases = {
      register: database("register", REGISTER),
      order: database("order", ORDER),
      product: database("product", PRODUCT),
      payment: database("payment", PAYMENT),
    };
    this.bank = new Bank(world, (...what) => checker.onBank(...what));
    this.#open(world.plan);
  }

  get nodes(): Iterable<Node> {
    return this.#nodes.values();
  }

  #open({ stock, prices, managers, faults, strays }: Plan): void {
    const world = this.#world;
    const { register: decisions, product } = this.databases;
    decisions.write(unmarked);
    for (const name of PARTICIPANTS) this.databases[name].write(unsealed);
    product.write((view) => {
      for (const [i, available] of stock.entries()) {
        const row: ProductRow = { id: productIdOf(i), price: PRICE, currency: CURRENCY, available };
        view.put("products", row.id, row);
      }
    });
    for (const { at, product: i, price } of prices)
      world.after(at, undefined, "price", () =>
        product.write((view) => {
          const row = view.get<ProductRow>("products", productIdOf(i)) as ProductRow;
          view.put("products", row.id, { ...row, price });
        }),
      );
    this.network.attach(
      "bank",
      { node: "bank", isDead: false, frozenUntil: 0 },
      {
        authorize: (request: never) => this.bank.authorize(request),
        lookup: (key: never) => this.bank.lookup(key),
        capture: (key: never) => this.bank.capture(key),
        void: (key: never) => this.bank.void(key),
      },
    );
    world.crash = (incarnation, downMs) => this.#crash(incarnation, downMs);
    for (const name of nodeNames(managers)) {
      const service = name.startsWith("manager") ? "transaction-manager" : (name.split("-")[0] as string);
      const incarnation: Incarnation = { node: name, isDead: true, frozenUntil: 0 };
      this.#nodes.set(name, { name, service, incarnation, wallClockOffMs: 0 });
      this.#start(name);
    }
    for (const stray of strays) world.after(stray.at, undefined, stray.do, () => this.#goAstray(stray));
    for (const fault of faults)
      if ("node" in fault) world.after(fault.at, undefined, fault.do, () => this.#strike(fault));
  }

  #strike({ node: name, do: what, ms }: { node: string; do: string; ms: number }): void {
    const node = this.#nodes.get(name);
    if (!node) return;
    if (what === "crash") this.#crash(node.incarnation, ms);
    else if (what === "freeze") this.#world.freeze(node.incarnation, ms);
    else if (what === "cut") this.network.cut(name, ms);
    else node.wallClockOffMs += ms;
  }

  /** Sends what no manager of ours sends, and looks at the answer. */
  #goAstray({ participant, do: what }: Stray): void {
    const { network, checker } = this;
    const stranger: Incarnation = { node: "stranger", isDead: false, frozenUntil: 0 };
    const send = <R>(method: string, payload: object, heard: (replies: R[]) => void) =>
      network.call<R[]>(stranger, participant, method, payload, CALL_TIMEOUT_MS).then(heard, () => undefined);
    if (what === "unknown-commit") {
      const txId = STRANGE_TX;
      send<DecisionReply>("commit", { txIds: [txId] }, ([reply]) =>
        checker.onStrayCommit(participant, reply),
      );
      return;
    }
    const last = network.sent.findLast(
      ({ service, method }) => service === participant && method === "prepare",
    );
    if (!last) return;
    const [entry] = (JSON.parse(last.json) as { entries: PrepareEntry[] }).entries;
    if (entry && checker.hasVoted(participant, entry.txId))
      send<PrepareReply>("prepare", { entries: [{ ...entry, hash: "another" }] }, ([reply]) =>
        checker.onStrayPrepare(participant, entry.txId, reply),
      );
  }

  #crash(incarnation: Incarnation, downMs: number): void {
    if (incarnation.isDead) return;
    const world = this.#world;
    incarnation.isDead = true;
    world.crashes++;
    world.note(incarnation.node, { step: "crash" });
    this.network.dropCallsTo(incarnation);
    world.after(downMs, undefined, "restart", () => {
      world.note(incarnation.node, { step: "restart" });
      this.#start(incarnation.node);
    });
  }

  /** A new life: nothing is carried over but the node's name and its wall clock. */
  #start(name: string): void {
    const node = this.#nodes.get(name) as Node;
    const incarnation: Incarnation = { node: name, isDead: false, frozenUntil: 0 };
    node.incarnation = incarnation;
    const supervisor = new Supervisor({ warn: () => {} }, this.#world.clockOf(incarnation));
    if (node.service === "transaction-manager") this.#startManager(node, supervisor);
    else this.#startParticipant(node, supervisor);
  }

  #startManager(node: Node, supervisor: Supervisor): void {
    const { incarnation } = node;
    const world = this.#world;
    const { network, checker } = this;
    const newId = idMaker(
      () => EPOCH_MS + Math.floor(world.now) + node.wallClockOffMs,
      (bytes) => {
        for (let i = 0; i < bytes.length; i++) bytes[i] = world.random.int(256);
      },
    );
    const ask = <R>(name: string, method: string, payload: object) =>
      network.call<R>(incarnation, name, method, payload, PARTICIPANT_TIMEOUT_MS).catch((err) => {
        throw isOutOfReach(err.type) ? new ShopError("unavailable", err.message) : err;
      });
    const decisions = register(this.databases.register.open(incarnation));
    const participants: ParticipantPort = {
      prepare: (name, entries) => ask(name, "prepare", { entries }),
      commit: (name, txIds) => ask(name, "commit", { txIds }),
      abort: (name, txIds) => ask(name, "abort", { txIds }),
      raiseSeal: (name, upTo) => ask(name, "raiseSeal", { upTo }),
      prune: (name, watermark, limit) => ask(name, "prune", { watermark, limit }),
    };
    /** What the run that mints is about. */
    const running = new AsyncLocalStorage<Requests>();
    const manager = new TransactionManager({
      register: decisions,
      participants,
      mailbox: (options) => supervisor.mailbox(options),
      mint: (floor) => {
        const txId = newId(floor);
        checker.onRun(node.name, txId, running.getStore() ?? {});
        return txId;
      },
      clock: supervisor.clock,
      alarm: (message, detail) => checker.onAlarm(node.name, message, detail),
    });
    supervisor.loop({
      name: "recovery",
      intervalMs: RECOVERY.intervalMs,
      tick: () => manager.recover(RECOVERY.ageMs),
    });
    const garbage = new Garbage({
      register: decisions,
      participants,
      retentionMs: world.plan.retentionMs,
      learn: (watermark) => manager.learn(watermark),
      warn: () => {},
      clock: supervisor.clock,
    });
    supervisor.loop({ name: "garbage", intervalMs: GARBAGE_INTERVAL_MS, tick: () => garbage.tick() });
    network.attach(node.service, incarnation, {
      run: ({ requests, options }: { requests: Requests; options: RunOptions }) =>
        running.run(requests, () => manager.run(requests, options)),
      outcome: ({ inquiries }: { inquiries: Inquiry[] }) => manager.outcome(inquiries),
    });
  }

  #startParticipant(node: Node, supervisor: Supervisor): void {
    const { incarnation, service, name } = node;
    const { network, checker } = this;
    const db = this.databases[service as "order"].open(incarnation);
    const votes = this.#votes(node, db, supervisor);
    const voter = new Voter({
      votes,
      supervisor,
      batchMax: 256,
      capacity: 2_000,
      unavailable,
      ask: (inquiries) =>
        network.call<InquiryReply[]>(
          incarnation,
          "transaction-manager",
          "outcome",
          { inquiries },
          CALL_TIMEOUT_MS,
        ),
      alarm: (message, detail) => checker.onAlarm(name, message, detail),
    });
    network.attach(service, incarnation, {
      prepare: async ({ entries }: { entries: Parameters<Voter["prepare"]>[0] }) => {
        const replies = await voter.prepare(entries);
        if (!incarnation.isDead) checker.onVotes(service, entries, replies);
        return replies;
      },
      commit: async ({ txIds }: { txIds: TxId[] }) => {
        const replies = await voter.commit(txIds);
        if (!incarnation.isDead) checker.onSettled(service, txIds, replies, "committed");
        return replies;
      },
      abort: async ({ txIds }: { txIds: TxId[] }) => {
        const replies = await voter.abort(txIds);
        if (!incarnation.isDead) checker.onSettled(service, txIds, replies, "aborted");
        return replies;
      },
      raiseSeal: ({ upTo }: { upTo: TxId }) => votes.raiseSeal(upTo),
      prune: ({ watermark, limit }: { watermark: TxId; limit: number }) => votes.prune(watermark, limit),
      ...(service === "order" && this.#frontOf(node, db, voter)),
      ...(service === "product" && { quote: (params: QuoteParams) => this.#quote(params) }),
    });
  }

  #votes({ service, incarnation }: Node, db: Database, supervisor: Supervisor): Votes {
    if (service === "order") return orderParticipant(db) as Votes;
    if (service === "product") return productParticipant(db) as Votes;
    const ask = <R>(method: string, payload: unknown) =>
      this.network.call<R>(incarnation, "bank", method, payload, CALL_TIMEOUT_MS);
    const gateway = {
      authorize: (request: unknown) => ask<never>("authorize", request),
      lookup: (key: string) => ask<never>("lookup", key),
      capture: (key: string) => ask<void>("capture", key),
      void: (key: string) => ask<void>("void", key),
    };
    return paymentParticipant(db, new CardCaller({ gateway, db, supervisor, alarm: () => {} }));
  }

  /** What order does for clients: the real placing, over ports that reach the simulated shop. */
  #frontOf(node: Node, db: Database, voter: Voter) {
    const { incarnation } = node;
    const ask = <R>(service: string, method: string, payload: object) =>
      this.network.call<R>(incarnation, service, method, payload, CALL_TIMEOUT_MS);
    const ports: PlacePorts = {
      findByKey: (userId, key) => findByKey(db, userId, key),
      quote: (items, fresh) => ask("product", "quote", { items, fresh }),
      run: (requests, options) => ask<RunResult>("transaction-manager", "run", { requests, options }),
      outcomeOf: async (txId) => {
        const inquiries = [{ txId, waitedMs: 0 }];
        return (await ask<InquiryReply[]>("transaction-manager", "outcome", { inquiries }))[0] ?? "pending";
      },
      commitHere: async (txId) => {
        const reply: DecisionReply = await voter.commits.ask(txId);
        if (reply !== "done")
          throw new ShopError("request_in_progress", "The order is being confirmed; ask again.");
      },
      markAnsweredPending: (txId) => markAnsweredPending(db, txId),
      now: () => this.#world.now,
      today: () => new Date(EPOCH_MS + Math.floor(this.#world.now) + node.wallClockOffMs),
      foreign: [],
    };
    return {
      place: async (command: PlaceCommand) => {
        const { status, order, replayed } = await place(command, bodyHashOf(command), ports);
        return { status, id: order.id, replayed };
      },
      get: async (id: TxId) => ({ state: (await findOrder(db, id))?.state ?? "none" }),
    };
  }

  /** As product answers: a price from memory may be stale, a fresh one is not. */
  async #quote({ items, fresh }: QuoteParams) {
    const lines = items.map(({ productId, quantity }) => {
      const row = this.databases.product.row<ProductRow>("products", productId);
      return {
        productId,
        sku: productId,
        name: productId,
        quantity,
        unitPrice: fresh && row ? row.price : PRICE,
      };
    });
    const total = lines.reduce((sum, { quantity, unitPrice }) => sum + quantity * unitPrice, 0);
    return { currency: CURRENCY, lines, total };
  }
}
