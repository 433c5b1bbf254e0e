/** Rules are compiled when an action is first called; so all of the shop's are compiled here. */
import { beforeAll, expect, test } from "@jest/globals";
import { type ServiceBroker, Validators } from "moleculer";
import { SERVICES } from "../../config/index.ts";
import { LazyValidator } from "../../mixins/lazy.validator.ts";
import options from "../../moleculer.config.ts";
import { createShop } from "../../scripts/shop.ts";

let broker: ServiceBroker;
beforeAll(async () => {
  broker = await createShop({ services: SERVICES, overrides: { logger: false, transporter: null } });
});

test("the rules of every action can be compiled", () => {
  const strict = new Validators.Fastest({ ...(options.validator as LazyValidator).opts } as never);
  const ruled = broker.services.flatMap(({ name, schema }) =>
    Object.entries({ ...schema.actions, ...schema.events }).flatMap(([member, definition]) => {
      const rules = (definition as { params?: object } | undefined)?.params;
      return rules ? [{ member: `${name}.${member}`, rules }] : [];
    }),
  );
  expect(ruled.length).toBeGreaterThan(40);
  const faulty = ruled.filter(({ rules }) => {
    try {
      strict.compile(rules as never);
      return false;
    } catch {
      return true;
    }
  });
  expect(faulty).toEqual([]);
});

test("faulty rules fail when they are first needed, and good ones say what is wrong, each time", async () => {
  const validator = new LazyValidator({ useNewCustomCheckerFunction: true } as never);
  const faulty = validator.compile({ id: { type: "no such type" } });
  expect(() => faulty({})).toThrow("no such type");
  const check = validator.compile({ id: "string" });
  for (let i = 0; i < 2; i++)
    expect([check({ id: 1 }), check({ id: "a" })]).toMatchObject([[{ field: "id" }], true]);
  expect(check.async).toBeUndefined();
  const slow = validator.compile({ $$async: true, id: { type: "string", custom: async (id: string) => id } });
  expect(await slow({ id: "a" })).toBe(true);
  expect(slow.async).toBe(true);
});

test("the length of a string is that of its characters", () => {
  const check = new LazyValidator({}).compile({ text: { type: "string", min: 2, max: 3, optional: true } });
  const isTaken = (text: string) => check({ text }) === true;
  expect(["🦊", "🦊🦊", "🦊🦊🦊", "🦊🦊🦊🦊"].map(isTaken)).toEqual([false, true, true, false]);
  const exactly = new LazyValidator({}).compile({ text: { type: "string", length: 2, trim: true } });
  expect([exactly({ text: " 🦊🦊 " }), exactly({ text: "🦊" })]).toMatchObject([true, [{ actual: 1 }]]);
});
