/**
 * shop.v1.Participant and shop.v1.TransactionManager, both directions: the shop serves them and calls participants of
 * others by them. What an answer of somebody else does not say in a word that is known here is never taken for a vote or
 * an acknowledgement.
 */
import type {
  DecisionReply,
  Inquiry,
  InquiryReply,
  PrepareEntry,
  PrepareReply,
  TxId,
} from "../actors/protocol/messages.ts";
import { type Int64, numberOf, refused, Words } from "./values.ts";

interface EntryMessage {
  txId?: string;
  hash?: string;
  budgetMs?: Int64;
  participants?: string[];
  request?: string;
}
interface PrepareReplyMessage {
  kind?: string | number;
  reason?: string;
  detail?: string;
  code?: string;
  message?: string;
}

const KINDS = new Words({
  yes: "VOTE_KIND_YES",
  no: "VOTE_KIND_NO",
  pending: "VOTE_KIND_PENDING",
  conflict: "VOTE_KIND_CONFLICT",
  forgotten: "VOTE_KIND_FORGOTTEN",
  error: "VOTE_KIND_ERROR",
});
const ACKNOWLEDGEMENTS = new Words<DecisionReply>({
  done: "ACKNOWLEDGEMENT_DONE",
  pending: "ACKNOWLEDGEMENT_PENDING",
  contradiction: "ACKNOWLEDGEMENT_CONTRADICTION",
  heuristic: "ACKNOWLEDGEMENT_HEURISTIC",
  unknown: "ACKNOWLEDGEMENT_UNKNOWN",
  forgotten: "ACKNOWLEDGEMENT_FORGOTTEN",
});
const OUTCOMES = new Words<InquiryReply>({
  commit: "OUTCOME_COMMIT",
  abort: "OUTCOME_ABORT",
  pending: "OUTCOME_PENDING",
  forgotten: "OUTCOME_FORGOTTEN",
});

export const Prepare = {
  toParams: ({ entries = [] }: { entries?: EntryMessage[] }): { entries: PrepareEntry[] } => ({
    entries: entries.map(({ txId = "", hash = "", budgetMs, participants, request = "" }, i) => ({
      txId,
      hash,
      budgetMs: numberOf(budgetMs, `/entries/${i}/budgetMs`),
      participants: participants ?? [],
      request: parsed(request, `/entries/${i}/request`),
    })),
  }),
  toResponse: (replies: PrepareReply[]) => ({ replies: replies.map(toReply) }),
  toRequest: (participant: string, entries: PrepareEntry[]) => ({
    participant,
    entries: entries.map(({ txId, hash, budgetMs, participants = [], request }) => ({
      txId,
      hash,
      budgetMs: String(Math.floor(budgetMs)),
      participants,
      request: JSON.stringify(request),
    })),
  }),
  fromResponse: ({ replies = [] }: { replies?: PrepareReplyMessage[] }): PrepareReply[] =>
    replies.map(fromReply),
};

const decision = {
  toParams: ({ txIds = [] }: { txIds?: string[] }) => ({ txIds }),
  toResponse: (replies: DecisionReply[]) => ({
    replies: replies.map((reply) => ACKNOWLEDGEMENTS.name(reply)),
  }),
  toRequest: (participant: string, txIds: TxId[]) => ({ participant, txIds }),
  fromResponse: ({ replies = [] }: { replies?: (string | number)[] }): DecisionReply[] =>
    replies.map((reply, i) => ACKNOWLEDGEMENTS.word(reply, `/replies/${i}`)),
};
export const Commit = decision;
export const Abort = decision;

export const RaiseSeal = {
  toParams: ({ upTo = "" }: { upTo?: string }) => ({ upTo }),
  toResponse: (seal: TxId) => ({ seal }),
  toRequest: (participant: string, upTo: TxId) => ({ participant, upTo }),
  fromResponse: ({ seal = "" }: { seal?: string }): TxId => seal,
};

export const Prune = {
  toParams: ({ watermark = "", limit = 0 }: { watermark?: string; limit?: number }) => ({ watermark, limit }),
  toResponse: (deleted: number) => ({ deleted }),
  toRequest: (participant: string, watermark: TxId, limit: number) => ({ participant, watermark, limit }),
  fromResponse: ({ deleted = 0 }: { deleted?: number }): number => deleted,
};

export const Outcome = {
  toParams: ({
    inquiries = [],
  }: {
    inquiries?: { txId?: string; waitedMs?: Int64 }[];
  }): {
    inquiries: Inquiry[];
  } => ({
    inquiries: inquiries.map(({ txId = "", waitedMs }, i) => ({
      txId,
      waitedMs: numberOf(waitedMs, `/inquiries/${i}/waitedMs`),
    })),
  }),
  toResponse: (replies: InquiryReply[]) => ({ outcomes: replies.map((reply) => OUTCOMES.name(reply)) }),
};

function toReply(reply: PrepareReply): PrepareReplyMessage {
  const kind = KINDS.name(reply.kind);
  if (reply.kind === "error") return { kind, code: reply.code, message: reply.message };
  if (reply.kind !== "no") return { kind };
  return { kind, reason: reply.reason, detail: reply.detail ? JSON.stringify(reply.detail) : "" };
}

function fromReply(message: PrepareReplyMessage, i: number): PrepareReply {
  const kind = KINDS.word(message.kind, `/replies/${i}/kind`);
  switch (kind) {
    case "no": {
      const { reason = "", detail = "" } = message;
      if (reason === "")
        throw refused({ pointer: `/replies/${i}/reason`, code: "required", message: "a no needs a reason" });
      if (detail === "") return { kind, reason };
      return { kind, reason, detail: parsed(detail, `/replies/${i}/detail`) as Record<string, unknown> };
    }
    case "error":
      return { kind, code: message.code || "internal_error", message: message.message ?? "" };
    default:
      return { kind };
  }
}

function parsed(json: string, pointer: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    throw refused({ pointer, code: "json", message: "must be JSON text" });
  }
}
