import { expect, test } from "@jest/globals";
import { formatTraceparent, parseTraceparent, toSpanId, toTraceId } from "../../lib/traceparent.ts";

const TRACE = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN = "00f067aa0ba902b7";

test("a traceparent is read and written as W3C has it", () => {
  const text = `00-${TRACE}-${SPAN}-01`;
  expect(parseTraceparent(text)).toEqual({ traceID: TRACE, id: SPAN, sampled: true });
  expect(formatTraceparent({ traceID: TRACE, id: SPAN, sampled: true })).toBe(text);
  expect(parseTraceparent(`00-${TRACE}-${SPAN}-00`)?.sampled).toBe(false);
  expect(parseTraceparent(`cc-${TRACE}-${SPAN}-01-of-the-future`)?.traceID).toBe(TRACE);
});

test.each([
  undefined,
  ["an", "array"],
  "",
  `00-${TRACE}-${SPAN}`,
  `ff-${TRACE}-${SPAN}-01`,
  `00-${TRACE}-${SPAN}-01-more`,
  `00-${"0".repeat(32)}-${SPAN}-01`,
  `00-${TRACE}-${"0".repeat(16)}-01`,
  `00-${TRACE.toUpperCase()}-${SPAN}-01`,
])("%p is no traceparent", (text) => {
  expect(parseTraceparent(text)).toBeUndefined();
});

test("ids of any form get one of their own, always the same", () => {
  const uuid = "01a20532-c997-7006-8e9c-077dd01c3ea3";
  expect(toTraceId(uuid)).toBe("01a20532c99770068e9c077dd01c3ea3");
  expect(toSpanId(uuid)).toBe("8e9c077dd01c3ea3");
  expect(toTraceId("order 17 of ann")).toMatch(/^[0-9a-f]{32}$/);
  expect(toTraceId("order 17 of ann")).toBe(toTraceId("order 17 of ann"));
  expect(toSpanId("a")).not.toBe(toSpanId("b"));
});
