// Fails a test file that leaves something behind: a socket, a server, a timer, a child process. Jest would wait for
// it, or in a worker kill it, and say no more than that something did not exit.
const { TestEnvironment } = require("jest-environment-node");

const WATCHED = [
  "TCPSocketWrap",
  "TCPServerWrap",
  "PipeServerWrap",
  "Timeout",
  "ProcessWrap",
  "UDPWrap",
  "Worker",
];
// What is closing, a socket after end() for one, needs a few turns of the event loop.
const CLOSING_MS_MAX = 2_000;

function watched() {
  const counts = Object.fromEntries(WATCHED.map((kind) => [kind, 0]));
  for (const kind of process.getActiveResourcesInfo()) if (kind in counts) counts[kind]++;
  return counts;
}

module.exports = class extends TestEnvironment {
  async setup() {
    await super.setup();
    this.before = watched();
  }

  handleTestEvent(event) {
    if (event.name === "test_done" && event.test.errors.length > 0) this.failed = true;
    if (event.name === "hook_failure" || event.name === "error") this.failed = true;
  }

  async teardown() {
    // A test that failed half-way leaves things open. Its own failure is the one to show, and this would hide it.
    const leaks = this.failed ? [] : await this.leaks();
    await super.teardown();
    if (leaks.length > 0)
      throw new Error(`the test file left open: ${leaks.join(", ")}; stop what it started`);
  }

  async leaks() {
    const givesUpAt = performance.now() + CLOSING_MS_MAX;
    for (;;) {
      const now = watched();
      const leaks = WATCHED.filter((kind) => now[kind] > this.before[kind]);
      if (leaks.length === 0 || performance.now() > givesUpAt)
        return leaks.map((kind) => `${now[kind] - this.before[kind]} ${kind}`);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }
};
