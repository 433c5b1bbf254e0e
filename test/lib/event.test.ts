/** What is an event, of all that a topic may hold. */
import { expect, test } from "@jest/globals";
import { eventOf } from "../../lib/event.ts";

const EVENT = {
  id: "01900000-0000-7000-8000-000000000001",
  type: "order.confirmed",
  version: 1,
  key: "01900000-0000-7000-8000-000000000002",
  payload: {},
  time: "2026-11-25T00:00:00Z",
};

test("an event is read as it was written", () => {
  expect(eventOf(JSON.stringify(EVENT))).toEqual({ ...EVENT, traceparent: null });
});

test.each([
  ["no JSON", "{"],
  ["nothing", "null"],
  ["a list for an id", JSON.stringify({ ...EVENT, id: [EVENT.id] })],
  ["a word for a version", JSON.stringify({ ...EVENT, version: "1" })],
  ["no payload", JSON.stringify({ ...EVENT, payload: null })],
])("%s is no event", (_, body) => {
  expect(eventOf(body)).toBeUndefined();
});
