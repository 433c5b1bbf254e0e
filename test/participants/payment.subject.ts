/** Payment as the conformance suite sees it: the real card caller in front of a bank that a test scripts. */
import { newId } from "../../lib/ids.ts";
import type { PaymentRequest } from "../../services/payment/api.ts";
import { CardCaller } from "../../services/payment/card-caller.ts";
import { operatedPayments } from "../../services/payment/payment.operated.ts";
import { paymentParticipant } from "../../services/payment/payment.participant.ts";
import { ScriptedGateway } from "../support/card-gateway.ts";
import type { ParticipantFactory } from "../support/replica.ts";
import type { Subject } from "./subject.ts";

export const paymentRequest = (token = "tok_ok"): PaymentRequest => ({
  userId: newId(),
  amount: 1_980,
  currency: "EUR",
  token,
});

export const paymentFactory =
  (gateway: ScriptedGateway, alarms: string[] = []): ParticipantFactory =>
  ({ db, supervisor }) =>
    paymentParticipant(
      db,
      new CardCaller({ gateway, db, supervisor, alarm: (message) => alarms.push(message) }),
    );

export const payment: Subject = {
  name: "payment",
  table: "payments",
  key: "tx_id",
  keepsCommitted: true,
  operated: operatedPayments,
  async makeWorld() {
    const gateway = new ScriptedGateway();
    return {
      factory: paymentFactory(gateway),
      request: () => paymentRequest(),
      infeasible: () => ({ request: paymentRequest("tok_declined"), reason: "payment_declined" }),
      poison: {
        "an amount that overflows": { ...paymentRequest(), amount: 1e30 },
        "an invalid uuid": { ...paymentRequest(), userId: "ann" },
        "a currency that is too long": { ...paymentRequest(), currency: "EURO" },
      },
      held: async () => gateway.count("held"),
      sold: async () => gateway.count("captured"),
    };
  },
};
