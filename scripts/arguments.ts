/** What a program was told on its command line. One that was told something else does nothing: a slip must not run. */
import { type ParseArgsConfig, parseArgs } from "node:util";

/** As parseArgs; `--help` prints `usage` and ends the process with 0, and what is not understood ends it with 2. */
export function readArguments<Config extends ParseArgsConfig>(
  usage: string,
  config: Config,
): ReturnType<typeof parseArgs<Config>> {
  if (process.argv.slice(2).includes("--help")) {
    console.log(usage);
    process.exit(0);
  }
  try {
    return parseArgs(config);
  } catch (fault) {
    console.error(`${(fault as Error).message}\n${usage}`);
    process.exit(2);
  }
}
