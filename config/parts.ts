/** How the variables are read that hold more than a word: each adds what is wrong with it to `faults`. Pure. */
import type { Config } from "./index.ts";

/** `100/60`: a hundred requests in a minute. */
export function rateLimitOf(value: string | undefined, faults: string[]): Config["rateLimit"] {
  if (value === undefined) return undefined;
  const [, requests, seconds] = /^([1-9]\d{0,6})\/([1-9]\d{0,4})$/.exec(value) ?? [];
  if (requests !== undefined && seconds !== undefined)
    return Object.freeze({ requests: Number(requests), seconds: Number(seconds) });
  faults.push(`RATE_LIMIT=${value}: expected requests/seconds, such as 100/60`);
  return undefined;
}

export function tlsOf(
  cert: string | undefined,
  key: string | undefined,
  ca: string | undefined,
  faults: string[],
): Config["grpcTls"] {
  if (cert !== undefined && key !== undefined) return Object.freeze({ cert, key, ca });
  if (cert !== undefined || key !== undefined || ca !== undefined)
    faults.push("GRPC_TLS_CERT, GRPC_TLS_KEY: both are needed for TLS, and GRPC_TLS_CA only with them");
  return undefined;
}

/** `voucher=grpc://host:port`, each name once and none of ours. */
export function foreignOf(
  items: readonly string[],
  ours: readonly string[],
  faults: string[],
): Record<string, string> {
  const found: Record<string, string> = {};
  for (const item of items) {
    const [, name, address] = /^([a-z][a-z0-9-]{0,62})=grpc:\/\/([^/\s]+:\d{1,5})$/.exec(item) ?? [];
    if (name === undefined || address === undefined)
      faults.push(`FOREIGN_PARTICIPANTS has ${item}: expected name=grpc://host:port`);
    else if (name in found || ours.includes(name))
      faults.push(`FOREIGN_PARTICIPANTS has ${item}: the name ${name} is taken`);
    else found[name] = address;
  }
  return found;
}

/** `Concord <shop@example.com>`, or the address alone. */
export function mailboxOf(value: string, faults: string[]): Config["mailFrom"] {
  const [, name = "", inBrackets, alone] = /^(?:([^<>"\p{Cc}]*)<([^<>]*)>|([^<>]*))$/u.exec(value) ?? [];
  const address = (inBrackets ?? alone ?? "").trim();
  if (!/^[A-Za-z0-9._+-]+@[A-Za-z0-9.-]+$/.test(address))
    faults.push(`MAIL_FROM=${value}: expected an address, such as Concord <shop@example.com>`);
  return Object.freeze({ name: name.trim(), address });
}
