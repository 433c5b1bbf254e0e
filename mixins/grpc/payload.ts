/**
 * What calls and answers carry inside their frames. Small ones are JSON, which is quickest for them; of an action whose
 * last one was large the next are MessagePack, which is half as long and read faster. Either way what
 * arrives of plain data is what JSON makes of it, but for a member that is undefined: it is left out of JSON, and packed
 * it arrives as undefined, as it does in a call that stays in its process. What is no plain data (a Map, a BigInt, NaN)
 * may arrive in another way than from JSON, and is nothing that an action may take or answer.
 */
// Not the package itself, which would take a native part where one happens to be installed.
import { addExtension, Packr } from "msgpackr/pack";

/** From here on packing pays; measured with batches of prepares. */
const LARGE_BYTES = 8 * 1024;

// Packed, a Date would arrive as a Date. (It is the only user of the package in this process.)
addExtension({ Class: Date, write: (date: Date) => date.toJSON() } as never);
// Records: the members of a batch's entries are named once. Bundled strings: all are read at once.
const packr = new Packr({ useRecords: true, bundleStrings: true, moreTypes: false });

/** The payloads of one end of a stream, by action. */
export class Payloads {
  readonly #large = new Set<string>();

  write(action: string, value: unknown): Buffer {
    // The first byte tells the forms apart: it is below 0x80 in JSON, and above in what is packed of an object.
    if (typeof value !== "object" || value === null || !this.#large.has(action)) {
      const json = toJson(value);
      if (json.length >= LARGE_BYTES) this.#large.add(action);
      return json;
    }
    const packed = pack(value);
    if (packed.length < LARGE_BYTES / 2) this.#large.delete(action);
    // Something that says by toJSON() what it is, and is no object then.
    return isPacked(packed) ? packed : toJson(value);
  }
}

/** Undefined for no bytes. */
export const readPayload = (bytes: Buffer | undefined): unknown =>
  bytes && isPacked(bytes) ? packr.unpack(bytes) : fromJson(bytes);

const isPacked = (bytes: Buffer): boolean => (bytes[0] ?? 0) >= 0x80;

function pack(value: object): Buffer {
  try {
    return packr.pack(value);
  } catch (err) {
    // A circle grows the buffer, from which later payloads are cut, until it fails.
    packr.useBuffer(Buffer.allocUnsafeSlow(LARGE_BYTES));
    throw err;
  }
}

/** Nothing is no bytes. */
export const toJson = (value: unknown): Buffer => Buffer.from(JSON.stringify(value) ?? "");

export const fromJson = (bytes: Buffer | undefined): unknown =>
  bytes && bytes.length > 0 ? JSON.parse(bytes.toString()) : undefined;
