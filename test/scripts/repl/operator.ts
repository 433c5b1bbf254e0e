/** An operator: a program with the console in a process of its own, typed into and read from. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { until } from "../../support/until.ts";

const ROOT = new URL("../../../", import.meta.url);

export class Console {
  readonly process: ChildProcess;
  output = "";

  constructor(program: string, args: string[], env: Record<string, string>) {
    this.process = spawn(process.execPath, [program, ...args], {
      cwd: ROOT,
      env: { ...process.env, NODE_ENV: "test", LOGLEVEL: "fatal", ...env },
    });
    for (const stream of [this.process.stdout, this.process.stderr])
      stream?.on("data", (bytes: Buffer) => {
        this.output += bytes.toString();
      });
  }

  /** Types a line and answers what was printed up to `expected`. */
  async type(line: string, expected: RegExp): Promise<string> {
    const from = this.output.length;
    this.process.stdin?.write(`${line}\n`);
    await this.until(expected, from);
    return this.output.slice(from);
  }

  until(expected: RegExp, from = 0): Promise<unknown> {
    return until(
      `the console prints ${expected}`,
      () => expected.test(this.output.slice(from)),
      15_000,
    ).catch((err) => {
      throw new Error(`${err.message}; it printed:\n${this.output}`);
    });
  }

  /** The exit code; null where a signal ended it. */
  async ended(): Promise<number | null> {
    if (this.process.exitCode === null && this.process.signalCode === null) await once(this.process, "exit");
    return this.process.exitCode;
  }

  async kill(): Promise<void> {
    this.process.kill("SIGKILL");
    await this.ended();
  }
}
