/** What a drill is: a promise of the shop, the way to put it to the test, and the figures that tell. */
import type { Site } from "./site.ts";

export type OptionName =
  | "times"
  | "seconds"
  | "seed"
  | "orders"
  | "invoices"
  | "file"
  | "concurrency"
  | "postgres";

export interface DrillOptions {
  times?: number;
  seconds?: number;
  seed?: number;
  orders?: number;
  invoices?: number;
  /** Path of a CSV. */
  file?: string;
  concurrency?: number;
  postgres?: boolean;
}

/** `ok` says whether the promise held; the rest is what was counted and measured. Units are in the names. */
export interface Figures {
  ok: boolean;
  [name: string]: unknown;
}

export interface Drill {
  name: string;
  /** One line for the listing: what is broken, and what must hold. */
  about: string;
  takes: readonly OptionName[];
  /** Rejects where the drill could not be carried out. It need not clean up: the site ends what was started. */
  run(site: Site, options: DrillOptions): Promise<Figures>;
}
