/** Errors as one message for a person: what failed, why, and what to do where we know it. */

/** `port` is the one the gateway was told to take. */
export function describe(err: unknown, port?: number): string {
  const causes = chain(err);
  const code = causes.map((cause) => (cause as { code?: unknown }).code).find((value) => value !== undefined);
  if (code === "EADDRINUSE") {
    const taken = causes.map((cause) => (cause as { port?: number }).port).find(Boolean) ?? port;
    const variable = taken === port || port === undefined ? "PORT" : "METRICS_PORT";
    return `port ${taken ?? "?"} is taken by another program: end that one, or choose another port, as in ${variable}=${(taken ?? 3000) + 1} npm start (${variable}=0 takes a free one).`;
  }
  const isListening = causes.some((cause) => (cause as { syscall?: string }).syscall === "listen");
  if (code === "EACCES" && isListening && port !== undefined && port > 0 && port < 1024)
    return `port ${port} needs more rights than this user has: choose one above 1023, as in PORT=3000 npm start.`;
  // A connection refused on several addresses is an AggregateError, which has no message of its own.
  return causes.map((cause) => cause.message || String(code ?? cause.name)).join("\n  because: ");
}

function chain(err: unknown): Error[] {
  const causes: Error[] = [];
  for (let at = err; at !== undefined && at !== null && causes.length < 5; at = (at as Error).cause)
    causes.push(at instanceof Error ? at : new Error(String(at)));
  return causes;
}
