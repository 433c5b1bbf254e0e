/** Mutual TLS: with GRPC_TLS_CA the server talks to nobody who shows no certificate of that authority. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { ChannelCredentials } from "@grpc/grpc-js";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { startTestShop, type TestShop } from "../harness/shop.ts";
import { GrpcClient, type GrpcReply } from "../support/grpc.ts";

const directory = mkdtempSync(path.join(tmpdir(), "shop-tls-"));
const file = (name: string): string => path.join(directory, name);
const openssl = (...args: string[]): void => {
  execFileSync("openssl", args, { cwd: directory, stdio: ["ignore", "ignore", "pipe"] });
};

/** A certificate for localhost, signed by `ca`, or by itself. */
function certify(name: string, ca?: string): void {
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", `${name}.key`];
  const subject = ["-subj", `/CN=${name}`];
  if (!ca) {
    openssl("req", "-x509", "-days", "1", ...key, ...subject, "-out", `${name}.pem`);
    return;
  }
  writeFileSync(file(`${name}.ext`), "subjectAltName=DNS:localhost,IP:127.0.0.1");
  openssl("req", "-new", ...key, ...subject, "-out", `${name}.csr`);
  const signed = ["-CA", `${ca}.pem`, "-CAkey", `${ca}.key`, "-CAcreateserial", "-extfile", `${name}.ext`];
  openssl("x509", "-req", "-days", "1", "-in", `${name}.csr`, ...signed, "-out", `${name}.pem`);
}

const read = (name: string): Buffer => readFileSync(file(name));

let shop: TestShop;
beforeAll(async () => {
  certify("ours");
  certify("others");
  certify("server", "ours");
  certify("friend", "ours");
  certify("stranger", "others");
  const env = {
    GRPC_TLS_CERT: file("server.pem"),
    GRPC_TLS_KEY: file("server.key"),
    GRPC_TLS_CA: file("ours.pem"),
  };
  shop = await startTestShop({ env });
}, 60_000);
afterAll(async () => {
  await shop?.stop();
  rmSync(directory, { recursive: true });
});

async function list(channel: ChannelCredentials): Promise<GrpcReply> {
  const client = new GrpcClient(shop.broker.grpc?.port as number, {}, channel);
  try {
    return await client.call("shop.v1.Products/ListProducts", {}, { deadlineMs: 3_000 });
  } finally {
    client.close();
  }
}

test("a client with a certificate of the authority is served, and nobody else", async () => {
  const as = (name: string) =>
    ChannelCredentials.createSsl(read("ours.pem"), read(`${name}.key`), read(`${name}.pem`));
  expect((await list(as("friend"))).status).toBe("OK");
  expect((await list(as("stranger"))).status).not.toBe("OK");
  expect((await list(ChannelCredentials.createSsl(read("ours.pem")))).status).not.toBe("OK");
  expect((await list(ChannelCredentials.createInsecure())).status).not.toBe("OK");
});
