import { afterEach, describe, expect, it, jest } from "@jest/globals";
import { Group } from "../../../scripts/cluster/group.ts";
import { parseScale, planOf } from "../../../scripts/cluster/plan.ts";
import type { Worker } from "../../../scripts/cluster/worker.process.ts";
import { gate, until } from "../../support/until.ts";

/** A worker without a process: the test says when it is ready and how it ends. */
function double(nodeID: string) {
  const ready = gate();
  const ended = gate<string>();
  const worker = {
    nodeID,
    pid: 0,
    services: ["user"],
    state: "starting",
    wasStopped: false,
    ready: ready.promise,
    ended: ended.promise,
    async stop() {
      worker.wasStopped = true;
      worker.state = "ended";
      ready.fail(new Error(`${nodeID} ended with exit code 0`));
      ended.open("exit code 0");
      return true;
    },
  };
  return {
    worker: worker as unknown as Worker,
    becomeReady() {
      worker.state = "ready";
      ready.open();
    },
    crash(how: string) {
      worker.state = "ended";
      ready.fail(new Error(`${nodeID} ended with ${how}`));
      ended.open(how);
    },
  };
}

function open(replicas: number) {
  const doubles: ReturnType<typeof double>[] = [];
  const said: string[] = [];
  let faults = 0;
  const group = new Group({
    name: "user",
    services: ["user"],
    replicas,
    say: (line) => said.push(line),
    open({ nodeID }) {
      if (faults > 0) {
        faults--;
        throw new Error("spawn ENOMEM");
      }
      const made = double(nodeID);
      doubles.push(made);
      return made.worker;
    },
  });
  const nth = (n: number) => until(`worker ${n} is opened`, () => doubles[n - 1]);
  return {
    group,
    doubles,
    said,
    nth,
    /** The next `count` workers cannot be opened. */
    failToOpen(count: number) {
      faults = count;
    },
  };
}

describe("a group of workers", () => {
  it("is started when every replica is ready", async () => {
    const { group, nth } = open(2);
    const started = group.start();
    (await nth(1)).becomeReady();
    (await nth(2)).becomeReady();
    await started;
    expect([...group.workers].map(({ nodeID }) => nodeID)).toEqual(["user-1", "user-2"]);
    expect(await group.stop()).toBe(true);
  });

  it("fails its start where a worker keeps crashing, with the reason of the last", async () => {
    const { group, nth, doubles } = open(1);
    const started = group.start();
    started.catch(() => undefined);
    for (let n = 1; n <= 4; n++) (await nth(n)).crash(`exit code ${n}`);
    await expect(started).rejects.toThrow("user-4 ended with exit code 4");
    expect(doubles.length).toBe(4);
    await group.stop();
  });

  it("replaces a worker that ends, reports one that keeps ending, and does not spin", async () => {
    const { group, nth, said, doubles } = open(1);
    const started = group.start();
    (await nth(1)).becomeReady();
    await started;
    (await nth(1)).crash("SIGKILL");
    const openedAt: number[] = [];
    for (let n = 2; n <= 5; n++) {
      (await nth(n)).crash("exit code 1");
      openedAt.push(performance.now());
    }
    await until("it is reported", () =>
      said.at(-1)?.startsWith("user KEEPS CRASHING, 5 times in a row: user-5 ended with exit code 1"),
    );
    expect(group.isFailing).toBe(true);
    // Each pause is at least half of its ceiling: 200, 400 and 800 ms before the third, fourth and fifth worker.
    expect((openedAt.at(-1) ?? 0) - (openedAt[0] ?? 0)).toBeGreaterThan(1_300);
    (await nth(6)).becomeReady();
    await until("it says so", () => said.at(-1) === "user-6 is ready in the place of user-1");
    expect(group.isFailing).toBe(false);
    await group.stop();
    expect(doubles.length).toBe(6);
  });

  it("goes on where the machine has no room for a process right now", async () => {
    const { group, nth, said, failToOpen } = open(1);
    const started = group.start();
    (await nth(1)).becomeReady();
    await started;
    failToOpen(1);
    (await nth(1)).crash("SIGKILL");
    (await nth(2)).becomeReady();
    await until("it says so", () => said.at(-1)?.endsWith("is ready in the place of user-1"));
    expect(said.join()).toContain("spawn ENOMEM; starting another");
    await group.stop();
  });

  it("restarts one after the other, and keeps the old worker where the new one fails", async () => {
    const { group, nth, doubles } = open(2);
    const started = group.start();
    (await nth(1)).becomeReady();
    (await nth(2)).becomeReady();
    await started;
    const said: string[] = [];
    const restarted = group.restart((line) => said.push(line));
    (await nth(3)).becomeReady();
    (await nth(4)).crash("exit code 1");
    await expect(restarted).rejects.toThrow("user-4 ended with exit code 1; user-2 goes on");
    expect(said.join()).toMatch(/user-3 is ready.*draining user-1.*user-1 has ended/);
    expect([...group.workers].map(({ nodeID }) => nodeID)).toEqual(["user-2", "user-3"]);
    expect(doubles.length).toBe(4);
    await group.stop();
  });
});

describe("a rolling restart whose new worker hangs", () => {
  afterEach(() => void jest.useRealTimers());

  it("gives it up after two minutes, ends it and keeps the old one", async () => {
    const { group, nth } = open(1);
    const started = group.start();
    (await nth(1)).becomeReady();
    await started;
    jest.useFakeTimers();
    const restarted = group.restart(() => undefined);
    restarted.catch(() => undefined);
    await jest.advanceTimersByTimeAsync(119_999);
    expect(group.workers.size).toBe(2);
    await jest.advanceTimersByTimeAsync(1);
    await expect(restarted).rejects.toThrow("user-2 was not ready after 120 s and was ended; user-1 goes on");
    expect([...group.workers].map(({ nodeID }) => nodeID)).toEqual(["user-1"]);
    expect(jest.getTimerCount()).toBe(0);
    await group.stop();
  });
});

describe("a rolling restart during which workers end by themselves", () => {
  /** A second: ten times the first back-off. */
  const quiet = () => new Promise((resolve) => setTimeout(resolve, 1_000));

  async function started(replicas: number) {
    const opened = open(replicas);
    const start = opened.group.start();
    for (let n = 1; n <= replicas; n++) (await opened.nth(n)).becomeReady();
    await start;
    return opened;
  }
  const idsOf = (group: Group) => [...group.workers].map(({ nodeID }) => nodeID);

  it("leaves as many as there were where one ends before its turn", async () => {
    const { group, nth, doubles } = await started(2);
    const restarted = group.restart(() => undefined);
    await nth(3);
    (await nth(2)).crash("SIGKILL");
    (await nth(4)).becomeReady();
    (await nth(3)).becomeReady();
    await restarted;
    expect(idsOf(group).sort()).toEqual(["user-3", "user-4"]);
    expect(doubles.length).toBe(4);
    await group.stop();
  });

  it("leaves as many as there were where one ends while its successor starts", async () => {
    const { group, nth, doubles } = await started(1);
    const restarted = group.restart(() => undefined);
    await nth(2);
    (await nth(1)).crash("SIGKILL");
    await quiet();
    (await nth(2)).becomeReady();
    await restarted;
    expect(idsOf(group)).toEqual(["user-2"]);
    expect(doubles.length).toBe(1 + 1);
    await group.stop();
  });

  it("leaves as many as there were where one that is being brought back is replaced, too", async () => {
    const { group, nth, doubles, said } = await started(1);
    (await nth(1)).crash("SIGKILL");
    await nth(2);
    const restarted = group.restart(() => undefined);
    (await nth(3)).becomeReady();
    await restarted;
    await quiet();
    expect(idsOf(group)).toEqual(["user-3"]);
    expect(doubles.length).toBe(3);
    expect(said.join()).not.toContain("user-2 ended");
    await group.stop();
  });

  it("replaces the old one where both have ended", async () => {
    const { group, nth } = await started(1);
    const restarted = group.restart(() => undefined);
    restarted.catch(() => undefined);
    await nth(2);
    (await nth(1)).crash("SIGKILL");
    await quiet();
    (await nth(2)).crash("exit code 1");
    await expect(restarted).rejects.toThrow("user-1 has ended meanwhile, and is replaced");
    (await nth(3)).becomeReady();
    expect(idsOf(group)).toEqual(["user-3"]);
    await group.stop();
  });
});

describe("the plan of a cluster", () => {
  it("has two gateways, last, and a manager in each order node", () => {
    const plan = planOf({ product: 2 });
    expect(plan.map(({ name, replicas }) => `${name} ${replicas}`)).toEqual([
      "auth 1",
      "user 1",
      "product 2",
      "order 1",
      "payment 1",
      "notification 1",
      "api 2",
    ]);
    expect(plan.find(({ name }) => name === "order")?.services).toEqual(["order", "transaction-manager"]);
  });

  it("places managers in nodes of their own where they have a scale", () => {
    const plan = planOf(parseScale("transaction-manager=2,order=3"));
    expect(plan.find(({ name }) => name === "order")).toMatchObject({ services: ["order"], replicas: 3 });
    expect(plan.find(({ name }) => name === "transaction-manager")).toMatchObject({ replicas: 2 });
  });

  it("refuses a scale that cannot be, naming every fault", () => {
    expect(() => parseScale("cart=1,order=0,product=x")).toThrow(
      /cart=1: there is no service cart[\s\S]*order=0: expected a number[\s\S]*product=x: expected/,
    );
  });
});
