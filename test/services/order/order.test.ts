/** What becomes of the items of an order before they are priced. */
import { describe, expect, test } from "@jest/globals";
import { newId } from "../../../lib/ids.ts";
import { mergeItems } from "../../../services/order/order.ts";

const faultsOf = (items: { productId: string; quantity: number }[]): unknown => {
  try {
    return mergeItems(items);
  } catch (err) {
    return (err as { data: { errors: unknown } }).data.errors;
  }
};

describe("the items of an order", () => {
  test("are one for each product, whatever the case of its id, in the order of first appearance", () => {
    const [mug, cup] = [newId(), newId()];
    const lines = [mug.toUpperCase(), cup, mug].map((productId) => ({ productId, quantity: 2 }));
    expect(mergeItems(lines)).toEqual([
      { productId: mug, quantity: 4 },
      { productId: cup, quantity: 2 },
    ]);
  });

  test("are refused where one product is ordered too often, at its last line", () => {
    const [mug, cup] = [newId(), newId()];
    const items = [mug, cup, mug.toUpperCase(), cup].map((productId, i) => ({
      productId,
      quantity: i === 3 ? 1 : 60_000,
    }));
    expect(faultsOf(items)).toMatchObject([{ pointer: "/items/2/quantity", code: "number_max" }]);
  });

  test("are refused where they are too many products", () => {
    const items = Array.from({ length: 1_001 }, () => ({ productId: newId(), quantity: 1 }));
    expect(faultsOf(items)).toMatchObject([{ pointer: "/items", code: "array_max" }]);
  });
});
