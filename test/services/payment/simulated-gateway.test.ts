/** The built-in gateway keeps the promises of its port: repeats by key have no second effect, and a void comes to stay. */
import { expect, test } from "@jest/globals";
import { simulatedGateway } from "../../../services/payment/gateways/simulated.ts";

const request = (key: string, token = "tok_ok") => ({ key, amount: 1_000, currency: "EUR", token });

test("an authorization that is repeated is the same one, also when it was forgotten meanwhile", async () => {
  const gateway = simulatedGateway();
  const first = await gateway.authorize(request("key"));
  expect(first).toEqual({ kind: "approved", authorizationId: expect.any(String) });
  expect(await gateway.authorize(request("key"))).toEqual(first);
  expect(await gateway.lookup("key")).toEqual(first);
  for (let n = 0; n < 10_000; n++) await gateway.authorize(request(`other-${n}`));
  expect(await gateway.lookup("key")).toEqual({ kind: "unknown" });
  expect(await gateway.authorize(request("key"))).toEqual(first);
});

test("a declined card stays declined, whatever token the repeat brings", async () => {
  const gateway = simulatedGateway();
  const declined = { kind: "declined", reason: "insufficient_funds" };
  expect(await gateway.authorize(request("key", "tok_insufficient_funds"))).toEqual(declined);
  expect(await gateway.authorize(request("key", "tok_ok"))).toEqual(declined);
});

test("what is voided is let go of, and an authorize that comes after its void is refused", async () => {
  const gateway = simulatedGateway();
  await gateway.authorize(request("before"));
  await gateway.void("before");
  expect(await gateway.lookup("before")).toEqual({ kind: "unknown" });
  await gateway.void("after");
  for (const key of ["before", "after"])
    expect(await gateway.authorize(request(key))).toEqual({ kind: "declined", reason: "voided" });
});
