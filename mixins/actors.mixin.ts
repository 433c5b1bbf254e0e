/**
 * Gives a service its supervisor as `this.supervisor`: mailboxes and loops made with it are drained when the service
 * stops, shown by the actions `health` and `actors`, and make the node not ready while one of them keeps failing.
 */
import type { ServiceSchema } from "moleculer";
import type { MailboxStats } from "../actors/mailbox.ts";
import { type ActorState, Supervisor } from "../actors/supervisor.ts";
import { ShopError } from "../lib/errors.ts";
import { measure, type Reading } from "./measures.ts";

export const actorsMixin: Partial<ServiceSchema> = {
  actions: {
    // Called by the gateway's readiness. Answers the state of every actor; rejects while one keeps failing.
    health: {
      visibility: "public",
      // Asked again by whoever probes; a breaker would answer for it when it is well again.
      retry: false,
      circuitBreaker: { enabled: false },
      params: {},
      handler(): ActorState[] {
        const states: ActorState[] = this.supervisor.states();
        const failing = states.filter((state) => state.failing);
        if (failing.length === 0) return states;
        const names = failing.map(({ name, lastError }) => (lastError ? `${name} (${lastError})` : name));
        throw new ShopError("unavailable", `${this.name} keeps failing at ${names.join(", ")}.`, {
          retryAfter: 1,
        });
      },
    },

    // For operators: the same, also of what fails.
    actors: {
      visibility: "public",
      idempotent: true,
      params: {},
      handler(): ActorState[] {
        return this.supervisor.states();
      },
    },
  },

  created() {
    // Several mixins of a service may bring this one.
    if (this.supervisor) return;
    this.supervisor = new Supervisor(this.logger);
    measure(this, () => this.supervisor.states().flatMap(readingsOf));
  },

  async stopped() {
    await this.supervisor.stop();
  },
};

function readingsOf({ name, failing, stats }: ActorState): Reading[] {
  const readings: Reading[] = [["shop_actor_failing", failing ? 1 : 0, { actor: name }]];
  return stats ? [...readings, ...mailboxReadings(stats)] : readings;
}

function mailboxReadings(stats: Readonly<MailboxStats>): Reading[] {
  const labels = { mailbox: stats.name };
  return [
    ["shop_mailbox_depth_messages", stats.depth, labels],
    ["shop_mailbox_in_flight_batches", stats.inFlight, labels],
    ["shop_mailbox_batch_largest_messages", stats.batchLargest, labels],
    ["shop_mailbox_messages_total", stats.messages, labels],
    ["shop_mailbox_batches_total", stats.batches, labels],
    ["shop_mailbox_overloaded_messages_total", stats.overloaded, labels],
    ["shop_mailbox_expired_messages_total", stats.expired, labels],
    ["shop_mailbox_failures_total", stats.failures, labels],
    ["shop_mailbox_wait_seconds_total", stats.waitMsTotal / 1_000, labels],
    ["shop_mailbox_work_seconds_total", stats.workMsTotal / 1_000, labels],
  ];
}
