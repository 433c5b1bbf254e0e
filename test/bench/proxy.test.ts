/** The bad network of the drills: silence where it is cut, lateness where it is slow, and nothing lost by healing. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { text } from "node:stream/consumers";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { databaseOf, natsNameOf, streamName, streamOf, TcpProxy } from "../../bench/drills/proxy.ts";
import { until } from "../support/until.ts";

let server: Server;
let proxy: TcpProxy;
let clients: Socket[];
/** What the server has heard. It answers each chunk in capitals. */
let heard: string;

beforeEach(async () => {
  heard = "";
  clients = [];
  server = createServer((socket) => {
    socket.on("error", () => undefined);
    socket.on("data", (data) => {
      heard += data;
      socket.write(data.toString().toUpperCase());
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  proxy = await TcpProxy.listen({
    target: { host: "127.0.0.1", port },
    nameOf: (firstBytes) => /^(\w+):/.exec(firstBytes.toString())?.[1],
  });
});
afterEach(async () => {
  for (const client of clients) client.destroy();
  await proxy.close();
  server.close();
  await once(server, "close");
});

async function open(name: string) {
  const socket = connect(proxy.port, "127.0.0.1");
  clients.push(socket);
  const client = { socket, answers: "" };
  socket.on("data", (data) => {
    client.answers += data;
  });
  await once(socket, "connect");
  socket.write(`${name}:`);
  await until("it is known", () => client.answers === `${name}:`.toUpperCase());
  client.answers = "";
  return client;
}

/** Long enough for a connection on this machine to have carried anything twice. */
async function roundTrip(): Promise<void> {
  const other = await open("other");
  other.socket.write("there and back");
  await until("another's answer is here", () => other.answers === "THERE AND BACK");
}

test("a line that is cut is silent both ways, and all arrives when it has healed", async () => {
  const client = await open("one");
  proxy.lay("one", { cut: ["up", "down"] });
  client.socket.write("hello");
  await roundTrip();
  expect(heard).not.toContain("hello");
  expect(client.socket.destroyed).toBe(false);
  proxy.heal();
  await until("the answer comes", () => client.answers === "HELLO");
});

test.each([
  ["up", false],
  ["down", true],
] as const)("cut on the way %s, the server hears: %s", async (direction, serverHears) => {
  const client = await open("one");
  proxy.lay("one", { cut: [direction] });
  client.socket.write("hello");
  if (serverHears) await until("the server hears it", () => heard.includes("hello"));
  await roundTrip();
  expect(heard.includes("hello")).toBe(serverHears);
  expect(client.answers).toBe("");
  proxy.heal();
  await until("the answer comes", () => client.answers === "HELLO");
});

test("a slow line delivers late and in order, the end too", async () => {
  const client = await open("one");
  proxy.lay("one", { delayMs: 200 });
  const sentAt = performance.now();
  client.socket.write("hello ");
  client.socket.end("world");
  await once(client.socket, "end");
  expect(client.answers).toBe("HELLO WORLD");
  expect(performance.now() - sentAt).toBeGreaterThan(190);
});

test("a new connection under a name that is cut is accepted and not answered", async () => {
  proxy.lay("late", { cut: ["up", "down"] });
  const socket = connect(proxy.port, "127.0.0.1");
  clients.push(socket);
  let answers = "";
  socket.on("data", (data) => {
    answers += data;
  });
  await once(socket, "connect");
  socket.write("late:");
  await roundTrip();
  expect(answers).toBe("");
  proxy.heal();
  await until("the answer comes", () => answers === "LATE:");
});

test("clients of PostgreSQL and NATS are known by what they say first", () => {
  const fields = "user\0postgres\0database\0shop_order\0\0";
  const startUp = Buffer.concat([Buffer.alloc(8), Buffer.from(fields)]);
  expect(databaseOf(startUp)).toBe("shop_order");
  expect(natsNameOf(Buffer.from('CONNECT {"lang":"js","name":"order-1"}\r\nPING\r\n'))).toBe("order-1");
  expect(natsNameOf(Buffer.from('CONNECT {"name":'))).toBeUndefined();
});

test("a connection that says where it leads goes there, and its first line is for the proxy alone", async () => {
  const streams = await TcpProxy.listen({ nameOf: streamOf });
  try {
    const { port } = server.address() as AddressInfo;
    const socket = connect(streams.port, "127.0.0.1");
    clients.push(socket);
    let answers = "";
    socket.on("data", (data) => {
      answers += data;
    });
    socket.write("order-1 127.0");
    await once(socket, "connect");
    socket.write(`.0.1 ${port}\nhello`);
    await until("the answer comes", () => answers === "HELLO");
    expect(streams.names).toEqual([streamName("order-1", port)]);
    streams.lay(streamName("order-1", port), { cut: ["up"] });
    socket.write(" again");
    await roundTrip();
    expect(heard).not.toContain("again");
    streams.heal();
    await until("the rest comes", () => answers === "HELLO AGAIN");
  } finally {
    for (const client of clients) client.destroy();
    await streams.close();
  }
});

test("a worker that loads through-proxy.ts connects to other nodes through the proxy, under its node's name", async () => {
  const streams = await TcpProxy.listen({ nameOf: streamOf });
  try {
    const { port } = server.address() as AddressInfo;
    const program = `
      const socket = require("node:net").connect({ host: "127.0.0.1", port: ${port} }, () => socket.write("hello"));
      socket.on("data", (data) => { console.log(String(data)); process.stdin.once("end", () => socket.destroy()).resume(); });
    `;
    const preload = new URL("../../bench/drills/through-proxy.ts", import.meta.url).href;
    const child = spawn(process.execPath, ["--eval", program], {
      env: {
        ...process.env,
        NODE_OPTIONS: `--import=${preload}`,
        NODEID: "order-1",
        STREAMS_VIA: String(streams.port),
      },
      stdio: ["pipe", "pipe", "inherit"],
    });
    const ended = once(child, "exit");
    const answer = text(child.stdout);
    await until("it has said who it is", () => streams.names.length > 0);
    expect(streams.names).toEqual([streamName("order-1", port)]);
    child.stdin.end();
    await ended;
    expect(await answer).toBe("HELLO\n");
    expect(heard).toBe("hello");
  } finally {
    await streams.close();
  }
});
