/**
 * The audit where events travel by Kafka, which alone knows whether notification has passed all that was published: if
 * nobody lags, an event that is published and not taken is a violation. Where Kafka cannot be asked, or somebody lags,
 * such an event is on its way.
 */
import type { Config } from "../../config/index.ts";
import { openKafka } from "../../mixins/events/kafka.open.ts";
import { topicName } from "../../mixins/events/topics.ts";
import { type AuditOptions, audit, type DatabaseUrls } from "./audit.ts";
import type { AuditReport } from "./report.ts";

export async function auditAsConfigured(
  config: Config,
  urls: DatabaseUrls,
  options: AuditOptions = {},
): Promise<AuditReport> {
  const isSettled = await nobodyLags(config);
  const report = await audit(urls, { ...options, eventsSettled: isSettled });
  // What was published meanwhile may not have been taken, where its consumer has stopped since.
  if (!isSettled || report.ok || (await nobodyLags(config))) return report;
  return audit(urls, options);
}

async function nobodyLags({ namespace }: Config): Promise<boolean> {
  const quiet = () => undefined;
  const kafka = await openKafka({ debug: quiet, info: quiet, warn: quiet });
  if (!kafka) return false;
  try {
    const lags = await kafka.lag(`${namespace}.notification`, [topicName(namespace, "orders")]);
    return [...lags.values()].every((lag) => lag === 0);
  } catch {
    return false; // it cannot be told, which is all that is said here
  } finally {
    await kafka.close();
  }
}
