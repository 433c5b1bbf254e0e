/**
 * The console's command `shop audit`: the protocol's invariants, over the databases that this process is configured for
 * (DATA_DIR or DATABASE_URL), as `npm run audit` does.
 */
import { config } from "../../config/index.ts";
import { attach } from "../attach.ts";
import { auditTable } from "../audit/report.ts";
import { auditAsConfigured } from "../audit/settled.ts";
import { describe } from "../describe.ts";
import { Mistake } from "./transactions.ts";

export async function shop({ action }: { action?: string | undefined }): Promise<string> {
  if (action !== "audit") throw new Mistake("there is: shop audit");
  try {
    const { urls, release } = await attach(config, () => undefined);
    try {
      return auditTable(await auditAsConfigured(config, urls));
    } finally {
      await release();
    }
  } catch (err) {
    throw new Mistake(`the audit could not check: ${describe(err)}`);
  }
}
