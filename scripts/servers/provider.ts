/**
 * Where a real server comes from, in this order: its URL in the environment, a program on the PATH, Docker where an
 * engine answers, the distribution's package where we are root on Debian or Ubuntu. Where none of these helps, the
 * error says what to install.
 */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { accessSync, constants } from "node:fs";
import path from "node:path";
import { answers, type Kind, type Place, type Server, startServer } from "./server.ts";

export interface Product {
  kind: Omit<Kind, "argv">;
  /** Its arguments as a program; the directory is empty and its own. */
  args(port: number, directory: string): string[];
  /** Names the URL of one that is running already, as in NATS_URL. */
  variable: string;
  program: string;
  /** Other programs without which that one is of no use. */
  needs?: readonly string[];
  /** Debian's and Ubuntu's package; several separated by spaces. */
  package: string;
  /** What Homebrew calls it, if otherwise. */
  brew?: string;
  /** Fetches what the program runs, where that is not the program itself. May find it missing. */
  fetch?(log?: Log): Promise<void>;
  image: string;
  /** The port that the image listens on. */
  imagePort: number;
  /** Of `docker run`. */
  imageOptions?(port: number): string[];
}

type Log = (line: string) => void;

export class ServerMissing extends Error {}

export interface StartOptions extends Place {
  /** Told what takes long. */
  log?: Log;
}

/** Starts one, or answers with the one that the environment names. Throws ServerMissing where there is none to have. */
export async function provide(product: Product, { log, ...place }: StartOptions = {}): Promise<Server> {
  const named = process.env[product.variable];
  if (named) return adopt(product, named);
  const argv = (await programOf(product, log)) ?? dockerOf(product);
  if (!argv)
    throw new ServerMissing(
      `there is no ${[product.program, ...(product.needs ?? [])].join(" and ")}: install it (Debian, Ubuntu: apt-get install ${product.package}; ` +
        `macOS: brew install ${product.brew ?? product.package}), start Docker, or set ${product.variable}=${schemeOf(product)}host:port`,
    );
  return startServer({ ...product.kind, argv }, place);
}

const schemeOf = ({ kind }: Product): string => kind.scheme ?? `${kind.name}://`;

async function adopt(product: Product, url: string): Promise<Server> {
  const { kind, variable } = product;
  // Of several, the first one stands for all.
  const first = url.split(",")[0] as string;
  const { hostname, port } = new URL(first.includes("://") ? first : `${kind.name}://${first}`);
  const there = {
    url,
    port: Number(port),
    pid: undefined,
    directory: undefined,
    stop: async () => undefined,
  };
  // With TLS or a password it would speak differently; whoever uses it will see.
  if (!(await answers({ ...kind, argv: () => [] }, there.port, hostname)))
    throw new ServerMissing(
      `${variable}=${schemeOf(product)}${hostname}:${port} does not answer; start it, or unset ${variable}`,
    );
  return there;
}

type Argv = Kind["argv"];

async function programOf(product: Product, log?: Log): Promise<Argv | undefined> {
  if (!findAll(product)) await install(product, log);
  const file = findAll(product);
  if (!file) return undefined;
  await product.fetch?.(log);
  return (port, directory) => [file, ...product.args(port, directory)];
}

/** The program, where what it needs is there too. */
const findAll = ({ program, needs = [] }: Product): string | undefined =>
  needs.every(find) ? find(program) : undefined;

// Debian puts daemons into sbin, which is not on every user's PATH.
function find(program: string): string | undefined {
  const directories = [...(process.env.PATH ?? "").split(path.delimiter), "/usr/sbin", "/usr/local/sbin"];
  return directories
    .filter((directory) => path.isAbsolute(directory))
    .map((directory) => path.join(directory, program))
    .find((file) => {
      try {
        accessSync(file, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
}

function dockerOf({ image, imagePort, imageOptions, kind }: Product): Argv | undefined {
  // A client without an engine fails at once; an engine that hangs is as good as none.
  const { status } = spawnSync("docker", ["version", "--format", "{{.Server.Version}}"], { timeout: 5_000 });
  if (status !== 0) return undefined;
  return (port) => [
    ...["docker", "run", "--rm", "--name", `shop-${kind.name}-${port}`],
    ...["--publish", `127.0.0.1:${port}:${imagePort}`, ...(imageOptions?.(port) ?? []), image],
  ];
}

async function install(product: Product, log?: Log): Promise<void> {
  if (process.geteuid?.() !== 0 || !find("apt-get") || dockerOf(product)) return;
  log?.(`installing ${product.package} (once) ...`);
  // Two programs may want the same at once.
  const aptGet = (...args: string[]) => run("apt-get", ["-qq", "-o", "DPkg::Lock::Timeout=120", ...args]);
  const wanted = ["install", "--yes", "--no-install-recommends", ...product.package.split(" ")];
  if (!(await aptGet(...wanted))) {
    await aptGet("update");
    await aptGet(...wanted);
  }
}

async function run(command: string, args: string[]): Promise<boolean> {
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  const [code] = await once(spawn(command, args, { stdio: "ignore", env }), "exit");
  return code === 0;
}
