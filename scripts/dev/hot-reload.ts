/**
 * Hot reload for `npm run dev`: a saved file of lib/, actors/, mixins/ or services/ runs a moment later in every service
 * that imports it, at any depth. What cannot be loaded or started leaves the old version running and is said in one
 * line; the next save tries again. Reloads never overlap, so the last one saved is the last one running.
 */
import path from "node:path";
import { pathToFileURL } from "node:url";
import type { Service, ServiceBroker, ServiceSchema } from "moleculer";
import { loadedFiles, RELOADABLE, ROOT, renew } from "./module-graph.ts";
import { replaceService } from "./replace-service.ts";
import { watchSources } from "./source-watcher.ts";

/** Read at the start only. */
const FIXED = ["", "config", "scripts"];

/** Watches until the returned function is called, which resolves when no old service is left. */
export async function hotReload(
  broker: ServiceBroker,
  say: (line: string) => void,
): Promise<() => Promise<void>> {
  const services = await servicesByFile(broker);
  const retiring = new Set<Promise<void>>();
  let last = Promise.resolve();
  let isClosing = false;

  const replace = async (file: string, because: string): Promise<void> => {
    const since = performance.now();
    const old = services.get(file) as Service;
    try {
      const { service, retired } = await replaceService(broker, old, await schemaOf(file));
      services.set(file, service);
      say(`reloaded ${service.name} in ${Math.round(performance.now() - since)} ms (${because})`);
      const gone = retired
        .catch((err) => say(`the old ${old.name} did not stop as it should: ${oneLine(err)}`))
        .finally(() => retiring.delete(gone));
      retiring.add(gone);
    } catch (err) {
      say(`${old.name} keeps running as it was (${because}): ${oneLine(err)}`);
    }
  };

  const reload = async (files: string[]): Promise<void> => {
    if (isClosing) return;
    const changed = files.filter((file) => RELOADABLE.some((layer) => isBelow(file, path.join(ROOT, layer))));
    const because = files.map((file) => path.relative(ROOT, file)).join(", ");
    if (changed.length < files.length) say(`restart to apply what changed: ${because}`);
    if (changed.length === 0) return;
    const loaded = new Set(loadedFiles());
    const affected = renew(changed.flatMap((file) => (loaded.has(file) ? [file] : neighbours(file, loaded))));
    const stale = [...services.keys()].filter((file) => affected.has(file));
    if (stale.length === 0) say(`no service imports it: ${because}`);
    await Promise.all(stale.map((file) => replace(file, because)));
  };

  const watcher = watchSources(
    {
      trees: RELOADABLE.map((layer) => path.join(ROOT, layer)),
      directories: FIXED.map((folder) => path.join(ROOT, folder)),
    },
    (files) => {
      last = last.then(() => reload(files));
    },
  );
  return async () => {
    isClosing = true;
    watcher.close();
    await last;
    await Promise.all(retiring);
  };
}

async function servicesByFile(broker: ServiceBroker): Promise<Map<string, Service>> {
  const services = new Map<string, Service>();
  for (const file of loadedFiles().filter((each) => each.endsWith(".service.ts"))) {
    const service = broker.getLocalService((await schemaOf(file)).name);
    if (service) services.set(file, service);
  }
  return services;
}

async function schemaOf(file: string): Promise<ServiceSchema> {
  const { default: schema } = (await import(pathToFileURL(file).href)) as { default?: ServiceSchema };
  if (!schema?.name) throw new Error("it has no service schema as its default export");
  return schema;
}

/** A migration, or a worker's module, is imported by nobody here: it belongs to the service in whose folder it lies. */
function neighbours(file: string, loaded: ReadonlySet<string>): string[] {
  const [layer = "", unit = ""] = path.relative(ROOT, file).split(path.sep);
  return [...loaded].filter((each) => isBelow(each, path.join(ROOT, layer, unit)));
}

const isBelow = (file: string, folder: string): boolean => file.startsWith(folder + path.sep);

/** What is wrong and where: the loader's own errors say the place in the first line of their stack. */
function oneLine(err: unknown): string {
  const { stack = "", message = String(err) } = err as Error;
  const what = (message.split("\n").find((line) => line.trim() !== "") ?? "").trim();
  const [, file = "", line] = /(?:file:\/\/)?(\/[^\s:?]+)(?:\?[^:\s]*)?:(\d+)/.exec(stack) ?? [];
  const isOurs = RELOADABLE.some((layer) => isBelow(file, path.join(ROOT, layer)));
  return isOurs ? `${what} (${path.relative(ROOT, file)}:${line})` : what;
}
