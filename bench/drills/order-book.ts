/** Makes order books in the format of npm run replay: the same goods and customers each time, other invoices. */
import { writeFile } from "node:fs/promises";

const PRODUCTS = 40;
const CUSTOMERS = 12;
const LINES_MAX = 4;

/** Writes `invoices` invoices with numbers that begin with `prefix`, which is what keeps their keys apart. */
export async function writeOrderBook(
  file: string,
  prefix: string,
  invoices: number,
  random: () => number,
): Promise<void> {
  const any = (count: number) => Math.floor(random() * count);
  const rows = ["InvoiceNo,StockCode,Description,Quantity,UnitPrice,CustomerID,Country"];
  for (let n = 1; n <= invoices; n++) {
    const customer = 10_000 + any(CUSTOMERS);
    const first = any(PRODUCTS);
    const lines = 1 + any(LINES_MAX);
    // Neighbours on a ring: any lines of one invoice are different products.
    for (let line = 0; line < lines; line++) {
      const product = (first + line) % PRODUCTS;
      rows.push(
        `${prefix}${n},DR${product},DRILL ITEM ${product},${1 + any(6)},${1 + product}.25,${customer},UK`,
      );
    }
  }
  await writeFile(file, `${rows.join("\n")}\n`);
}
