/**
 * A simulated PostgreSQL: it carries out the statements of the real repositories by their names, over tables in memory
 * that survive every crash of their clients. Each statement is atomic and durable at one point of virtual time; a
 * transaction reads what is committed and, when it commits, fails where a row it locked or wrote has changed meanwhile
 * (where the real server would have made one of the two wait). What a client is told may differ from what was done.
 */
import type { Database, Queryable, Statement } from "../mixins/database.mixin.ts";
import type { StatementAction } from "./plan.ts";
import type { Incarnation, World } from "./world.ts";

export type Row = Readonly<Record<string, unknown>>;
export type Rows = Record<string, unknown>[];
/** A statement: reads and writes tables, returns its rows. */
export type Simulated = (view: View, values: readonly unknown[]) => Rows;

export interface Change {
  table: string;
  key: string;
  before: Row | undefined;
  after: Row | undefined;
}

export class SqlError extends Error {
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

/** What one statement or transaction sees: what is committed, and what it has written itself. */
export class View {
  readonly #tables: Map<string, Map<string, Row>>;
  readonly #written = new Map<string, Change>();
  readonly #required: (() => void)[] = [];
  /** Rows as they were when this view locked them. */
  readonly #locked = new Map<string, { table: string; key: string; row: Row | undefined }>();

  constructor(tables: Map<string, Map<string, Row>>) {
    this.#tables = tables;
  }

  get<R extends Row>(table: string, key: string): R | undefined {
    const written = this.#written.get(`${table} ${key}`);
    return (written ? written.after : this.#tables.get(table)?.get(key)) as R | undefined;
  }

  /** Reads, and holds the row, where there is one, against every rival until the end. */
  lock<R extends Row>(table: string, key: string): R | undefined {
    const row = this.#tables.get(table)?.get(key);
    const locked = this.#locked.get(`${table} ${key}`);
    if (locked) this.#refuseRival(locked);
    else if (row) this.#locked.set(`${table} ${key}`, { table, key, row });
    return this.get<R>(table, key);
  }

  put(table: string, key: string, after: Row | undefined): void {
    const id = `${table} ${key}`;
    const before = this.lock(table, key);
    if (!this.#locked.has(id)) this.#locked.set(id, { table, key, row: before });
    const first = this.#written.get(id);
    this.#written.set(id, { table, key, before: first ? first.before : before, after });
  }

  /** All rows, in order of key. */
  all<R extends Row>(table: string): R[] {
    const keys = new Set(this.#tables.get(table)?.keys());
    for (const change of this.#written.values()) if (change.table === table) keys.add(change.key);
    return [...keys]
      .sort()
      .map((key) => this.get<R>(table, key))
      .filter((row) => row !== undefined);
  }

  /** Holds a whole range against every rival: what is asked must be true still at the end. */
  require(isTrue: () => boolean, err: SqlError): void {
    this.#required.push(() => {
      if (!isTrue()) throw err;
    });
  }

  /** The time of the server, by its own wall clock. */
  nowMs = 0;

  /** Makes it durable, or throws where a rival came first. */
  commit(): Change[] {
    for (const locked of this.#locked.values()) this.#refuseRival(locked);
    for (const check of this.#required) check();
    const changes = [...this.#written.values()].filter(({ before, after }) => before !== after);
    for (const { table, key, after } of changes) {
      let rows = this.#tables.get(table);
      if (!rows) {
        rows = new Map();
        this.#tables.set(table, rows);
      }
      if (after) rows.set(key, after);
      else rows.delete(key);
    }
    return changes;
  }

  #refuseRival({ table, key, row }: { table: string; key: string; row: Row | undefined }): void {
    if (this.#tables.get(table)?.get(key) !== row)
      throw new SqlError(row ? "40001" : "23505", `a rival changed ${table} ${key}`);
  }
}

/** A statement without a name goes by its first two words. */
const nameOf = ({ name, text }: Statement): string => name ?? text.trim().split(/\s+/, 2).join(" ");

const NEVER = new Promise<never>(() => {});
const lost = () => Object.assign(new Error("Connection terminated unexpectedly"), { code: "ECONNRESET" });

export class SimulatedDatabase {
  readonly name: string;
  readonly #world: World;
  readonly #statements: Readonly<Record<string, Simulated>>;
  readonly #tables = new Map<string, Map<string, Row>>();
  /** Called with what has become durable by one statement or transaction. */
  readonly #watch: (name: string, changes: Change[], statement: Statement | undefined, rows: Rows) => void;

  constructor(
    name: string,
    world: World,
    statements: Readonly<Record<string, Simulated>>,
    watch: (name: string, changes: Change[], statement: Statement | undefined, rows: Rows) => void,
  ) {
    this.name = name;
    this.#world = world;
    this.#statements = statements;
    this.#watch = watch;
  }

  rows<R extends Row>(table: string): R[] {
    return [...(this.#tables.get(table)?.values() ?? [])] as R[];
  }

  row<R extends Row>(table: string, key: string): R | undefined {
    return this.#tables.get(table)?.get(key) as R | undefined;
  }

  /** Writes from outside of every protocol: the first rows, a changed price. */
  write(work: (view: View) => void): void {
    const view = this.#view();
    work(view);
    this.#watch(this.name, view.commit(), undefined, []);
  }

  /** The connection pool of one incarnation. A transaction goes by the name of its first statement. */
  open(client: Incarnation): Database {
    const run = (view: View, statement: Statement): Rows => {
      const simulated = this.#statements[nameOf(statement)];
      if (!simulated) throw new Error(`${this.name} has no simulated statement "${nameOf(statement)}"`);
      return simulated(view, statement.values ?? []);
    };
    return {
      query: async (statement) => {
        const rows = await this.#land(client, nameOf(statement), () => {
          const view = this.#view();
          const rows = run(view, statement);
          this.#watch(this.name, view.commit(), statement, rows);
          return rows;
        });
        return { rows: rows as never[], rowCount: rows.length };
      },
      transaction: async <Result>(work: (tx: Queryable) => Promise<Result>) => {
        const view = this.#view();
        let first = "";
        const result = await work({
          query: async (statement) => {
            first ||= nameOf(statement);
            const rows = await this.#within(client, nameOf(statement), () => run(view, statement));
            return { rows: rows as never[], rowCount: rows.length };
          },
        });
        await this.#land(client, `commit ${first}`, () => {
          this.#watch(this.name, view.commit(), undefined, []);
          return [];
        });
        return result;
      },
      pool: () => ({ busy: 0, idle: 0, waiting: 0 }),
      close: async () => {},
    };
  }

  #view(): View {
    const view = new View(this.#tables);
    view.nowMs = this.#world.now;
    return view;
  }

  #latencyMs(): number {
    return 0.1 + this.#world.random.next() * (this.#world.random.chance(0.1) ? 20 : 2);
  }

  /** A statement inside a transaction: whatever goes wrong, nothing of it is durable. */
  #within(client: Incarnation, name: string, run: () => Rows): Promise<Rows> {
    if (client.isDead) return NEVER;
    const world = this.#world;
    const fault = world.strike(`${this.name}:${name}`);
    const action = fault?.do as StatementAction | undefined;
    if (action?.startsWith("crash")) {
      world.crash(client, fault?.ms ?? 0);
      return NEVER;
    }
    if (action?.startsWith("freeze")) world.freeze(client, fault?.ms ?? 0);
    return new Promise((resolve, reject) => {
      world.after(world.frozenMs(client) + this.#latencyMs(), client, `${this.name}:${name}`, () => {
        if (action?.startsWith("lost")) return reject(lost());
        try {
          resolve(run());
        } catch (err) {
          reject(err);
        }
      });
    });
  }

  /** Something that becomes durable at one moment, if its fault lets it, and whose client may not hear of it. */
  #land(client: Incarnation, name: string, run: () => Rows): Promise<Rows> {
    if (client.isDead) return NEVER;
    const world = this.#world;
    const label = `${this.name}:${name}`;
    const fault = world.strike(label);
    const action = fault?.do as StatementAction | undefined;
    const ms = fault?.ms ?? 0;
    if (action === "crash-before") {
      world.crash(client, ms);
      return NEVER;
    }
    if (action === "freeze-before") world.freeze(client, ms);
    return new Promise((resolve, reject) => {
      const answer = (settle: () => void) =>
        world.after(this.#latencyMs(), client, `${label} answer`, settle);
      const arrivesMs = world.frozenMs(client) + this.#latencyMs();
      if (action === "lost-before" || action === "lost-late") answer(() => reject(lost()));
      if (action === "lost-before") return;
      const isLate = action === "crash-late" || action === "lost-late";
      world.after(arrivesMs + (isLate ? ms : 0), undefined, label, () => {
        let settle: () => void;
        try {
          const rows = run();
          settle = () => resolve(rows);
        } catch (err) {
          settle = () => reject(err);
        }
        if (action === "crash-after") world.crash(client, ms);
        if (action === "freeze-after") world.freeze(client, ms);
        if (action === "lost-after") settle = () => reject(lost());
        if (!isLate) answer(settle);
      });
      if (action === "crash-late") world.crash(client, ms);
    });
  }
}
