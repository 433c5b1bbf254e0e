/**
 * Messages larger than NATS carries (1 MB by default), in parts: what works in one process must not depend on the
 * carrier, and a page of long orders is larger than that. The parts of a message follow one another on one connection, so they
 * arrive in order; a message that misses one, because a connection broke, is never put together.
 */
import { headers, type Msg, type MsgHdrs } from "nats";
import { newId } from "../lib/ids.ts";

/** Half of what a server takes by default, so that headers and other limits never matter. */
const PART_BYTES_MAX = 512 * 1024;
/** Beyond that a message is a mistake, and would not be worth the memory of two nodes. */
const MESSAGE_BYTES_MAX = 64 * 1024 * 1024;
/** Messages on their way at once; the oldest gives way, since it has most likely lost a part. */
const INCOMPLETE_MAX = 32;

const HEADER = "Shop-Part";

export interface Part {
  data: Uint8Array;
  headers?: MsgHdrs;
}

/** The message as one part without headers, or as several. Throws where it is absurdly large. */
export function split(data: Uint8Array): Part[] {
  if (data.length <= PART_BYTES_MAX) return [{ data }];
  if (data.length > MESSAGE_BYTES_MAX)
    throw new Error(
      `a message of ${data.length} bytes is not sent: at most ${MESSAGE_BYTES_MAX} are; ask for less`,
    );
  const id = newId();
  const count = Math.ceil(data.length / PART_BYTES_MAX);
  return Array.from({ length: count }, (_, index) => {
    const header = headers();
    header.set(HEADER, `${id} ${index} ${count}`);
    return { data: data.subarray(index * PART_BYTES_MAX, (index + 1) * PART_BYTES_MAX), headers: header };
  });
}

/** Puts the parts together again. */
export class Assembly {
  readonly #incomplete = new Map<string, Uint8Array[]>();

  /** The message, when `msg` is all or the last of it. */
  add({ data, headers: header }: Pick<Msg, "data" | "headers">): Buffer | undefined {
    const part = header?.get(HEADER);
    if (!part) return Buffer.from(data);
    const [id = "", index, count] = part.split(" ");
    const parts = this.#incomplete.get(id) ?? [];
    if (parts.length !== Number(index)) {
      this.#incomplete.delete(id);
      return undefined;
    }
    parts.push(data);
    this.#incomplete.set(id, parts);
    if (this.#incomplete.size > INCOMPLETE_MAX)
      for (const oldest of [...this.#incomplete.keys()].slice(0, 1)) this.#incomplete.delete(oldest);
    if (parts.length < Number(count)) return undefined;
    this.#incomplete.delete(id);
    return Buffer.concat(parts);
  }
}
