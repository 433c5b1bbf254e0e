/** What a node says of itself. */
import type { Readiness } from "../../mixins/readiness.ts";

export interface MailboxView {
  service: string;
  name: string;
  depth: number;
  inFlight: number;
  failing: boolean;
}

/** The state of one node's breaker for an action of another. */
export interface BreakerView {
  nodeID: string;
  action: string;
  state: string;
}

export interface NodeStatus extends Readiness {
  nodeID: string;
  pid: number;
  services: string[];
  mailboxes: MailboxView[];
  /** Those that are not closed. */
  breakers: BreakerView[];
}
