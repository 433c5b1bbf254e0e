/**
 * `npm run k8s:check [-- OVERLAY ...]`: builds the overlays of k8s/, holds every object against its model and the whole
 * set against the rules. Needs no cluster. Exits with 0 where all is well, 1 with every fault, 2 where it could not look.
 */
import { readArguments } from "./arguments.ts";
import { build, overlays } from "./k8s/build.ts";
import { connections } from "./k8s/capacity.rules.ts";
import { modelFaults } from "./k8s/models.ts";
import { ResourceSet } from "./k8s/resource-set.ts";
import { RULES, ruleFaults } from "./k8s/rules.ts";

const known = overlays();
const usage = `usage: npm run k8s:check [-- OVERLAY ...]\noverlays: ${known.join(", ")}`;
const { positionals: wanted } = readArguments(usage, { allowPositionals: true });
const unknown = wanted.filter((name) => !known.includes(name));

try {
  if (unknown.length > 0)
    throw new Error(`there is no overlay ${unknown.join(", ")}: expected ${known.join(", ")}`);
  for (const overlay of wanted.length > 0 ? wanted : known) {
    const objects = build(overlay);
    const set = new ResourceSet(objects);
    const faults = [...(await modelFaults(objects)), ...ruleFaults(set)];
    console.log(
      `${overlay}: ${objects.length} objects, ${Object.keys(RULES).length} rules, ${faults.length} faults`,
    );
    console.log(`  ${connections(set).line}`);
    for (const fault of faults) console.log(`  - ${fault}`);
    if (faults.length > 0) process.exitCode = 1;
  }
} catch (err) {
  console.error((err as Error).message);
  process.exitCode = 2;
}
