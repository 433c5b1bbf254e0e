import { expect, test } from "@jest/globals";
import { newId } from "../../../lib/ids.ts";
import { etagOf, versionsOf } from "../../../services/product/etag.ts";

const product = {
  id: newId(),
  sku: "MUG",
  name: "Mug",
  description: "",
  price: { amount: 990, currency: "EUR" },
  stock: 5,
  available: 5,
  version: 3,
  createdAt: "2025-01-01T00:00:00.000Z",
  updatedAt: "2025-01-01T00:00:00.000Z",
};

test.each([
  [undefined, undefined],
  ["*", undefined],
  ['"3"', [3]],
  ["3", [3]],
  [etagOf(product), [3]],
  [`"1", ${etagOf(product)} ,\t"12"`, [1, 3, 12]],
  ['"1","3"', [1, 3]],
  ['W/"3"', []],
  ['W/"1", "3"', [3]],
  ['"abc", "3"', [3]],
  ['"1, 3, 5"', []],
  ['"3', []],
  ["", []],
  ["99999999999999999999", []],
])("If-Match %s names the versions %j", (ifMatch, versions) => {
  expect(versionsOf(ifMatch)).toEqual(versions);
});

test("the ETag changes with the stock, and the version that it names does not", () => {
  const sold = etagOf({ ...product, available: 4 });
  expect(sold).not.toBe(etagOf(product));
  expect(versionsOf(sold)).toEqual([3]);
});
