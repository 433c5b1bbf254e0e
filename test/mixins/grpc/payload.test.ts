/** What frames carry: JSON or MessagePack, and the same arrives. */
import { describe, expect, it } from "@jest/globals";
import { newId } from "../../../lib/ids.ts";
import { Payloads, readPayload } from "../../../mixins/grpc/payload.ts";

const prepares = (length: number) => ({
  entries: Array.from({ length }, (_, i) => ({
    txId: newId(),
    hash: "h".repeat(43),
    budgetMs: 2_999.5 - i,
    participants: ["order", "product"],
    request: { note: i % 2 ? null : `Grüße 😀 ${i}`, lines: [{ quantity: i, price: -(2 ** 40) }], empty: [] },
  })),
});
const isPacked = (bytes: Buffer) => (bytes[0] as number) >= 0x80;

describe("a payload", () => {
  it("is JSON until its action has had a large one, packed from then on, and JSON again after a small one", () => {
    const payloads = new Payloads();
    const forms = [1, 100, 100, 1, 1, 100].map((length) => isPacked(payloads.write("a.b", prepares(length))));
    expect(forms).toEqual([false, false, true, true, false, false]);
    expect(isPacked(payloads.write("another", prepares(100)))).toBe(false);
  });

  it("arrives as JSON makes it, whichever form it has, and takes half the bytes packed", () => {
    const payloads = new Payloads();
    const values = [
      {
        ...prepares(100),
        at: new Date(0),
        text: "x".repeat(70_000),
        nested: { deep: [[[]], {}, true, 0.1] },
      },
      prepares(300).entries,
    ];
    for (const value of values) {
      const [json, packed] = [payloads.write("a.b", value), payloads.write("a.b", value)];
      expect([isPacked(json), isPacked(packed)]).toEqual([false, true]);
      expect(readPayload(packed)).toEqual(readPayload(json));
      expect(readPayload(packed)).toEqual(JSON.parse(JSON.stringify(value)));
      payloads.write("a.b", {}); // small: the next is JSON
    }
    const [json, packed] = [payloads.write("c.d", prepares(100)), payloads.write("c.d", prepares(100))];
    expect(packed.length).toBeLessThan(json.length * 0.6);
  });

  it("is JSON where an object says of itself that it is none, and fails where it cannot be written at all", () => {
    const payloads = new Payloads();
    payloads.write("a.b", prepares(100));
    class Five {
      toJSON() {
        return 5;
      }
    }
    expect(readPayload(payloads.write("a.b", new Five()))).toBe(5);
    payloads.write("a.b", prepares(100));
    const circle: { self?: object } = {};
    circle.self = circle;
    expect(() => payloads.write("a.b", circle)).toThrow();
    expect(readPayload(payloads.write("a.b", prepares(100)))).toMatchObject({ entries: { length: 100 } });
  });

  it("is JSON where it is no object, though its action had a large one; nothing is no bytes", () => {
    const payloads = new Payloads();
    payloads.write("a.b", prepares(100));
    for (const value of [5, 300, "text", true, null]) {
      const bytes = payloads.write("a.b", value);
      expect(isPacked(bytes)).toBe(false);
      expect(readPayload(bytes)).toBe(value);
    }
    expect(payloads.write("a.b", undefined)).toHaveLength(0);
    expect(readPayload(Buffer.alloc(0))).toBeUndefined();
    expect(readPayload(undefined)).toBeUndefined();
  });
});
