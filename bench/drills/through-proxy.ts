/**
 * Loaded into a worker before its program (NODE_OPTIONS): leads its gRPC connections, which are those to other nodes,
 * through the drill's proxy at STREAMS_VIA, and says first who calls and where. The gRPC library connects by
 * `net.connect`; the clients of PostgreSQL, NATS and HTTP do not, so they go where they always go.
 */
import net from "node:net";
import { preambleOf } from "./proxy.ts";

const { NODEID = "", STREAMS_VIA } = process.env;
const { connect } = net;

net.connect = ((to: net.TcpNetConnectOpts, connected?: () => void) => {
  const socket = connect(Number(STREAMS_VIA), "127.0.0.1", connected);
  // Written before anything else can be: what is written while it connects waits in order.
  socket.write(preambleOf(NODEID, { host: to.host ?? "localhost", port: to.port }));
  return socket;
}) as typeof net.connect;
