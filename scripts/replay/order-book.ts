/**
 * Reads an order book in the format of UCI's "Online Retail": InvoiceNo, StockCode, Description, Quantity, UnitPrice
 * (pounds), CustomerID, Country; UTF-8, or Windows-1252 as that file is. It sorts out what can be bought (a positive
 * quantity at a price) and counts the rest. Stock codes are case-sensitive, and one code may change its price.
 */
import { readFile } from "node:fs/promises";
import { parse } from "csv-parse/sync";

export interface BookProduct {
  sku: string;
  name: string;
  /** Pence: of the last row with a price above 0; undefined where there is none. */
  price: number | undefined;
  /** Units of all rows that can be bought. */
  unitsSold: number;
}

export interface BookInvoice {
  number: string;
  /** Undefined where the row has none. */
  customer: string | undefined;
  lines: { sku: string; quantity: number }[];
  skipped: SkippedRows;
}

/** Rows that are not part of any order, by why. */
export interface SkippedRows {
  returns: number;
  zeroPrice: number;
  /** A quantity that is no whole number, a price that is no number, no stock code. */
  unreadable: number;
}

export interface OrderBook {
  rows: number;
  products: Map<string, BookProduct>;
  /** In order of first appearance. */
  invoices: BookInvoice[];
}

const COLUMNS = ["InvoiceNo", "StockCode", "Description", "Quantity", "UnitPrice", "CustomerID"] as const;
type BookRow = Record<(typeof COLUMNS)[number], string>;

/** Throws where the file cannot be read or lacks a column. */
export async function readOrderBook(file: string): Promise<OrderBook> {
  const rows = parse(decode(await readFile(file)), {
    columns: (header: string[]) => {
      const missing = COLUMNS.filter((column) => !header.includes(column));
      if (missing.length > 0)
        throw new Error(`${file} has no column ${missing.join(", ")} in its first line`);
      return header;
    },
    bom: true,
    trim: true,
    skip_empty_lines: true,
  }) as BookRow[];
  const products = new Map<string, BookProduct>();
  const invoices = new Map<string, BookInvoice>();
  for (const row of rows) take(row, products, invoices);
  return { rows: rows.length, products, invoices: [...invoices.values()] };
}

function decode(bytes: Buffer): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return new TextDecoder("windows-1252").decode(bytes); // every byte means something there
  }
}

function take(row: BookRow, products: Map<string, BookProduct>, invoices: Map<string, BookInvoice>): void {
  const { InvoiceNo: number, StockCode: sku, Description: name, CustomerID } = row;
  const invoice = invoices.get(number) ?? {
    number,
    customer: CustomerID || undefined,
    lines: [],
    skipped: { returns: 0, zeroPrice: 0, unreadable: 0 },
  };
  invoices.set(number, invoice);

  const quantity = Number(row.Quantity || Number.NaN);
  const price = Math.round(Number(row.UnitPrice || Number.NaN) * 100);
  if (sku === "" || number === "" || !Number.isSafeInteger(quantity) || !Number.isSafeInteger(price)) {
    invoice.skipped.unreadable++;
    return;
  }
  const product = products.get(sku) ?? { sku, name: sku, price: undefined, unitsSold: 0 };
  products.set(sku, product);
  if (name !== "") product.name = name;
  if (price > 0) product.price = price;

  if (quantity <= 0) invoice.skipped.returns++;
  else if (price <= 0) invoice.skipped.zeroPrice++;
  else {
    product.unitsSold += quantity;
    invoice.lines.push({ sku, quantity });
  }
}
