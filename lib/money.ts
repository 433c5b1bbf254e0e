/** Money is an integer amount in minor units (cents) with its ISO 4217 currency. Amounts stay below 2^53. */
export interface Money {
  amount: number;
  currency: string;
}

/** The sum of `unitPrice × quantity` over the lines, in minor units. Throws RangeError at 2^53 and above. */
export function totalOf(lines: readonly { unitPrice: number; quantity: number }[]): number {
  let total = 0;
  for (const line of lines) total += line.unitPrice * line.quantity;
  if (!Number.isSafeInteger(total)) throw new RangeError(`the total ${total} is not below 2^53 minor units`);
  return total;
}
