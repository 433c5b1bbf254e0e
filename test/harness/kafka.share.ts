/**
 * The half of the test run's Kafka (kafka.ts) that lives in Jest's parent process, because a worker may end before the
 * others: starts it when the first test file asks through a socket in the run's directory, and ends it.
 */
import { createServer } from "node:net";
import path from "node:path";
import { startKafka } from "../../scripts/servers/kafka.ts";
import { ServerMissing } from "../../scripts/servers/provider.ts";

export const socketOf = (directory: string): string => path.join(directory, "kafka.sock");

export type Answer = { brokers: string } | { missing: string } | { fault: string };

/** Answers with how to end it. */
export async function shareKafka(directory: string): Promise<() => Promise<void>> {
  let started: Promise<{ answer: Answer; stop?: () => Promise<void> }> | undefined;
  const server = createServer(async (socket) => {
    started ??= startKafka().then(
      ({ url, stop }) => ({ answer: { brokers: url }, stop }),
      (err) => ({
        answer: err instanceof ServerMissing ? { missing: err.message } : { fault: String(err) },
      }),
    );
    socket.end(JSON.stringify((await started).answer));
  });
  await new Promise<void>((resolve) => server.listen(socketOf(directory), resolve));
  server.unref();
  return async () => {
    server.close();
    await (await started)?.stop?.();
  };
}
