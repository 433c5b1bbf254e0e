/** The mailboxes in front of a participant: what reaches it, and what its callers hear when it does not. */
import { afterEach, expect, test } from "@jest/globals";
import { ServiceBroker, type ServiceSchema } from "moleculer";
import type { DecisionReply, PrepareEntry, PrepareReply } from "../../actors/protocol/messages.ts";
import { newId } from "../../lib/ids.ts";
import { participantMixin, type Votes } from "../../mixins/participant.mixin.ts";
import { entryOf } from "../support/replica.ts";
import { gate, settled, until } from "../support/until.ts";

let broker: ServiceBroker | undefined;
afterEach(async () => {
  await broker?.stop();
  broker = undefined;
});

/** A participant that says yes to all, unless `votes` says otherwise. */
async function start(votes: Partial<Votes>) {
  broker = new ServiceBroker({ logger: false, skipProcessEventRegistration: true });
  broker.createService({
    name: "participant",
    mixins: [
      participantMixin(() => ({
        prepare: async (entries) => entries.map(() => ({ kind: "yes" })),
        commit: async (txIds) => txIds.map(() => "done"),
        abort: async (txIds) => txIds.map(() => "done"),
        inDoubt: async () => [],
        raiseSeal: async (upTo) => upTo,
        prune: async () => 0,
        ...votes,
      })),
    ],
  } as ServiceSchema);
  await broker.start();
  const { call } = broker;
  return {
    prepare: (entries: PrepareEntry[]): Promise<PrepareReply[]> =>
      call.call(broker, "participant.prepare", { entries }) as Promise<PrepareReply[]>,
    commit: (txIds: string[]): Promise<DecisionReply[]> =>
      call.call(broker, "participant.commit", { txIds }) as Promise<DecisionReply[]>,
  };
}

test("entries that expire in the mailbox never reach the participant", async () => {
  const held = gate();
  const seen: string[] = [];
  const { prepare } = await start({
    prepare: async (entries) => {
      seen.push(...entries.map(({ txId }) => txId));
      await held.promise;
      return entries.map(() => ({ kind: "yes" }));
    },
  });
  const [first, second, late, inTime] = [1, 1, 1, 1].map(() => entryOf({})) as [
    PrepareEntry,
    PrepareEntry,
    PrepareEntry,
    PrepareEntry,
  ];
  const working = [prepare([first])];
  await until("the first is worked on", () => seen.length === 1);
  working.push(prepare([second]));
  await until("both batches are worked on", () => seen.length === 2);
  const waiting = prepare([{ ...late, budgetMs: 5 }, inTime]);
  const startedAt = performance.now();
  await until("the budget is over", () => performance.now() - startedAt > 10);
  held.open();
  expect(await waiting).toEqual([
    { kind: "error", code: "deadline_exceeded", message: expect.any(String) },
    { kind: "yes" },
  ]);
  expect(seen).toEqual([first.txId, second.txId, inTime.txId]);
  await Promise.all(working);
});

test("a database that cannot be reached fails the batch once, as unavailable and never as a no", async () => {
  const batches: number[] = [];
  const { prepare } = await start({
    prepare: async (entries) => {
      batches.push(entries.length);
      throw Object.assign(new Error("the database system is shutting down"), { code: "57P03" });
    },
  });
  const replies = await prepare(Array.from({ length: 16 }, () => entryOf({})));
  for (const reply of replies) expect(reply).toMatchObject({ kind: "error", code: "unavailable" });
  expect(batches).toEqual([16]);
});

test("an entry that cannot be judged fails alone, and its neighbours get their votes", async () => {
  const poison = entryOf({});
  const { prepare } = await start({
    prepare: async (entries) => {
      if (entries.includes(poison)) throw Object.assign(new Error("invalid"), { code: "22P02" });
      return entries.map(() => ({ kind: "yes" }));
    },
  });
  const replies = await prepare([entryOf({}), entryOf({}), poison, entryOf({}), entryOf({})]);
  expect(replies.map(({ kind }) => kind)).toEqual(["yes", "yes", "error", "yes", "yes"]);
  expect(replies[2]).toMatchObject({ code: "internal_error" });
});

test("a commit that fails is pending: not acknowledged, and not refused either", async () => {
  const { commit } = await start({
    commit: () => Promise.reject(new Error("connection lost")),
  });
  expect(await commit([newId(), newId()])).toEqual(["pending", "pending"]);
});

test("what is being worked on when the service stops is answered", async () => {
  const held = gate();
  let working = false;
  const { prepare } = await start({
    prepare: async (entries) => {
      working = true;
      await held.promise;
      return entries.map(() => ({ kind: "yes" }));
    },
  });
  const replies = prepare([entryOf({})]);
  await until("it is worked on", () => working);
  const stopping = broker?.stop();
  await settled();
  held.open();
  expect(await replies).toEqual([{ kind: "yes" }]);
  await stopping;
  broker = undefined;
});
