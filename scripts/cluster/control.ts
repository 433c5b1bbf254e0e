/**
 * How `status` and `restart` reach the cluster that runs: an HTTP server on 127.0.0.1 whose address and token stand
 * in DATA_DIR/cluster.json, readable by its owner alone. A restart answers with one line per step, and its last line
 * is `done` or `failed: why`.
 */
import { randomBytes, timingSafeEqual } from "node:crypto";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { rename, rm, writeFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import path from "node:path";
import { createInterface } from "node:readline";
import { Readable } from "node:stream";
import { isAlive, thisProcess } from "../postgres.record.ts";
import type { Cluster, ClusterStatus } from "./cluster.ts";

interface ClusterRecord {
  /** Of the supervisor. */
  pid: number;
  birth: string;
  url: string;
  token: string;
}

const recordFile = (dataDir: string): string => path.join(dataDir, "cluster.json");

/** Throws where a cluster runs on this data directory already. */
export function refuseSecondCluster(dataDir: string): void {
  const record = readRecord(dataDir);
  if (record)
    throw new Error(
      `a cluster runs on ${dataDir} already (pid ${record.pid}): stop it, or set another DATA_DIR and PORT`,
    );
}

/** Answers until the returned function is called. */
export async function serveControl(cluster: Cluster): Promise<() => Promise<void>> {
  const { dataDir } = cluster.config;
  const token = randomBytes(24).toString("hex");
  const server = createServer((req, res) => void answer(cluster, token, req, res));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const { pid, birth } = thisProcess("");
  const draft = `${recordFile(dataDir)}.new`;
  await rm(draft, { force: true });
  await writeFile(draft, `${JSON.stringify({ pid, birth, url, token } satisfies ClusterRecord)}\n`, {
    mode: 0o600,
  });
  await rename(draft, recordFile(dataDir));
  return async () => {
    await rm(recordFile(dataDir), { force: true });
    const closed = once(server, "close");
    server.close();
    server.closeAllConnections();
    await closed;
  };
}

async function answer(
  cluster: Cluster,
  token: string,
  req: IncomingMessage,
  res: ServerResponse,
): Promise<void> {
  const given = Buffer.from(req.headers.authorization ?? "");
  const wanted = Buffer.from(`Bearer ${token}`);
  if (given.length !== wanted.length || !timingSafeEqual(given, wanted)) {
    res.writeHead(401).end();
    return;
  }
  const { pathname, searchParams } = new URL(req.url ?? "/", "http://cluster");
  if (pathname === "/status") {
    res.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(await cluster.status()));
  } else if (pathname === "/restart" && req.method === "POST") {
    res.writeHead(200, { "content-type": "text/plain" });
    const say = (line: string): void => void res.write(`${line}\n`);
    try {
      await cluster.restart(searchParams.getAll("service"), say);
      res.end("done\n");
    } catch (err) {
      res.end(`failed: ${(err as Error).message}\n`);
    }
  } else {
    res.writeHead(404).end();
  }
}

/** Throws where no cluster runs on this data directory. */
export async function askStatus(dataDir: string): Promise<ClusterStatus> {
  const answer = await ask(dataDir, "/status", "GET");
  return (await answer.json()) as ClusterStatus;
}

/** Tells `say` each step. Throws where the restart failed. */
export async function askRestart(
  dataDir: string,
  services: string[],
  say: (line: string) => void,
): Promise<void> {
  const query = new URLSearchParams(services.map((service): [string, string] => ["service", service]));
  const answer = await ask(dataDir, `/restart?${query}`, "POST");
  let last = "";
  for await (const line of createInterface({ input: Readable.fromWeb(answer.body as never) })) {
    if (last !== "") say(last);
    last = line;
  }
  if (last !== "done")
    throw new Error(last.replace(/^failed: /, "") || "the cluster went away during the restart");
}

async function ask(dataDir: string, target: string, method: "GET" | "POST"): Promise<Response> {
  const record = readRecord(dataDir);
  if (!record)
    throw new Error(`no cluster runs on ${dataDir}: start one with npm run cluster, or set DATA_DIR`);
  const headers = { authorization: `Bearer ${record.token}`, connection: "close" };
  const answer = await fetch(`${record.url}${target}`, { method, headers });
  if (!answer.ok) throw new Error(`the cluster (pid ${record.pid}) answers ${answer.status}; start it again`);
  return answer;
}

/** Undefined where none runs: a supervisor that was killed leaves its file behind. */
function readRecord(dataDir: string): ClusterRecord | undefined {
  const file = recordFile(dataDir);
  if (!existsSync(file)) return undefined;
  const record = JSON.parse(readFileSync(file, "utf8")) as ClusterRecord;
  return isAlive({ ...record, handle: "" }) ? record : undefined;
}
