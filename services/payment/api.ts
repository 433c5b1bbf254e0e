/** What others may know of payment: types only. */
export type PaymentStatus = "authorized" | "captured" | "voided";

/** What payment is asked to prepare: hold this amount (minor units) on the card behind `token`. */
export interface PaymentRequest {
  userId: string;
  amount: number;
  currency: string;
  token: string;
}
