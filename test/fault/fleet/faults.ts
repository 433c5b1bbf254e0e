/**
 * The fault points of a process of the fleet: every SQL statement by its name, every COMMIT, every message to another
 * node, every call of the bank. It stands around the drivers (pg, the broker), so the shop's code runs as it is.
 */
import { writeSync } from "node:fs";
import type { Middleware, ServiceBroker } from "moleculer";
import pg from "pg";
import type { Fault, Hit } from "./messages.ts";

let armed: Fault | undefined;
let seen = 0;

export function arm(fault: Fault): void {
  armed = fault;
  seen = 0;
}

/** The fault that is due at this point; it comes once. */
function due(point: string): Fault | undefined {
  if (armed?.point !== point || ++seen !== armed.nth) return undefined;
  const fault = armed;
  armed = undefined;
  return fault;
}

/** Tells of the hit in a way that the next instruction cannot lose, then kills or stops this very process. */
function strike({ point, when, deed }: Fault, txIds: string[]): void {
  const hit: Hit = { point, when, txIds };
  writeSync(1, `hit ${JSON.stringify(hit)}\n`);
  if (deed === "terminate") return;
  process.kill(process.pid, deed === "kill" ? "SIGKILL" : "SIGSTOP");
  if (deed === "kill") for (;;); // the signal is on its way: not one more instruction of the shop's
}

/** Runs `send` with the fault that is due at `point`. `flushed` resolves when what was sent has left the process. */
export async function around<Result>(
  point: string,
  txIds: string[],
  send: () => Promise<Result>,
  flushed: () => Promise<unknown>,
): Promise<Result> {
  const fault = due(point);
  return fault ? striking(fault, txIds, send, flushed) : send();
}

async function striking<Result>(
  fault: Fault,
  txIds: string[],
  send: () => Promise<Result>,
  flushed: () => Promise<unknown>,
): Promise<Result> {
  if (fault.when === "before") strike(fault, txIds);
  const answer = send();
  if (fault.when === "middle") {
    answer.catch(() => undefined);
    await flushed();
    strike(fault, txIds);
  }
  const result = await answer;
  if (fault.when === "after") strike(fault, txIds);
  return result;
}

/** Broker middleware: `call ACTION` is a fault point for every message that leaves for another node. */
export function callFaults(broker: () => ServiceBroker): Middleware {
  const call =
    (next: (...args: unknown[]) => Promise<unknown>) =>
    (action: string, params: Record<string, unknown>, ...rest: unknown[]): Promise<unknown> => {
      if (armed?.point !== `call ${action}`) return next(action, params, ...rest);
      const ids = params.txIds ?? (params.entries as { txId: string }[] | undefined)?.map(({ txId }) => txId);
      const flushed = async () => {
        const { client } = (
          broker() as unknown as { transit: { tx: { client: { flush(): Promise<void> } } } }
        ).transit.tx;
        await client.flush();
      };
      return around(`call ${action}`, (ids as string[]) ?? [], () => next(action, params, ...rest), flushed);
    };
  return { name: "CallFaults", call: call as never };
}

type Query = { name?: string; text?: string; values?: unknown[] };
type Callback = (err: Error | null, result?: unknown) => void;
interface Connection {
  processID: number;
  connection: { stream: { writableLength: number } };
  connectionParameters: pg.ClientConfig;
}
type Send = (this: Connection, query: Query | string, ...rest: unknown[]) => Promise<unknown> | undefined;

/** The last named statement of each connection's open transaction. */
const lastOf = new WeakMap<Connection, Query>();
const prototype = pg.Client.prototype as unknown as { query: Send };
const query = prototype.query;

export function installStatementFaults(): void {
  prototype.query = function (statement, ...rest) {
    const subject = subjectOf(this, statement);
    const fault = subject && due(subject.point);
    return fault
      ? withFault(this, fault, txIdsOf(subject.query), statement, rest)
      : query.call(this, statement, ...rest);
  };
}

function subjectOf(
  connection: Connection,
  statement: Query | string,
): { point: string; query: Query } | undefined {
  if (statement === "commit") {
    const last = lastOf.get(connection);
    return last && { point: `${last.name} + commit`, query: last };
  }
  if (statement === "begin") lastOf.delete(connection);
  const point = typeof statement === "string" ? undefined : (statement.name ?? writing(statement.text));
  if (point === undefined) return undefined;
  lastOf.set(connection, { ...(statement as Query), name: point });
  return { point, query: statement as Query };
}

/** The first two words of a statement that writes. */
const writing = (text = ""): string | undefined => /^\s*((?:insert|update|delete)\s+\w+)/.exec(text)?.[1];

const txIdsOf = ({ values = [] }: Query): string[] => String(values[0]).match(/\b[0-9a-f-]{36}\b/g) ?? [];

function withFault(
  client: Connection,
  fault: Fault,
  txIds: string[],
  statement: Query | string,
  rest: unknown[],
) {
  const callback = rest.findLast((each) => typeof each === "function") as Callback | undefined;
  const args = rest.filter((each) => typeof each !== "function");
  const send = (): Promise<unknown> =>
    new Promise((resolve, reject) => {
      query.call(client, statement, ...args, (err: Error | null, result: unknown) =>
        err ? reject(err) : resolve(result),
      );
    });
  const { stream } = client.connection;
  // A small statement is in the kernel's buffer as soon as it is written; a large one may need a turn or two.
  const flushed = async () => {
    while (stream.writableLength > 0) await new Promise((resolve) => setImmediate(resolve));
  };
  const run =
    fault.deed === "terminate"
      ? terminating(client, fault, txIds, send)
      : striking(fault, txIds, send, flushed);
  if (!callback) return run;
  run.then(
    (result) => callback(null, result),
    (err) => callback(err),
  );
  return undefined;
}

async function terminating(client: Connection, fault: Fault, txIds: string[], send: () => Promise<unknown>) {
  if (fault.when === "before") await terminate(client);
  const answer = send();
  if (fault.when === "middle") terminate(client).catch(() => undefined);
  const result = await answer;
  if (fault.when === "after") await terminate(client);
  return result;

  async function terminate({
    processID,
    connectionParameters: { host, port, user, password, database },
  }: Connection) {
    strike(fault, txIds);
    const other = new pg.Client({ host, port, user, password, database } as pg.ClientConfig);
    await other.connect();
    await other.query("select pg_terminate_backend($1)", [processID]);
    await other.end();
  }
}
