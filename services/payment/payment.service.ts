/** Payments: a participant whose vote is an authorized card. Nothing of it is public; order shows the status. */
import type { Context, ServiceSchema } from "moleculer";
import { databaseMixin } from "../../mixins/database.mixin.ts";
import { operatedMixin } from "../../mixins/operated.mixin.ts";
import { participantMixin } from "../../mixins/participant.mixin.ts";
import type { PaymentStatus } from "./api.ts";
import { CardCaller } from "./card-caller.ts";
import { simulatedGateway } from "./gateways/simulated.ts";
import { operatedPayments } from "./payment.operated.ts";
import { paymentParticipant } from "./payment.participant.ts";
import { findStatuses } from "./payment.repository.ts";

const service: ServiceSchema = {
  name: "payment",
  mixins: [
    operatedMixin(operatedPayments),
    participantMixin((host) => {
      const { logger } = host as unknown as { logger: { error(...args: unknown[]): void } };
      const alarm = (message: string, detail: object) => logger.error(message, detail);
      const { db, supervisor } = host;
      return paymentParticipant(db, new CardCaller({ gateway: simulatedGateway(), db, supervisor, alarm }));
    }),
    databaseMixin("payment", new URL("./migrations/", import.meta.url)),
  ],

  actions: {
    // Called by order for its answers. Keyed by txId; those without a payment are left out.
    statuses: {
      visibility: "public",
      idempotent: true,
      params: { txIds: { type: "array", items: "string" } },
      async handler(ctx: Context<{ txIds: string[] }>): Promise<Record<string, PaymentStatus>> {
        return Object.fromEntries(await findStatuses(this.db, ctx.params.txIds));
      },
    },
  },
};

export default service;
