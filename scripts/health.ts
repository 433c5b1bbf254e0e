/**
 * The health check of the container image: exits with 0 where the node in this container is ready, and with 1 and the
 * reason otherwise. It asks over HTTP what a kubelet would ask, and has no way of its own to know better.
 */
const port = process.env.METRICS_PORT || "3030";
// Docker gives up after three seconds.
const ANSWER_MS_MAX = 2_500;

try {
  const answer = await fetch(`http://127.0.0.1:${port}/health/ready`, {
    signal: AbortSignal.timeout(ANSWER_MS_MAX),
  });
  if (!answer.ok) fail(`${answer.status} ${await answer.text()}`);
} catch (err) {
  fail(`port ${port} does not answer: ${(err as Error).cause ?? (err as Error).message}`);
}

function fail(reason: string): void {
  console.error(reason);
  process.exitCode = 1;
}
