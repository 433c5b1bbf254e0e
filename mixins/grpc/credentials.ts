/** TLS of the gRPC server and of this node as a client; plain where the configuration names no certificate. */
import { timingSafeEqual } from "node:crypto";
import { readFileSync } from "node:fs";
import { ChannelCredentials, ServerCredentials } from "@grpc/grpc-js";
import { config } from "../../config/index.ts";

export function serverCredentials(): ServerCredentials {
  const tls = config.grpcTls;
  if (!tls) return ServerCredentials.createInsecure();
  const pair = { cert_chain: readFileSync(tls.cert), private_key: readFileSync(tls.key) };
  const ca = tls.ca === undefined ? null : readFileSync(tls.ca);
  return ServerCredentials.createSsl(ca, [pair], ca !== null);
}

/** Nodes are reached by address, which certificates do not name: their chain is checked, and their token. */
export function clientCredentials(checksName = false): ChannelCredentials {
  const tls = config.grpcTls;
  if (!tls) return ChannelCredentials.createInsecure();
  return ChannelCredentials.createSsl(
    tls.ca === undefined ? null : readFileSync(tls.ca),
    readFileSync(tls.key),
    readFileSync(tls.cert),
    checksName ? {} : { checkServerIdentity: () => undefined },
  );
}

/** In a time that tells nothing of where they differ. */
export function isSameSecret(sent: string | undefined, secret: string | undefined): boolean {
  if (sent === undefined || secret === undefined) return false;
  const [a, b] = [Buffer.from(sent), Buffer.from(secret)];
  return a.length === b.length && timingSafeEqual(a, b);
}
