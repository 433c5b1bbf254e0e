/** A node of its own for the streams' tests, to be killed: `node peer.node.ts URL NAMESPACE NODE_ID`. */
import { openPeer } from "./peer.ts";

const [, , url = "", namespace = "", nodeID = ""] = process.argv;
const { broker } = openPeer({ url, namespace, nodeID, hosts: true });
await broker.start();
console.log("started");
