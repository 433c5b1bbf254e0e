/** Looks into a shop's databases behind its back, and audits them with one table changed. */
import pg from "pg";
import type { DatabaseName } from "../../config/index.ts";
import { type AuditOptions, audit } from "../../scripts/audit/audit.ts";
import type { TestDatabases } from "../harness/databases.ts";

export interface Tampering {
  in: DatabaseName;
  table: string;
  sql: string;
}

export async function query<Row = Record<string, unknown>>(
  databases: TestDatabases,
  name: DatabaseName,
  sql: string,
): Promise<Row[]> {
  const client = new pg.Client({ connectionString: databases.urlOf(name) });
  await client.connect();
  try {
    const result = await client.query(sql);
    return result.rows;
  } finally {
    await client.end();
  }
}

/** Audits with one table changed, and puts the table back. */
export async function auditTampered(
  databases: TestDatabases,
  tampering: Tampering,
  options: AuditOptions = {},
) {
  const { in: name, table, sql } = tampering;
  await query(databases, name, `create table kept as select * from ${table}`);
  try {
    await query(databases, name, sql);
    return await audit(databases.urls, { settleMs: 0, ...options });
  } finally {
    await query(
      databases,
      name,
      `truncate ${table}; insert into ${table} overriding system value select * from kept; drop table kept`,
    );
  }
}
