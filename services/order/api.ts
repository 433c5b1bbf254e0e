/** What others may know of order: types only. */
import type { Money } from "../../lib/money.ts";

export type OrderStatus = "pending" | "confirmed" | "rejected";
export type PaymentStatus = "authorized" | "captured" | "voided";

export interface OrderItem {
  productId: string;
  sku: string;
  name: string;
  quantity: number;
  unitPrice: Money;
  lineTotal: Money;
}

export interface Order {
  id: string;
  userId: string;
  status: OrderStatus;
  items: OrderItem[];
  total: Money;
  payment: { status: PaymentStatus };
  createdAt: string;
}

/** Payload of `order.confirmed` version 1; prices in minor units of `currency`. */
export interface OrderConfirmedV1 {
  orderId: string;
  userId: string;
  total: number;
  currency: string;
  lines: { productId: string; sku: string; name: string; quantity: number; unitPrice: number }[];
}

/** Payload of `order.rejected` version 1: it was answered as pending, and then came to nothing. */
export type OrderRejectedV1 = OrderConfirmedV1;
