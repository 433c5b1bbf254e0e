/**
 * One Kafka for the whole test run, started when the first test file asks for it. Test files keep apart by a namespace
 * of their own, which begins the names of their topics and groups. Nobody may end it: who means to starts one of their
 * own (startKafka).
 */
import { randomUUID } from "node:crypto";
import { createConnection } from "node:net";
import { text } from "node:stream/consumers";
import { describe } from "@jest/globals";
import { ServerMissing } from "../../scripts/servers/provider.ts";
import { DIRECTORY_VARIABLE } from "./databases.ts";
import { type Answer, socketOf } from "./kafka.share.ts";
import { skipWithout } from "./servers.ts";

export interface SharedKafka {
  /** As for KAFKA_BROKERS. */
  readonly brokers: string;
  readonly namespace: string;
  /** Around the tests that need it: skips where there is no Kafka to have, and fails in CI. */
  readonly describe: typeof describe | typeof describe.skip;
}

export async function sharedKafka(): Promise<SharedKafka> {
  const directory = process.env[DIRECTORY_VARIABLE];
  if (!directory) throw new Error(`${DIRECTORY_VARIABLE} is not set: run the tests with npm test`);
  const answer: Answer = JSON.parse(await text(createConnection(socketOf(directory))));
  if ("fault" in answer) throw new Error(`no Kafka for the tests: ${answer.fault}`);
  const namespace = `test-${randomUUID().slice(0, 8)}`;
  if ("brokers" in answer) return { brokers: answer.brokers, namespace, describe };
  return { brokers: "", namespace, describe: skipWithout(new ServerMissing(answer.missing)) };
}
