import { describe, expect, test } from "@jest/globals";
import { clientAddressReader } from "../../../services/api/client-address.ts";

describe("the client's address", () => {
  test("is the peer's where no proxy is trusted, whatever is forwarded", () => {
    const read = clientAddressReader([]);
    expect(read("198.51.100.1", "203.0.113.7")).toBe("198.51.100.1");
    expect(read("::ffff:198.51.100.1", undefined)).toBe("198.51.100.1");
  });

  test.each([
    ["the last hop before our proxies", "203.0.113.7, 10.0.0.2", "203.0.113.7"],
    ["not what the client wrote itself", "1.1.1.1, 203.0.113.7", "203.0.113.7"],
    ["the last one we can read", "nonsense, 10.0.0.9", "10.0.0.9"],
    ["the peer where nothing readable is forwarded", "unknown", "10.0.0.1"],
    ["an IPv6 address as well", "2001:db8::7", "2001:db8::7"],
  ])("is %s", (_, forwarded, address) => {
    expect(clientAddressReader(["10.0.0.0/8"])("10.0.0.1", forwarded)).toBe(address);
  });

  test("is read through a proxy named by its IPv6 address", () => {
    expect(clientAddressReader(["2001:db8::1"])("2001:db8::1", "203.0.113.7")).toBe("203.0.113.7");
  });

  test.each(["proxy.local", "10.0.0.0/33", "10.0.0.0/", "::1/x"])("cannot be read through '%s'", (entry) => {
    expect(() => clientAddressReader([entry])).toThrow(entry);
  });
});
