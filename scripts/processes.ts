/**
 * Tells one process from another that got the same pid later. Nothing here ends a process: callers do, and only after
 * they have checked that the pid is still the process they mean.
 */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";

/**
 * When the process with this pid began, in a form that is only good for comparing; undefined where none is running.
 * A zombie counts as gone: nobody may ever reap it (a container whose pid 1 is no init), yet it does nothing any more.
 */
export function birthOf(pid: number): string | undefined {
  if (process.platform !== "linux") return ps(pid, "lstart=");
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The second field is the command in parentheses and may hold spaces; the third is the state, the 22nd the start.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return fields[0] === "Z" || fields[0] === "X" ? undefined : fields[19];
  } catch (err) {
    if (["ENOENT", "ESRCH"].includes((err as NodeJS.ErrnoException).code ?? "")) return undefined;
    throw err;
  }
}

/** The command line of the process with its arguments, or undefined where none is running. */
export function commandOf(pid: number): string | undefined {
  if (process.platform !== "linux") return ps(pid, "command=");
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ").trim();
  } catch (err) {
    if (["ENOENT", "ESRCH"].includes((err as NodeJS.ErrnoException).code ?? "")) return undefined;
    throw err;
  }
}

function ps(pid: number, column: string): string | undefined {
  const { error, stdout } = spawnSync("ps", ["-o", column, "-p", String(pid)], { encoding: "utf8" });
  if (error) throw new Error(`cannot look up process ${pid} with ps: ${error.message}`, { cause: error });
  return stdout.trim() === "" ? undefined : stdout.trim();
}
