/** What the conformance suite has to know about a participant to test it from outside. */

import type { TxId } from "../../actors/protocol/messages.ts";
import type { DatabaseName } from "../../config/index.ts";
import type { Database } from "../../mixins/database.mixin.ts";
import { openDatabase } from "../../mixins/database.mixin.ts";
import type { OperatedVotes } from "../../mixins/operated.mixin.ts";
import { cloneDatabases, type TestDatabases } from "../harness/databases.ts";
import { openReplica, type ParticipantFactory, type Replica } from "../support/replica.ts";
import { until } from "../support/until.ts";

export interface World {
  /** Makes a replica's participant; all replicas of a world share what lies outside (the card gateway). */
  factory: ParticipantFactory;
  /** A new request that can be granted. All of them want the same goods, where there are any. */
  request(): unknown;
  /** A new request that the participant votes no on, and why. */
  infeasible(): { request: unknown; reason: string };
  /** Requests that cannot be judged, by what is wrong with them. */
  poison: Record<string, unknown>;
  /** How much is held provisionally, in requests. */
  held(): Promise<number>;
  /** How much was sold for good, in requests. */
  sold(): Promise<number>;
}

export interface Subject {
  name: DatabaseName;
  table: string;
  key: string;
  /** True where a committed vote is domain data, which pruning leaves alone. */
  keepsCommitted: boolean;
  operated: OperatedVotes;
  makeWorld(db: Database): Promise<World>;
}

/** One clone of the participant's database, its world, and as many replicas as a test wants. */
export class Bench {
  readonly subject: Subject;
  readonly databases: TestDatabases;
  readonly db: Database;
  readonly world: World;
  readonly #replicas: Replica[] = [];

  private constructor(subject: Subject, databases: TestDatabases, db: Database, world: World) {
    this.subject = subject;
    this.databases = databases;
    this.db = db;
    this.world = world;
  }

  static async open(subject: Subject): Promise<Bench> {
    const databases = await cloneDatabases([subject.name]);
    const db = openDatabase(databases.urlOf(subject.name), 4);
    return new Bench(subject, databases, db, await subject.makeWorld(db));
  }

  get url(): string {
    return this.databases.urlOf(this.subject.name);
  }

  async replica(): Promise<Replica> {
    const replica = await openReplica(this.url, this.world.factory, this.subject.operated);
    this.#replicas.push(replica);
    return replica;
  }

  /** Stops the replicas that tests opened since the last call. */
  async stopReplicas(): Promise<void> {
    await Promise.all(this.#replicas.splice(0).map((replica) => replica.stop()));
  }

  async close(): Promise<void> {
    await this.stopReplicas();
    await this.db.close();
    await this.databases.drop();
  }

  async state(txId: TxId): Promise<string | undefined> {
    return (await this.states([txId])).get(txId);
  }

  async states(txIds: readonly TxId[]): Promise<Map<TxId, string>> {
    const { table, key } = this.subject;
    const { rows } = await this.db.query<{ tx_id: TxId; state: string }>({
      text: `select ${key} as tx_id, state from ${table} where ${key} = any($1::uuid[])`,
      values: [txIds],
    });
    return new Map(rows.map((row) => [row.tx_id, row.state]));
  }

  /** Counts of rows, per state. */
  async counts(): Promise<Record<string, number>> {
    const { table } = this.subject;
    const { rows } = await this.db.query<{ state: string; n: number }>({
      text: `select state, count(*)::int as n from ${table} group by state`,
    });
    return Object.fromEntries(rows.map(({ state, n }) => [state, n]));
  }

  /** Every row of every table, as text, once nothing is owed: equal before and after means that nothing changed. */
  async snapshot(): Promise<string> {
    if (this.subject.name === "payment")
      await until("debts are paid", async () => {
        const { rowCount } = await this.db.query({ text: "select 1 from payments where debt is not null" });
        return rowCount === 0;
      });
    const { rows: tables } = await this.db.query<{ name: string }>({
      text: "select tablename as name from pg_tables where schemaname = 'public' and tablename not like 'knex%' order by 1",
    });
    const dumps: string[] = [];
    for (const { name } of tables) {
      const { rows } = await this.db.query<{ dump: string }>({
        text: `select coalesce(string_agg(t::text, E'\\n' order by t::text), '') as dump from ${name} t`,
      });
      dumps.push(`${name}:\n${rows[0]?.dump}`);
    }
    return dumps.join("\n");
  }

  async setSeal(txId: TxId): Promise<void> {
    await this.db.query({ text: "update seal set tx_id = $1", values: [txId] });
  }
}
