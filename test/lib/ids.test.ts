/** Ids stand above what they must, whatever the clock says. */
import { randomFillSync } from "node:crypto";
import { expect, test } from "@jest/globals";
import { idMaker, isId, newId } from "../../lib/ids.ts";

test("ids ascend when the clock stands still and when it jumps back", () => {
  let ms = 1_800_000_000_000;
  const make = idMaker(() => ms, randomFillSync);
  const ids = [make(), make()];
  ms -= 3_600_000;
  ids.push(make(), make());
  ms += 7_200_000;
  ids.push(make());
  expect(ids).toEqual(ids.toSorted());
  expect(new Set(ids).size).toBe(5);
});

test("a clock an hour behind mints above a floor that another clock has set, and goes on from there", () => {
  const ahead = idMaker(() => 1_800_003_600_000, randomFillSync);
  const behind = idMaker(() => 1_800_000_000_000, randomFillSync);
  const first = behind();
  const floor = ahead();
  const ids = [floor, behind(floor), behind(floor), behind()];
  expect(first < floor).toBe(true);
  expect(ids).toEqual(ids.toSorted());
  expect(ids.every(isId)).toBe(true);
});

test("a floor below what is minted anyway changes nothing", () => {
  const floor = newId();
  const next = newId(floor);
  expect(next > floor).toBe(true);
  expect(next.slice(0, 8)).toBe(newId("").slice(0, 8));
});
