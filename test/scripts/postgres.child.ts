/** A process that uses the embedded server: prints what it got, and stops it when its input ends. */
import { ensurePostgres } from "../../scripts/postgres.ts";

const [dataDir = ""] = process.argv.slice(2);
const postgres = await ensurePostgres({ dataDir, settings: { fsync: "off" } });
console.log(JSON.stringify(postgres));
process.stdin.resume();
process.stdin.on("end", () => void postgres.stop());
