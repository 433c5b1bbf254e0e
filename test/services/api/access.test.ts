import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { ShopError } from "../../../lib/errors.ts";
import { TestGateway } from "./gateway.ts";
import { expectProblem, failing, shop } from "./stand-ins.ts";

const gateway = new TestGateway([shop]);
beforeAll(() => gateway.broker.start());
afterAll(() => gateway.broker.stop());

describe("401 unauthorized and 403 forbidden", () => {
  test("asks for a token where none is sent", async () => {
    const reply = await gateway.send("/orders", { method: "POST", body: {} });
    expectProblem(reply, 401, "unauthorized");
    expect(reply.headers["www-authenticate"]).toBe('Bearer realm="concord"');
  });

  test("says that a bad token is bad", async () => {
    const reply = await gateway.send("/orders", { method: "POST", body: {}, token: "a.b.c" });
    expectProblem(reply, 401, "unauthorized");
    expect(reply.headers["www-authenticate"]).toBe('Bearer realm="concord", error="invalid_token"');
  });

  test("names the scheme on wrong credentials, too", async () => {
    failing.err = new ShopError("invalid_credentials", "The email address or the password is wrong.");
    const reply = await gateway.send("/fail");
    expectProblem(reply, 401, "invalid_credentials");
    expect(reply.headers["www-authenticate"]).toBe('Bearer realm="concord"');
  });

  test("keeps an action that does not say who may call it closed to strangers", async () => {
    expectProblem(await gateway.send("/unmarked"), 401, "unauthorized");
    expect((await gateway.send("/unmarked", { token: gateway.userToken })).status).toBe(200);
  });

  test("keeps an action whose auth is mistyped closed to all but admins", async () => {
    expectProblem(await gateway.send("/mistyped", { token: gateway.userToken }), 403, "forbidden");
  });

  test("wants the role admin where the action does", async () => {
    expectProblem(await gateway.send("/manage", { token: gateway.userToken }), 403, "forbidden");
    expect((await gateway.send("/manage", { token: gateway.adminToken })).status).toBe(200);
  });
});

describe("404, 405, 406", () => {
  test.each(["/", "/nothing", "/~node/list", "/$node/list", "/shop/echo", "/api/list-aliases", "/Things"])(
    "serves nothing at %s",
    async (path) => {
      expectProblem(await gateway.send(path, { token: gateway.adminToken }), 404, "not_found");
    },
  );

  test("names the allowed methods where the method is wrong", async () => {
    const reply = await gateway.send("/things", { method: "DELETE" });
    expectProblem(reply, 405, "method_not_allowed");
    expect(reply.headers.allow).toBe("GET, HEAD, OPTIONS");
  });

  test.each(["text/html", "application/json;q=0, */*", "image/*"])("refuses Accept: %s", async (accept) => {
    expectProblem(await gateway.send("/things", { headers: { accept } }), 406, "not_acceptable");
  });

  test.each(["*/*", "application/*", "application/json", "text/html, application/json;q=0.1"])(
    "takes Accept: %s",
    async (accept) => {
      expect((await gateway.send("/things", { headers: { accept } })).status).toBe(200);
    },
  );
});
