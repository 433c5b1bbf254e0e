/** What holds of consumers, whichever way events come to them: the same tests for both carriers. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "@jest/globals";
import { newId } from "../../../lib/ids.ts";
import { until } from "../../support/until.ts";
import { Chain } from "./chain.ts";

export interface CarrierUnderTest {
  env: Readonly<Record<string, string>>;
  stop(): Promise<void>;
}

const upTo = (n: number): number[] => Array.from({ length: n }, (_, i) => i + 1);

export function consumerTests(title: string, startCarrier: () => Promise<CarrierUnderTest>): void {
  describe(title, () => {
    let carrier: CarrierUnderTest;
    let chain: Chain;
    beforeAll(async () => {
      carrier = await startCarrier();
      chain = await Chain.open(carrier.env);
      await chain.start({ teller: true, consumer: true });
    }, 60_000);
    afterEach(() => {
      chain.onEvents = async () => undefined;
      chain.logged.length = 0;
    });
    afterAll(async () => {
      await chain?.close();
      await carrier?.stop();
    });

    test("events have their effect, those of a key in order", async () => {
      const keys = [newId(), newId(), newId()];
      await Promise.all(keys.map((key) => chain.tell(key, upTo(20))));
      for (const key of keys) await chain.arrived(key, upTo(20));
      for (const key of keys) expect(await chain.taken(key)).toEqual(upTo(20));
    });

    test("what was published twice has one effect", async () => {
      const key = newId();
      const [id] = await chain.tell(key, [1]);
      await chain.arrived(key, [1]);
      // As a relay leaves it that died between the publishing and the mark.
      await chain.inTeller("update outbox set published_at = null, position = null where id = $1", [id]);
      await chain.tell(key, [2]);
      await chain.arrived(key, [1, 2]);
      expect(await chain.taken(key)).toEqual([1, 2]);
    });

    test("what fails now and then is tried again in place, and nothing overtakes it", async () => {
      const key = newId();
      let failures = 0;
      chain.onEvents = async (_, events) => {
        if (events.some((event) => event.key === key && event.payload.n === 2) && failures++ < 3)
          throw new Error("not now");
      };
      await chain.tell(key, upTo(4));
      await chain.arrived(key, upTo(4));
      expect(await chain.taken(key)).toEqual(upTo(4));
      expect(failures).toBeGreaterThanOrEqual(4);
      expect(await chain.inConsumer("select 1 from dead_letters")).toEqual([]);
    });

    test("a poison event is a dead letter after five tries, and blocks its partition for less than 30 s", async () => {
      const key = newId();
      let tries = 0;
      chain.onEvents = async (_, events) => {
        if (!events.some((event) => event.key === key && event.payload.n === 2)) return;
        if (events.length === 1) tries++;
        throw new TypeError("it is poison");
      };
      const startedAt = performance.now();
      const [, id] = await chain.tell(key, upTo(3));
      await chain.arrived(key, [1, 3], 30_000);
      expect(performance.now() - startedAt).toBeLessThan(30_000);
      expect(await chain.taken(key)).toEqual([1, 3]);
      expect(tries).toBe(5);
      const [letter] = await chain.inConsumer<Record<string, unknown>>("select * from dead_letters");
      expect(letter).toMatchObject({ topic: "orders", error: "it is poison", attempts: 5 });
      expect(letter?.stack).toContain("TypeError: it is poison");
      expect(JSON.parse(letter?.body as string)).toMatchObject({ id, key, type: "order.told", version: 1 });
      expect(chain.logged.join()).toContain("it is poison");

      // Replayed too early it fails once more and is kept; then it has its effect, once.
      const replay = () => chain.inConsumer("update dead_letters set replay_at = now()");
      await replay();
      await until("it has failed again", async () => tries === 10, 30_000);
      const attempts = async () =>
        (
          await chain.inConsumer<{ attempts: number; replay_at: Date | null }>(
            "select attempts, replay_at from dead_letters",
          )
        )[0];
      await until("it is kept", async () => (await attempts())?.attempts === 10);
      expect((await attempts())?.replay_at).toBeNull();
      chain.onEvents = async () => undefined;
      await replay();
      await chain.arrived(key, [1, 3, 2]);
      expect(await chain.taken(key)).toEqual([1, 3, 2]);
      expect(await chain.inConsumer("select 1 from dead_letters")).toEqual([]);
    }, 90_000);

    test("poison events of several keys are tried side by side, and hold up no other key", async () => {
      const keys = Array.from({ length: 8 }, newId);
      const healthy = Array.from({ length: 8 }, newId);
      chain.onEvents = async (_, events) => {
        if (events.some(({ key, payload }) => keys.includes(key) && payload.n === 2))
          throw new Error("poison");
      };
      const startedAt = performance.now();
      await Promise.all([...keys, ...healthy].map((key) => chain.tell(key, upTo(3))));
      // In the same delivery, or the one before: they are not behind a poison event of their key.
      for (const key of healthy) await chain.arrived(key, upTo(3), 30_000);
      for (const key of keys) await chain.arrived(key, [1, 3], 30_000);
      expect(performance.now() - startedAt).toBeLessThan(30_000);
      for (const key of keys) expect(await chain.taken(key)).toEqual([1, 3]);
      for (const key of healthy) expect(await chain.taken(key)).toEqual(upTo(3));
      const letters = await chain.inConsumer<{ attempts: number }>(
        "delete from dead_letters returning attempts",
      );
      expect(letters).toEqual(keys.map(() => ({ attempts: 5 })));
    }, 120_000);

    test("poison events of one key are tried five times each, and block their partition for less than 30 s together", async () => {
      const key = newId();
      const tries = new Map<unknown, number>();
      chain.onEvents = async (_, events) => {
        const bad = events.find((event) => event.key === key && ![1, 8].includes(event.payload.n as number));
        if (!bad) return;
        if (events.length === 1) tries.set(bad.payload.n, (tries.get(bad.payload.n) ?? 0) + 1);
        throw new Error("poison");
      };
      const startedAt = performance.now();
      await chain.tell(key, upTo(8));
      await chain.arrived(key, [1, 8], 60_000);
      expect(performance.now() - startedAt).toBeLessThan(30_000);
      expect(await chain.taken(key)).toEqual([1, 8]);
      expect([...tries]).toEqual([2, 3, 4, 5, 6, 7].map((n) => [n, 5]));

      // Replayed, they keep their order, also where the first takes longest.
      chain.onEvents = async (tx, [event]) => {
        if (event?.key === key && event.payload.n === 2) await tx.query({ text: "select pg_sleep(1)" });
      };
      await chain.inConsumer("update dead_letters set replay_at = now()");
      await chain.arrived(key, upTo(8), 30_000);
      expect(await chain.taken(key)).toEqual([1, 8, 2, 3, 4, 5, 6, 7]);
    }, 120_000);

    test("a replay that fails does not bring back a letter that was deleted meanwhile", async () => {
      const key = newId();
      let tries = 0;
      chain.onEvents = async (_, events) => {
        if (!events.some((event) => event.key === key)) return;
        if (events.length === 1) tries++;
        throw new Error("poison");
      };
      const count = async () => (await chain.inConsumer("select from dead_letters")).length;
      await chain.tell(key, [1]);
      await until("it is a dead letter", async () => (await count()) === 1, 30_000);
      tries = 0;
      await chain.inConsumer("update dead_letters set replay_at = now()");
      await until("it is tried again", () => tries > 0);
      await chain.inConsumer("delete from dead_letters");
      // What comes after it in the same loop tells that the replay is over.
      await chain.tell(newId(), [2], { version: 2 });
      await until("there is another letter", async () => (await count()) === 1);
      await chain.inConsumer("update dead_letters set replay_at = now()");
      await until(
        "that has failed again",
        async () =>
          (await chain.inConsumer("select from dead_letters where replay_at is not null")).length === 0,
        30_000,
      );
      const left = await chain.inConsumer("delete from dead_letters returning error");
      expect(left).toEqual([{ error: "version 2 of order.told is not known here" }]);
    }, 90_000);

    test("an unknown version is a dead letter, an unknown type is passed over", async () => {
      const key = newId();
      await chain.tell(key, [1], { version: 2 });
      await chain.tell(key, [2], { type: "order.whispered" });
      await chain.tell(key, [3]);
      await chain.arrived(key, [3]);
      expect(await chain.taken(key)).toEqual([3]);
      const letters = await chain.inConsumer<{ error: string; attempts: number }>(
        "delete from dead_letters returning error, attempts",
      );
      expect(letters).toEqual([{ error: "version 2 of order.told is not known here", attempts: 0 }]);
    });

    test("a handler that never ends has failed, and can write nothing any more", async () => {
      const key = newId();
      let late: Promise<unknown> = Promise.resolve();
      const ended = Promise.withResolvers<void>();
      let isFirst = true;
      chain.onEvents = async (tx, events) => {
        if (!events.some((event) => event.key === key) || !isFirst) return;
        isFirst = false;
        await ended.promise;
        late = tx.query({ text: "delete from notifications" });
        await late;
      };
      await chain.tell(key, [1]);
      await chain.arrived(key, [1], 20_000);
      ended.resolve();
      await until("it tries to write", async () => {
        const outcome = await late.then(
          () => "written",
          (err) => err.message,
        );
        return outcome === "the transaction of this event is over";
      });
      expect(await chain.taken(key)).toEqual([1]);
    }, 30_000);

    test("a handler that its database keeps waiting has failed, too: no partition waits for it for ever", async () => {
      const key = newId();
      chain.onEvents = async (tx, events) => {
        if (events.some((event) => event.key === key && event.payload.n === 2))
          await tx.query({ text: "select pg_sleep(60)" });
      };
      const startedAt = performance.now();
      await chain.tell(key, upTo(3));
      await chain.arrived(key, [1, 3], 40_000);
      expect(performance.now() - startedAt).toBeLessThan(30_000);
      expect(await chain.taken(key)).toEqual([1, 3]);
      const letters = await chain.inConsumer("delete from dead_letters returning attempts, error");
      expect(letters).toEqual([{ attempts: 5, error: expect.stringContaining("statement timeout") }]);
    }, 60_000);

    test("an effect that is refused only when the transaction ends is a try like any other", async () => {
      const key = newId();
      await chain.inConsumer(
        `create function refuse() returns trigger language plpgsql as
           $$ begin if new.user_id = '${key}' and new.subject = '2' then raise 'refused at the end'; end if; return null; end $$`,
      );
      await chain.inConsumer(
        `create constraint trigger refuse after insert on notifications
           deferrable initially deferred for each row execute function refuse()`,
      );
      await chain.tell(key, upTo(3));
      await chain.arrived(key, [1, 3], 30_000);
      expect(await chain.taken(key)).toEqual([1, 3]);
      await chain.inConsumer("drop function refuse cascade");
      const letters = await chain.inConsumer("delete from dead_letters returning attempts, error");
      expect(letters).toEqual([{ attempts: 5, error: "refused at the end" }]);
    }, 60_000);

    test("while the consumer's database is away events wait, and no try is counted", async () => {
      const key = newId();
      let losses = 0;
      chain.onEvents = async (tx, events) => {
        if (!events.some((event) => event.key === key) || losses >= 7) return;
        losses++;
        await tx.query({ text: "select pg_terminate_backend(pg_backend_pid())" });
      };
      await chain.tell(key, [1]);
      await chain.arrived(key, [1], 30_000);
      expect(losses).toBe(7);
      expect(await chain.inConsumer("select 1 from dead_letters")).toEqual([]);
    }, 40_000);
  });
}
