/** A node of its own for the transporter's tests, to be killed: `node nats.node.ts URL NAMESPACE NODE_ID`. */
import { ServiceBroker, type ServiceSchema } from "moleculer";
import { NATS_TRANSPORTER } from "../../mixins/nats.transporter.ts";

const [, , url = "", namespace = "", nodeID = ""] = process.argv;
const broker = new ServiceBroker({
  namespace,
  nodeID,
  logger: false,
  transporter: { type: NATS_TRANSPORTER, options: { url } },
});
broker.createService({
  name: "remote",
  actions: {
    ask: () => broker.nodeID,
    echo: ({ params }: { params: { text: string } }) => params.text,
    never: () => new Promise(() => undefined),
  },
} as ServiceSchema);
await broker.start();
console.log("started");
