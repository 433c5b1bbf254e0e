/** Streams between nodes of two versions: who does not say that it reads packed payloads is sent none. */
import { afterAll, beforeAll, expect, it } from "@jest/globals";
import { newId } from "../../../lib/ids.ts";
import { startNats } from "../../../scripts/servers/nats.ts";
import type { Server } from "../../../scripts/servers/server.ts";
import { describeWith } from "../../harness/servers.ts";
import { until } from "../../support/until.ts";
import { openPeer, type Peer } from "./peer.ts";

const describe = await describeWith(startNats);

describe("a node", () => {
  let nats: Server;
  const peers: Peer[] = [];
  beforeAll(async () => {
    nats = await startNats();
  });
  afterAll(async () => {
    await Promise.all(peers.map(({ broker }) => broker.stop()));
    await nats.stop();
  });

  it.each([true, false])("that reads packed payloads (%s) gets them, or else JSON", async (reads) => {
    const namespace = `test-${newId()}`;
    const version = {
      name: "Version",
      async starting({ metadata }: { metadata: { grpcPacks?: boolean } }) {
        if (!reads) delete metadata.grpcPacks;
      },
    };
    const at = { url: nats.url, namespace };
    const caller = openPeer({ ...at, nodeID: "caller", hosts: false });
    const host = openPeer({ ...at, nodeID: "host", hosts: true, middlewares: [version as never] });
    peers.push(caller, host);
    await Promise.all([caller.broker.start(), host.broker.start()]);
    await until("it is seen", () => caller.broker.registry.hasService("remote", "host"));
    // A member that is undefined arrives where it was packed, and only there.
    const large = { missing: undefined, text: "x".repeat(10_000) };
    const echo = () => caller.broker.call<{ params: object }, object>("remote.echo", large);
    await until("the stream carries calls", async () => {
      await echo();
      return (caller.grpc.peers?.carried ?? 0) > 2;
    });
    expect("missing" in (await echo()).params).toBe(reads);
  });
});
