/** Preloaded into the shop under test: counts what is open there, when it is asked to by a message. */
process.on("message", () => {
  globalThis.gc?.();
  const resources: Record<string, number> = {};
  for (const kind of process.getActiveResourcesInfo()) resources[kind] = (resources[kind] ?? 0) + 1;
  const listeners = Object.fromEntries(
    process.eventNames().map((name) => [String(name), process.listenerCount(name)]),
  );
  process.send?.({ resources, listeners, heapBytes: process.memoryUsage().heapUsed });
});
// The channel alone must not keep the process.
process.channel?.unref();
