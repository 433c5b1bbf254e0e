/**
 * Builds SQL whose shape depends on the request (sorting, filters); run it with `db.query(nativeOf(query))`. Import it
 * where a query is built, not at the top of a file: knex is slow to load and most nodes never need it.
 */
import knex from "knex";
import type { Statement } from "./database.mixin.ts";

export const sql = knex({ client: "pg" });

export function nativeOf(builder: {
  toSQL(): { toNative(): { sql: string; bindings: readonly unknown[] } };
}): Statement {
  const native = builder.toSQL().toNative();
  return { text: native.sql, values: [...native.bindings] };
}
