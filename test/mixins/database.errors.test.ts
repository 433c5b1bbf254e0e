import { expect, test } from "@jest/globals";
import { Errors } from "moleculer";
import {
  beforeAnyQuery,
  isTransient,
  sqlState,
  unavailable,
  unavailableOnce,
} from "../../mixins/database.errors.ts";

const errorOf = (members: object, message = "it failed") => Object.assign(new Error(message), members);
const typeOf = (err: unknown) => (err as { type?: string }).type;

test.each([
  ["an error of the server", errorOf({ code: "53100" }), "53100"],
  ["one of PL/pgSQL", errorOf({ code: "P0001" }), "P0001"],
  ["one of the system, of five letters", errorOf({ code: "EPIPE" }), undefined],
  ["one without a code", new Error("no"), undefined],
])("the SQLSTATE of %s", (_what, err, state) => expect(sqlState(err)).toBe(state));

// What was not done may be done again by anybody; what may have been done, only where that has the effect of once.
test.each([
  ["nobody listens", errorOf({ code: "ECONNREFUSED", syscall: "connect" }), "unavailable", "unavailable"],
  ["no way there", errorOf({ code: "EHOSTUNREACH", syscall: "connect" }), "unavailable", "unavailable"],
  ["a name that is not known now", errorOf({ code: "EAI_AGAIN" }), "unavailable", "unavailable"],
  [
    "no connection in time",
    new Error("timeout exceeded when trying to connect"),
    "unavailable",
    "unavailable",
  ],
  ["a full disk", errorOf({ code: "53100" }), "unavailable", "unavailable"],
  ["a standby", errorOf({ code: "25006" }), "unavailable", "unavailable"],
  ["a server that shuts down", errorOf({ code: "57P01" }), "unavailable", "unavailable"],
  ["a server that crashes", errorOf({ code: "57P02" }), "unavailable", "deadline_exceeded"],
  [
    "a broken connection",
    new Error("Connection terminated unexpectedly"),
    "unavailable",
    "deadline_exceeded",
  ],
  ["a reset", errorOf({ code: "ECONNRESET", syscall: "read" }), "unavailable", "deadline_exceeded"],
  ["a pipe without an end", errorOf({ code: "EPIPE", syscall: "write" }), "unavailable", "deadline_exceeded"],
  [
    "a reset before any query",
    beforeAnyQuery(errorOf({ code: "ECONNRESET", syscall: "read" })),
    "unavailable",
    "unavailable",
  ],
  ["a unique key", errorOf({ code: "23505" }), undefined, undefined],
  ["a transaction that took too long", errorOf({ code: "25P04" }), undefined, undefined],
  ["a bug", new TypeError("Cannot read properties of undefined (reading 'timeout')"), undefined, undefined],
  ["a bug in a query", new Error("Query values must be an array"), undefined, undefined],
])("%s", (_what, err, repeatable, once) => {
  expect(typeOf(unavailable(err))).toBe(repeatable);
  expect(typeOf(unavailableOnce(err))).toBe(once);
  expect(isTransient(err)).toBe(repeatable !== undefined);
});

test("what was made for the caller passes as it is", () => {
  const err = new Errors.MoleculerError("Connection terminated", 409, "TAKEN");
  expect(unavailable(err)).toBe(err);
  expect(unavailableOnce(err)).toBe(err);
});
