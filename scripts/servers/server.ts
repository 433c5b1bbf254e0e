/**
 * Real servers for the cluster, the tests and the drills: one process on a free port of 127.0.0.1 with its files in a
 * directory that goes with it. A guard (a shell that waits for the end of a pipe) ends the server, by its pid, when
 * whoever started it is gone, be it by kill -9; a terminal's Ctrl-C does not reach it, so it outlives those it serves.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { freePort } from "../ports.ts";

export interface Server {
  readonly url: string;
  readonly port: number;
  /** Of the server itself; undefined where it is not ours, or runs in a container. */
  readonly pid: number | undefined;
  /** Its files, `log` among them; they go with it unless it was told to use this directory. */
  readonly directory: string | undefined;
  /** Ends it unless it is somebody else's. May be repeated. */
  stop(): Promise<void>;
}

/** How one kind of server is run and recognised. */
export interface Kind {
  /** As in `nats`: of the URL's scheme and of the temporary directory. */
  name: string;
  /** Begins the URL, where that is not `name://`. */
  scheme?: string;
  /** Puts into the directory what the server wants to find there. */
  prepare?(directory: string): Promise<void>;
  argv(port: number, directory: string): string[];
  /** Sent after connecting, where the server does not speak first. */
  greeting: string | Buffer;
  /** Begins the answer of a server that is up, or recognises it. */
  answer: string | ((data: Buffer) => boolean);
}

export interface Place {
  /** Instead of a free one: to bring a server back where it was. */
  port?: number;
  /** Instead of a temporary one, and then it stays: to bring a server back with what it had. */
  directory?: string;
}

// Kafka is up in seconds, the others in tens of milliseconds; a container image may have to be pulled first.
const READY_MS_MAX = 60_000;

// $1 is the directory, which is removed if $2 says so. The pipe on stdin ends when its other side does. A stopped server
// hears the TERM when it continues. What a background command inherits as stdin is /dev/null, hence the copy. The last
// it said is for whoever still waits for its answer.
const GUARD = `
directory=$1; goes=$2; shift 2
exec 3<&0
"$@" </dev/null 3<&- >>"$directory/log" 2>&1 &
server=$!
echo $server
{ cat <&3 >/dev/null; kill -TERM $server; kill -CONT $server; sleep 3; kill -KILL $server; } 2>/dev/null &
watch=$!
wait $server
kill $watch 2>/dev/null
tail -n 5 "$directory/log" 2>/dev/null
[ $goes = no ] || rm -rf "$directory"
`;

/** Starts a server and waits until it answers. Throws with what it said where it ends instead. */
export async function startServer(kind: Kind, { port, directory: kept }: Place = {}): Promise<Server> {
  const taken = port ?? (await freePort());
  const directory = kept ?? (await mkdtemp(path.join(tmpdir(), `shop-${kind.name}-`)));
  await kind.prepare?.(directory);
  const argv = kind.argv(taken, directory);
  const guard = spawn("sh", ["-c", GUARD, "guard", directory, kept ? "no" : "yes", ...argv], {
    stdio: ["pipe", "pipe", "ignore"],
    detached: true,
  });
  const [line] = (await once(guard.stdout, "data")) as [Buffer];
  let said = "";
  guard.stdout.on("data", (data: Buffer) => {
    said += data;
  });
  const server: Server = {
    url: `${kind.scheme ?? `${kind.name}://`}127.0.0.1:${taken}`,
    port: taken,
    pid: Number(line.toString()),
    directory,
    stop: () => endOf(guard),
  };
  const givesUpAt = performance.now() + READY_MS_MAX;
  while (!(await answers(kind, taken))) {
    if (guard.exitCode !== null || performance.now() > givesUpAt) {
      await server.stop();
      throw new Error(`${argv.join(" ")} does not answer on port ${taken}; the last it said: ${said}`);
    }
    await sleep(10);
  }
  guard.stdout.destroy();
  guard.unref();
  return server;
}

async function endOf(guard: ChildProcess): Promise<void> {
  guard.ref();
  guard.stdin?.destroy();
  if (guard.exitCode === null && guard.signalCode === null) await once(guard, "exit");
}

/** True where a server of this kind answers there. */
export function answers({ greeting, answer }: Kind, port: number, host = "127.0.0.1"): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port, host });
    socket.setTimeout(2_000, () => socket.destroy());
    socket.once("connect", () => socket.write(greeting));
    socket.once("data", (data) => {
      resolve(typeof answer === "string" ? data.toString().startsWith(answer) : answer(data));
      socket.destroy();
    });
    socket.on("error", () => undefined);
    socket.once("close", () => resolve(false));
  });
}
