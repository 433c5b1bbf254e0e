/** Shows how far a phase is: a bar on a terminal, a line every few seconds elsewhere. On stderr: stdout is the result. */
import { SingleBar } from "cli-progress";

export interface Progress {
  /** Begins a phase, and ends the one before. */
  begin(phase: string, total: number): void;
  tick(): void;
  end(): void;
}

export const SILENT: Progress = { begin: () => undefined, tick: () => undefined, end: () => undefined };

const LINE_EVERY_MS = 5_000;

export const progressOn = (stream: NodeJS.WriteStream): Progress =>
  stream.isTTY ? bars(stream) : lines((line) => stream.write(`${line}\n`));

function bars(stream: NodeJS.WriteStream): Progress {
  let bar: SingleBar | undefined;
  return {
    begin(phase, total) {
      bar?.stop();
      bar = new SingleBar({
        stream,
        format: `${phase.padEnd(10)} {bar} {value}/{total}  {duration_formatted}`,
        hideCursor: true,
      });
      bar.start(total, 0);
    },
    tick: () => bar?.increment(),
    end() {
      bar?.stop();
      bar = undefined;
    },
  };
}

function lines(write: (line: string) => void): Progress {
  let phase = "";
  let total = 0;
  let done = 0;
  let saidAt = 0;
  const say = () => {
    saidAt = performance.now();
    write(`${phase}: ${done} of ${total}`);
  };
  const end = () => {
    if (phase !== "" && done > 0) say();
    phase = "";
  };
  return {
    begin(name, of) {
      end();
      [phase, total, done, saidAt] = [name, of, 0, performance.now()];
    },
    tick() {
      done++;
      if (done < total && performance.now() - saidAt > LINE_EVERY_MS) say();
    },
    end,
  };
}
