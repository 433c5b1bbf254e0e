/** What the parent asks of a worker. */
export type CheckoutArm = "local" | "local-1stmt" | "xa" | "2pc-batch1" | "2pc";

export interface WorkerJob {
  arm: CheckoutArm;
  clients: number[];
  seconds: number;
  probeSeconds: number;
  products: string[];
  /** The database of the local arms. */
  url: string;
  xaUrls?: { product: string; order: string; payment: string; register: string };
}
