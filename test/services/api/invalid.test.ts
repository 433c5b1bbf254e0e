import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { type Reply, TestGateway } from "./gateway.ts";
import { expectProblem, shop } from "./stand-ins.ts";

const gateway = new TestGateway([shop]);
beforeAll(() => gateway.broker.start());
afterAll(() => gateway.broker.stop());

const post = (body: unknown, headers = {}): Promise<Reply> =>
  gateway.send("/echo", { method: "POST", body, headers });

describe("422 validation_failed", () => {
  test.each([
    ["U+0000 in a string", '{"a":["\\u0000"]}', "/a/0"],
    ["half a surrogate pair", '{"a/b":{"c~d":"\\ud800"}}', "/a~1b/c~0d"],
    ["a number beyond the doubles", '{"a":1e400}', "/a"],
    ["an integer of 2^53", '{"a":9007199254740993}', "/a"],
    ["an array as the body", "[1]", ""],
    ["null as the body", "null", ""],
  ])("points to %s", async (_, body, pointer) => {
    const reply = await post(body);
    expectProblem(reply, 422, "validation_failed");
    expect(reply.body.errors).toEqual([{ pointer, code: expect.any(String), message: expect.any(String) }]);
  });

  test("points to every fault the action's rules find", async () => {
    const body = { items: [{ quantity: 0, price: 1 }, { quantity: 1.5 }], total: 1, "a, b": 2 };
    const reply = await gateway.send("/orders", { method: "POST", body, token: gateway.userToken });
    expectProblem(reply, 422, "validation_failed");
    expect(reply.body.errors.map((fault: { pointer: string }) => fault.pointer).sort()).toEqual([
      "/a, b",
      "/items/0/price",
      "/items/0/quantity",
      "/items/1/quantity",
      "/total",
    ]);
  });

  test("points to each item that is null", async () => {
    const body = { items: [{ quantity: 1 }, null, { quantity: 0 }, null] };
    const reply = await gateway.send("/orders", { method: "POST", body, token: gateway.userToken });
    expect(reply.body.errors).toMatchObject([
      { pointer: "/items/1", code: "required" },
      { pointer: "/items/2/quantity" },
      { pointer: "/items/3", code: "required" },
    ]);
  });

  test("names at most a hundred faults", async () => {
    const body = { items: Array.from({ length: 3_000 }, () => ({ quantity: 0 })) };
    const reply = await gateway.send("/orders", { method: "POST", body, token: gateway.userToken });
    expect(reply.body.errors).toHaveLength(100);
  });

  test.each([
    ["/things?limit=0", "limit"],
    ["/things?limit=Infinity", "limit"],
    ["/things?color=red", "color"],
    ["/things?q=a&q=b", "q"],
    ["/things?q=%00", "q"],
  ])("names the parameter that is wrong in %s", async (path, parameter) => {
    const reply = await gateway.send(path);
    expectProblem(reply, 422, "validation_failed");
    expect(reply.body.errors).toMatchObject([{ parameter }]);
  });

  test("refuses a body on GET", async () => {
    expectProblem(await gateway.send("/things", { body: { limit: 5 } }), 422, "validation_failed");
  });
});
