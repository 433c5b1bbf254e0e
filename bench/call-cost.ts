/**
 * What the middleware around a call costs: nanoseconds of CPU per in-process call of an action that does nothing, with the
 * shop's own broker options. Run it with `node bench/call-cost.ts`; compare two runs made one after the other, the
 * machine's noise is larger than most differences.
 */
import { ServiceBroker } from "moleculer";
import options from "../moleculer.config.ts";

const CALLS = 200_000;
const ROUNDS = 5;

const broker = new ServiceBroker({ ...options, logger: false });
const nothing = () => Promise.resolve(1);
broker.createService({
  name: "probe",
  actions: {
    plain: { handler: nothing },
    idempotent: { idempotent: true, handler: nothing },
    checkout: { retry: false, answersInTime: true, handler: nothing },
    outer: {
      retry: false,
      circuitBreaker: { enabled: false },
      handler: (ctx) => ctx.call("probe.idempotent"),
    },
  },
});
await broker.start();
const figures: Record<string, number> = {};
for (const name of ["plain", "idempotent", "checkout", "outer"]) {
  const rounds: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const before = process.cpuUsage();
    for (let call = 0; call < CALLS; call++) await broker.call(`probe.${name}`, {});
    const { user, system } = process.cpuUsage(before);
    rounds.push(((user + system) * 1_000) / CALLS);
  }
  figures[name] = Math.round(rounds.sort((a, b) => a - b)[ROUNDS >> 1] as number);
}
console.log(JSON.stringify({ unit: "ns of CPU per call, median of rounds", ...figures }));
await broker.stop();
