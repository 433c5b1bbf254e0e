/** What makes a fleet come to its fault points: purchases of one kind or another, and bare messages of the protocol. */
import { randomUUID } from "node:crypto";
import { expect } from "@jest/globals";
import { newId } from "../../../lib/ids.ts";
import { entryOf } from "../../support/replica.ts";
import type { Crash } from "./crash.ts";
import type { Fleet, Purchase } from "./fleet.ts";
import type { ShopNode } from "./node.ts";

export const plain = async (fleet: Fleet, edge: ShopNode): Promise<Purchase[]> => {
  const productId = await fleet.addProduct(edge);
  return Array.from({ length: 4 }, () => ({ productId }));
};
/** Of four, two find stock. */
export const scarce = async (fleet: Fleet, edge: ShopNode): Promise<Purchase[]> => {
  const productId = await fleet.addProduct(edge, 2);
  return Array.from({ length: 4 }, () => ({ productId }));
};
/** One card is declined among others that are good. */
export const declined = async (fleet: Fleet, edge: ShopNode): Promise<Purchase[]> => {
  const productId = await fleet.addProduct(edge);
  return [{ productId, card: "tok_declined" }, { productId }];
};
/** The bank fails, which is no vote, so an abort has to be stored. */
export const unanswered = async (fleet: Fleet, edge: ShopNode): Promise<Purchase[]> => {
  const productId = await fleet.addProduct(edge);
  return [
    { productId, card: "tok_error" },
    { productId, card: "tok_error" },
  ];
};

/** Nothing is in stock any more, as the card finds out late. */
export const soldOut = async (fleet: Fleet, edge: ShopNode): Promise<Purchase[]> => {
  const productId = await fleet.addProduct(edge, 1);
  return [
    { productId, quantity: 2 },
    { productId, quantity: 2 },
  ];
};
/** The price has changed since it was quoted, so the order is placed again in place of its first attempt. */
export const requoted = async (fleet: Fleet, edge: ShopNode): Promise<Purchase[]> => {
  const productId = await fleet.addProduct(edge);
  // Whoever has not heard of the product yet would forget its price when it does.
  await fleet.query("product", "delete from outbox");
  await fleet.insist(edge, { productId, quantity: 1, card: "tok_ok", key: randomUUID() });
  await fleet.query("product", "update products set price = price + 1 where id = $1", [productId]);
  return [{ productId }];
};
/** Orders whose events lack a position, as where somebody else was giving positions when they committed. */
export const unpublished = async (fleet: Fleet, edge: ShopNode): Promise<Purchase[]> => {
  const purchases = (await plain(fleet, edge)).map((purchase) => ({ ...purchase, key: randomUUID() }));
  for (const purchase of purchases) await fleet.insist(edge, { quantity: 1, card: "tok_ok", ...purchase });
  await fleet.query("order", "update outbox set position = null, published_at = null");
  return purchases;
};
/** The bank captures nothing at first, so a capture is owed. */
export const bankAway = async (fleet: Fleet, edge: ShopNode): Promise<Purchase[]> => {
  const productId = await fleet.addProduct(edge);
  let refused = 0;
  fleet.bank.beforeCapture = () => {
    if (refused++ < 2) throw new Error("the bank is closed");
  };
  return [{ productId }, { productId }];
};

/** Every process jumps through the hours while they are bought; at the end all are three hours ahead of the database. */
export const jumping = async (fleet: Fleet, edge: ShopNode): Promise<Purchase[]> => {
  const purchases = await plain(fleet, edge);
  const hours = [5, -5, 2, -1, 3];
  const jump = async (node: ShopNode): Promise<void> => {
    for (const hour of hours) await node.clock(hour * 3_600_000);
  };
  // One that dies meanwhile has jumped enough.
  for (const node of Object.values(fleet.nodes)) void jump(node).catch(() => undefined);
  return purchases;
};

/** An abort overtakes its prepare. However the participant dies of it, the prepare that comes late is refused. */
export const tombstones = (
  participant: "order" | "product" | "payment",
  request: object,
): Partial<Crash> => ({
  provoke: (_, edge) => edge.call(`${participant}.abort`, { txIds: [newId()] }),
  async holds(_, edge, { txIds }) {
    expect((await edge.call(`${participant}.abort`, { txIds })).value).toEqual(["done"]);
    expect(await prepareOf(edge, participant, txIds[0] as string, request, 60_000)).toMatchObject({
      kind: "no",
    });
  },
});
/** A prepare comes too late. However the participant dies of it, the answer to its repeat is the no that is recorded. */
export const refusals = (participant: "order" | "payment", request: object): Partial<Crash> => ({
  provoke: (_, edge) => prepareOf(edge, participant, newId(), request, 0),
  async holds(_, edge, { txIds }) {
    const no = { kind: "no", reason: "deadline_exceeded" };
    expect(await prepareOf(edge, participant, txIds[0] as string, request, 0)).toMatchObject(no);
    expect(await prepareOf(edge, participant, txIds[0] as string, request, 60_000)).toMatchObject(no);
  },
});

async function prepareOf(
  edge: ShopNode,
  participant: string,
  txId: string,
  request: object,
  budgetMs: number,
): Promise<unknown> {
  const entries = [entryOf(request, { txId, budgetMs })];
  return (await edge.call<unknown[]>(`${participant}.prepare`, { entries })).value[0];
}
