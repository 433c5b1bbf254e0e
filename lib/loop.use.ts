/**
 * How busy this process is. Work that nobody waits for goes by it: the event loop belongs first to those who wait, and a
 * loop that has time to spare works off what was left.
 */
import { type EventLoopUtilization, performance } from "node:perf_hooks";

/** A reader of the share of the event loop, 0 to 1, that was in use since it last read, or was made. */
export function loopUseBetweenReadings(): () => number {
  let last: EventLoopUtilization = performance.eventLoopUtilization();
  return () => {
    const now = performance.eventLoopUtilization();
    const { utilization } = performance.eventLoopUtilization(now, last);
    last = now;
    return utilization;
  };
}
