/**
 * The address a request came from. X-Forwarded-For is read from the right, and only through proxies we run: whatever
 * stands to the left of the first address we do not trust was written by the client.
 */
import { BlockList, isIP } from "node:net";

/** `trusted` holds addresses and CIDR ranges; throws one Error that names the entry that is neither. */
export function clientAddressReader(
  trusted: readonly string[],
): (socketAddress: string | undefined, forwardedFor: string | undefined) => string {
  const proxies = new BlockList();
  for (const entry of trusted) {
    const [address = "", bits] = entry.split("/");
    const family = isIP(address) === 6 ? "ipv6" : "ipv4";
    const max = family === "ipv6" ? 128 : 32;
    if (isIP(address) === 0 || (bits !== undefined && !(/^\d+$/.test(bits) && Number(bits) <= max)))
      throw new Error(`TRUSTED_PROXIES=${entry}: expected an IP address or a CIDR range such as 10.0.0.0/8`);
    proxies.addSubnet(address, bits === undefined ? max : Number(bits), family);
  }
  const isTrusted = (address: string): boolean =>
    trusted.length > 0 && proxies.check(address, isIP(address) === 6 ? "ipv6" : "ipv4");

  return (socketAddress, forwardedFor) => {
    let address = plain(socketAddress ?? "");
    if (forwardedFor === undefined || !isTrusted(address)) return address;
    for (const hop of forwardedFor.split(",").reverse()) {
      const candidate = plain(hop.trim());
      if (isIP(candidate) === 0) break;
      address = candidate;
      if (!isTrusted(address)) break;
    }
    return address;
  };
}

/** A dual-stack socket shows IPv4 peers as ::ffff:192.0.2.1; limits and logs want one spelling. */
const plain = (address: string): string => (address.startsWith("::ffff:") ? address.slice(7) : address);
