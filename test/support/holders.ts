/** Sessions that share-lock a one-row table without a gap, each time anew: what a steady stream of batches does. */
import pg from "pg";

export interface Holders {
  /** True as long as all of them go on. */
  readonly isHolding: boolean;
  stop(): Promise<void>;
}

/** Four overlapping sessions. Each loops in the server, so that nothing here makes a gap. */
export async function holdSteadily(url: string, table: string): Promise<Holders> {
  const clients = await Promise.all(
    [1, 2, 3, 4].map(async () => {
      const client = new pg.Client({ connectionString: url });
      await client.connect();
      return client;
    }),
  );
  let ended = 0;
  const holding = clients.map((client, i) =>
    client
      .query(
        `do $$ begin
           perform pg_sleep(0.005 * ${i});
           loop
             perform 1 from ${table} for share;
             perform pg_sleep(0.02);
             commit;
           end loop;
         end $$`,
      )
      .catch(() => ended++),
  );
  return {
    get isHolding() {
      return ended === 0;
    },
    async stop() {
      const canceller = new pg.Client({ connectionString: url });
      await canceller.connect();
      const pids = clients.map((client) => (client as unknown as { processID: number }).processID);
      await canceller.query("select pg_cancel_backend(pid) from unnest($1::int[]) as pid", [pids]);
      await Promise.all(holding);
      await Promise.all([...clients, canceller].map((client) => client.end()));
    },
  };
}
