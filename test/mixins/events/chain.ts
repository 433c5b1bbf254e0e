/**
 * A chain of events on its own: a service `order` with an outbox, and consumers with inboxes, each with a database of its
 * own and a broker, so that replicas are separate. Modules are loaded anew for each chain, so that the carrier is what the environment given says.
 */
import { jest } from "@jest/globals";
import { type Service, ServiceBroker, type ServiceSchema } from "moleculer";
import pg from "pg";
import type { ShopEvent } from "../../../lib/event.ts";
import { newId } from "../../../lib/ids.ts";
import type { Database, Queryable } from "../../../mixins/database.mixin.ts";
import { cloneDatabases, type TestDatabases } from "../../harness/databases.ts";
import { until } from "../../support/until.ts";

type Hosted = Service & { db: Database };
export type Handler = (tx: Queryable, events: readonly ShopEvent[]) => Promise<unknown>;

export class Chain {
  readonly databases: TestDatabases;
  /** What the consumer does besides; may throw. */
  onEvents: Handler = async () => undefined;
  /** What was logged as an error or a warning. */
  readonly logged: string[] = [];
  readonly #env: Readonly<Record<string, string>>;
  readonly #brokers: ServiceBroker[] = [];
  readonly #dbs: Database[] = [];
  readonly #order: pg.Pool;
  readonly #notification: pg.Pool;

  static async open(env: Readonly<Record<string, string>> = {}): Promise<Chain> {
    return new Chain(await cloneDatabases(["order", "notification"]), env);
  }

  private constructor(databases: TestDatabases, env: Readonly<Record<string, string>>) {
    this.databases = databases;
    this.#env = { NAMESPACE: `chain-${newId()}`, ...env };
    this.#order = new pg.Pool({ connectionString: databases.urlOf("order"), max: 4 });
    this.#notification = new pg.Pool({ connectionString: databases.urlOf("notification"), max: 2 });
    for (const pool of [this.#order, this.#notification]) pool.on("error", () => undefined);
  }

  async stopAll(): Promise<void> {
    for (const broker of this.#brokers.splice(0)) await broker.stop();
  }

  async close(): Promise<void> {
    await this.stopAll();
    for (const db of this.#dbs.splice(0)) await db.close();
    await this.#order.end();
    await this.#notification.end();
    await this.databases.drop();
  }

  /**
   * A broker with these parts. The consumer needs a teller in its broker where there is no Kafka. `env`: besides the
   * chain's.
   */
  async start(
    parts: { teller?: boolean; consumer?: boolean; kinds?: readonly string[] },
    options: object = {},
    env: Readonly<Record<string, string>> = {},
  ): Promise<ServiceBroker> {
    const before = { ...process.env };
    Object.assign(process.env, this.#env, env);
    jest.resetModules();
    const [{ outboxMixin }, { consumerMixin }, { openDatabase }] = await Promise.all([
      import("../../../mixins/events/outbox.mixin.ts"),
      import("../../../mixins/events/consumer.mixin.ts"),
      import("../../../mixins/database.mixin.ts"),
    ]).finally(() => {
      for (const name of Object.keys({ ...this.#env, ...env })) delete process.env[name];
      Object.assign(process.env, before);
    });
    const broker = new ServiceBroker({
      logger: false,
      skipProcessEventRegistration: true,
      ...options,
    } as never);
    const logged = this.logged;
    const listen = (service: Service) => {
      for (const level of ["warn", "error"] as const)
        service.logger[level] = (...args: unknown[]) => logged.push(args.map(String).join(" "));
    };
    const database = (name: "order" | "notification") => {
      const db = openDatabase(this.databases.urlOf(name), 4);
      this.#dbs.push(db);
      return db;
    };
    if (parts.teller)
      broker.createService({
        name: "order",
        mixins: [outboxMixin],
        created(this: Hosted) {
          this.db = database("order");
          listen(this);
        },
      } as ServiceSchema);
    if (parts.consumer) {
      const handle = (tx: Queryable, events: readonly ShopEvent[]) => this.#take(tx, events);
      broker.createService({
        name: "listener",
        mixins: [consumerMixin],
        events: Object.fromEntries((parts.kinds ?? ["order.told.v1"]).map((kind) => [kind, handle])),
        created(this: Hosted) {
          this.db = database("notification");
          listen(this);
        },
      } as unknown as ServiceSchema);
    }
    this.#brokers.push(broker);
    await broker.start();
    return broker;
  }

  async stop(broker: ServiceBroker): Promise<void> {
    this.#brokers.splice(this.#brokers.indexOf(broker), 1);
    await broker.stop();
  }

  async #take(tx: Queryable, events: readonly ShopEvent[]): Promise<void> {
    await this.onEvents(tx, events);
    for (const { id, key, payload } of events)
      await tx.query({
        text: `insert into notifications (event_id, type, version, time, status, user_id, subject, text)
               values (gen_random_uuid(), $1, $2, now(), 'stored', $3, $4, '')`,
        values: [id, (payload as { n: number }).n, key, String((payload as { n: number }).n)],
      });
  }

  /** Tells events, each in a transaction of its own, and answers their ids. */
  async tell(
    key: string,
    numbers: readonly number[],
    { type = "order.told", version = 1 } = {},
  ): Promise<string[]> {
    const ids: string[] = [];
    for (const n of numbers) {
      const { rows } = await this.#order.query(
        "insert into outbox (type, version, key, payload) values ($1, $2, $3, $4) returning id",
        [type, version, key, { n }],
      );
      ids.push(rows[0].id);
    }
    return ids;
  }

  /** A transaction of the teller that is left open. */
  begin(): Promise<pg.PoolClient> {
    return this.#order.connect();
  }

  /** The numbers of a key whose effect is there, in order of the effects. */
  async taken(key: string): Promise<number[]> {
    const { rows } = await this.#notification.query(
      "select version as n from notifications where user_id = $1 order by received_at, ctid",
      [key],
    );
    return rows.map(({ n }) => n);
  }

  async arrived(key: string, numbers: readonly number[], msMax = 15_000): Promise<void> {
    let taken: number[] = [];
    await until(
      `the effects of ${key}`,
      async () => {
        taken = await this.taken(key);
        return taken.length >= numbers.length;
      },
      msMax,
    ).catch((err) => {
      throw new Error(
        `${err.message}: ${taken.join()} instead of ${numbers.join()}; ${this.logged.join("; ")}`,
      );
    });
  }

  async inConsumer<Row>(text: string, values: unknown[] = []): Promise<Row[]> {
    return (await this.#notification.query(text, values)).rows;
  }
  async inTeller<Row>(text: string, values: unknown[] = []): Promise<Row[]> {
    return (await this.#order.query(text, values)).rows;
  }
}
