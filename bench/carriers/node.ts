/** The answering node of bench/carriers.ts: `node node.ts NATS_URL NAMESPACE`. Says its gRPC port, then serves. */
import { openNode } from "./open.ts";

const [, , url = "", namespace = ""] = process.argv;
const { broker, grpc } = openNode({ url, namespace, nodeID: "server", hosts: true });
await broker.start();
console.log(grpc?.port);
