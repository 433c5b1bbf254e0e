/**
 * Gives a service its supervisor as `this.supervisor`: mailboxes and loops made with it are drained when the service
 * stops, shown by the actions `health` and `actors`, and make the node not ready while one of them keeps failing.
 */
import type { ServiceSchema } from "moleculer";
import { type ActorState, Supervisor } from "../actors/supervisor.ts";
import { ShopError } from "../lib/errors.ts";

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
    this.supervisor = new Supervisor(this.logger);
  },

  async stopped() {
    await this.supervisor.stop();
  },
};
