/** A copy of the sources whose files a test may edit, and `npm run dev` running on it, with a probe inside. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { cp, mkdir, mkdtemp, readFile, rename, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { environmentName } from "../../../config/index.ts";
import { DIRECTORY_VARIABLE, type TestDatabases } from "../../harness/databases.ts";
import { ADMIN } from "../../harness/shop.ts";
import { until } from "../../support/until.ts";

const ROOT = fileURLToPath(new URL("../../../", import.meta.url));
const COPIED = [
  "lib",
  "config",
  "actors",
  "mixins",
  "services",
  "scripts",
  "moleculer.config.ts",
  "package.json",
];

export interface Counts {
  resources: Record<string, number>;
  listeners: Record<string, number>;
  heapBytes: number;
}

export class Workbench {
  output = "";
  readonly #folder: string;
  readonly #process: ChildProcess;

  private constructor(folder: string, process: ChildProcess) {
    this.#folder = folder;
    this.#process = process;
    for (const stream of [process.stdout, process.stderr])
      stream?.on("data", (bytes: Buffer) => {
        this.output += bytes.toString();
      });
  }

  static async open(databases: TestDatabases, env: Record<string, string> = {}): Promise<Workbench> {
    const folder = await mkdtemp(path.join(process.env[DIRECTORY_VARIABLE] ?? tmpdir(), "dev-"));
    for (const name of COPIED) await cp(path.join(ROOT, name), path.join(folder, name), { recursive: true });
    await symlink(path.join(ROOT, "node_modules"), path.join(folder, "node_modules"));
    await mkdir(path.join(folder, "home"));
    const urls = Object.entries(databases.urls).map(([name, url]) => [
      `DATABASE_URL_${environmentName(name)}`,
      url,
    ]);
    const probe = fileURLToPath(new URL("./probe.ts", import.meta.url));
    const child = spawn(
      process.execPath,
      ["--expose-gc", "--import", probe, "scripts/start.ts", "--repl", "--hot"],
      {
        cwd: folder,
        stdio: ["pipe", "pipe", "pipe", "ipc"],
        env: {
          ...process.env,
          NODE_ENV: "test",
          LOGLEVEL: "error",
          ...Object.fromEntries(urls),
          HOME: path.join(folder, "home"),
          DATA_DIR: path.join(folder, "data"),
          PORT: "0",
          BCRYPT_COST: "4",
          ADMIN_EMAIL: ADMIN.email,
          ADMIN_PASSWORD: ADMIN.password,
          ...env,
        },
      },
    );
    const workbench = new Workbench(folder, child);
    await workbench.says(/shop \$ /, 0, 60_000);
    return workbench;
  }

  get url(): string {
    const [, url] = /(http:\/\/localhost:\d+)/.exec(this.output) ?? [];
    if (!url) throw new Error(`the shop has not said its address:\n${this.output}`);
    return url;
  }

  /** Replaces `from` by `to` in a file as editors do: another file is renamed onto it. Answers where the output is. */
  async edit(file: string, from: string | RegExp, to: string): Promise<number> {
    const at = path.join(this.#folder, file);
    const text = await readFile(at, "utf8");
    const edited = text.replace(from, () => to);
    if (edited === text) throw new Error(`${file} does not hold ${from}`);
    const said = this.output.length;
    await writeFile(`${at}.swap`, edited);
    await rename(`${at}.swap`, at);
    return said;
  }

  async add(file: string, text: string): Promise<number> {
    const said = this.output.length;
    await writeFile(path.join(this.#folder, file), text);
    return said;
  }

  /** Waits for a line after `from`, and answers what was said since. */
  async says(expected: RegExp, from: number, msMax = 20_000): Promise<string> {
    const ended = (): boolean => this.#process.exitCode !== null;
    await until("a line", () => expected.test(this.output.slice(from)) || ended(), msMax).catch(
      () => undefined,
    );
    if (!expected.test(this.output.slice(from)))
      throw new Error(`the shop does not say ${expected}${ended() ? ", it has ended" : ""}:\n${this.output}`);
    return this.output.slice(from);
  }

  type(line: string): void {
    this.#process.stdin?.write(`${line}\n`);
  }

  async counts(): Promise<Counts> {
    const answer = once(this.#process, "message");
    this.#process.send("count");
    return ((await answer) as [Counts])[0];
  }

  /** `exit` in the console; answers the exit code. */
  async leave(): Promise<number | null> {
    this.type("exit");
    if (this.#process.exitCode === null) await once(this.#process, "exit");
    return this.#process.exitCode;
  }

  async close(): Promise<void> {
    this.#process.kill("SIGKILL");
    if (this.#process.exitCode === null && this.#process.signalCode === null)
      await once(this.#process, "exit");
    await rm(this.#folder, { recursive: true });
  }
}
