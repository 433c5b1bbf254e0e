/**
 * `npm run repl`: an operator's console that joins a running cluster as a node without services. It needs TRANSPORTER;
 * a shop of one process has its console inside (npm start -- --repl).
 */
import { outliveTerminal, STOP_SIGNALS, stopCompilers } from "../lib/stop.ts";
import { readArguments } from "./arguments.ts";
import { describe } from "./describe.ts";

/** Other nodes answer within a moment; without any, the operator hears it and gets the console all the same. */
const JOIN_MS_MAX = 3_000;

readArguments("usage: npm run repl\nTRANSPORTER and NAMESPACE say which cluster.", {});
outliveTerminal();
try {
  await main();
} catch (err) {
  console.error(`The console cannot open: ${describe(err)}`);
  process.exit(1);
}

async function main(): Promise<void> {
  // Nobody probes a console, and in a node's container that node has the port.
  delete process.env.METRICS_PORT;
  // Not static: a faulty configuration throws when it is read.
  const { config } = await import("../config/index.ts");
  if (!config.transporter)
    throw new Error(
      "TRANSPORTER is not set, so there is no cluster to join; a shop of one process has its console inside: npm start -- --repl",
    );
  const { createShop } = await import("./shop.ts");
  const { openConsole } = await import("./repl/console.ts");
  const broker = await createShop({
    services: [],
    // What a node tells of its start would only cover what the operator asks for.
    overrides: {
      nodeID: `console-${config.nodeId}`,
      logLevel: config.logLevel === "info" ? "warn" : config.logLevel,
    },
  });
  for (const signal of STOP_SIGNALS)
    process.once(signal, () => {
      stopCompilers();
      broker.giveUpConnecting();
      void broker.stop().then(() => process.exit(0));
    });
  await broker.start();
  await broker.waitForServices(["transactions"], JOIN_MS_MAX, 50).catch(() => {
    console.error(
      "no node that hosts the transaction manager has answered yet; check TRANSPORTER and NAMESPACE",
    );
  });
  openConsole(broker, () => {
    stopCompilers();
    return broker.stop();
  });
}
