/**
 * Who reads the outboxes of a shop, Kafka among them: up to where, and when it last asked. What a reader has not taken is
 * kept for it, so one that is gone for good can be forgotten.
 */
import type { DatabaseName } from "../../config/index.ts";
import { onDatabase, type Urls } from "../database.ts";

export interface Reader {
  /** The service whose outbox it reads. */
  teller: DatabaseName;
  reader: string;
  position: number;
  /** Events that are published, above its position; those that have not been published yet are nobody's. */
  behind: number;
  askedAt: string;
}

/** By teller and name. The position of a reader that is on its way is that of a minute ago at most. */
export async function readersOf(urls: Urls): Promise<Reader[]> {
  const found = await Promise.all(
    Object.entries(urls).map(([teller, url]) =>
      onDatabase(url, "outbox_readers", async (client) => {
        const { rows } = await client.query(
          `select consumer as reader, position, asked_at,
             (select count(*)::int from outbox where outbox.position > outbox_readers.position) as behind
           from outbox_readers order by consumer`,
        );
        return rows.map(
          ({ asked_at, position, ...row }): Reader => ({
            teller: teller as DatabaseName,
            ...row,
            position: Number(position),
            askedAt: asked_at.toISOString(),
          }),
        );
      }),
    ),
  );
  return found.flat().sort((one, other) => (one.teller < other.teller ? -1 : 1));
}

/** Answers whether there was such a reader. One that is there all the same is known again when it next asks. */
export async function forgetReader(urls: Urls, teller: string, reader: string): Promise<boolean> {
  const url = (urls as Readonly<Record<string, string | undefined>>)[teller];
  if (url === undefined) return false;
  const forgotten = await onDatabase(url, "outbox_readers", async (client) => {
    const { rows } = await client.query(
      "delete from outbox_readers where consumer = $1 returning consumer as reader",
      [reader],
    );
    return rows;
  });
  return forgotten.length > 0;
}
