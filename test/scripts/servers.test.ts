/** The provider of real servers: that they answer, that they end, and that they end with whoever started them. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { expect, it } from "@jest/globals";
import { birthOf } from "../../scripts/processes.ts";
import { startKafka } from "../../scripts/servers/kafka.ts";
import { startNats } from "../../scripts/servers/nats.ts";
import { startRedis } from "../../scripts/servers/redis.ts";
import { type Kind, startServer } from "../../scripts/servers/server.ts";
import { sharedKafka } from "../harness/kafka.ts";
import { describeWith } from "../harness/servers.ts";
import { consume, createClient, produce } from "../support/kafka.ts";
import { until } from "../support/until.ts";

for (const start of [startNats, startRedis]) {
  (await describeWith(start))(`a server of ${start.name}`, () => {
    it("answers on a port of its own and leaves nothing when it is stopped", async () => {
      const [one, two] = await Promise.all([start(), start()]);
      expect(one.port).not.toBe(two.port);
      expect(existsSync(one.directory as string)).toBe(true);
      await Promise.all([one.stop(), two.stop()]);
      await one.stop();
      expect(isRunning(one.pid) || isRunning(two.pid)).toBe(false);
      expect(existsSync(one.directory as string) || existsSync(two.directory as string)).toBe(false);
    });

    it("comes back on the port it had", async () => {
      const { port, pid, stop } = await start();
      process.kill(pid as number, "SIGKILL");
      await until("it is gone", () => !isRunning(pid));
      await stop();
      const again = await start({ port });
      expect(again.port).toBe(port);
      await again.stop();
    });

    it("ends when whoever started it is killed", async () => {
      const { child, pid, directory } = await startElsewhere(start.name);
      expect(isRunning(pid)).toBe(true);
      child.kill("SIGKILL");
      await once(child, "exit");
      await until("the server has ended", () => !isRunning(pid));
      await until("its directory has gone", () => !existsSync(directory));
    });
  });
}

// It takes seconds to start, so there are fewer tests of it, and fewer Kafkas in them.
(await sharedKafka()).describe("a server of startKafka", () => {
  it("comes back on the port it had, with the topics of the directory it is given", async () => {
    const directory = await mkdtemp(path.join(tmpdir(), "shop-test-kafka-"));
    try {
      const one = await startKafka({ directory });
      const client = createClient(one.url);
      await produce(client, "orders", ["1", "2"]);
      process.kill(one.pid as number, "SIGKILL");
      await until("it is gone", () => !isRunning(one.pid));
      await one.stop();
      const again = await startKafka({ directory, port: one.port });
      try {
        expect(again.url).toBe(one.url);
        await produce(client, "orders", ["3"]);
        expect(await consume(client, "orders", 3)).toEqual(["1", "2", "3"]);
      } finally {
        await again.stop();
      }
      expect(isRunning(again.pid)).toBe(false);
    } finally {
      await rm(directory, { recursive: true });
    }
  });

  it("ends when whoever started it is killed, and its files with it", async () => {
    const { child, pid, directory } = await startElsewhere("startKafka");
    child.kill("SIGKILL");
    await once(child, "exit");
    await until("the server has ended", () => !isRunning(pid));
    await until("its directory has gone", () => !existsSync(directory));
  });

  it("is told by brokers in the environment, and found missing where nothing answers there", async () => {
    const { brokers } = await sharedKafka();
    try {
      process.env.KAFKA_BROKERS = `${brokers},127.0.0.1:1`;
      const same = await startKafka();
      expect(same).toMatchObject({ url: `${brokers},127.0.0.1:1`, pid: undefined });
      await same.stop();
      process.env.KAFKA_BROKERS = "127.0.0.1:1";
      await expect(startKafka()).rejects.toThrow("KAFKA_BROKERS=127.0.0.1:1 does not answer");
    } finally {
      delete process.env.KAFKA_BROKERS;
    }
  });
});

it("that ends at its start says why", async () => {
  await expect(startServer(broken)).rejects.toThrow(/does not answer on port .* it said: no such luck/);
});

const broken: Kind = {
  name: "broken",
  argv: () => ["sh", "-c", "echo no such luck; exit 1"],
  greeting: "",
  answer: "x",
};

/** In a process that does nothing else, and does not end by itself. */
async function startElsewhere(
  name: string,
): Promise<{ child: ChildProcess; pid: number; directory: string }> {
  const file = new URL(
    `../../scripts/servers/${name.replace("start", "").toLowerCase()}.ts`,
    import.meta.url,
  );
  const program = `import { ${name} } from "${file.href}"; console.log(JSON.stringify(await ${name}())); setInterval(() => {}, 1e6)`;
  const child = spawn(process.execPath, ["--input-type=module", "--eval", program], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [line] = (await once(child.stdout, "data")) as [Buffer];
  return { child, ...JSON.parse(line.toString()) };
}

const isRunning = (pid: number | undefined): boolean => pid !== undefined && birthOf(pid) !== undefined;

it("is told by its URL in the environment, and found missing where nothing answers there", async () => {
  const server = await startNats();
  try {
    process.env.NATS_URL = server.url;
    const same = await startNats();
    expect(same).toMatchObject({ url: server.url, pid: undefined });
    await same.stop();
    expect(await speaks(server.port)).toBe(true);
  } finally {
    await server.stop();
  }
  await expect(startNats()).rejects.toThrow(/NATS_URL=nats:.* does not answer/);
  delete process.env.NATS_URL;
});

it("is refused with what to install where there is none", async () => {
  const { PATH } = process.env;
  const { provide } = await import("../../scripts/servers/provider.ts");
  const none = { kind: { name: "cache", greeting: "", answer: "" }, args: () => [], variable: "CACHE_URL" };
  process.env.PATH = "";
  try {
    const provided = provide({
      ...none,
      program: "no-such-server",
      package: "cache",
      image: "cache",
      imagePort: 1,
    });
    await expect(provided).rejects.toThrow(
      /no no-such-server: install it .*apt-get install cache.*CACHE_URL=/,
    );
  } finally {
    process.env.PATH = PATH;
  }
});

function speaks(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: "127.0.0.1" });
    socket.once("data", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}
