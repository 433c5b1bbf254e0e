/** The mailboxes in front of one participant, one per phase: messages that wait for the same thing travel together. */
import type { Clock } from "../clock.ts";
import type { Mailbox, MailboxOptions } from "../mailbox.ts";
import type { DecisionReply, PrepareReply, TxId } from "../protocol/messages.ts";
import type { ParticipantPort } from "./ports.ts";

/** NATS refuses messages over 1 MB, and an order may hold 1,000 lines. */
const BATCH_BYTES_MAX = 512 * 1024;
/** What nobody waits for (phase two beyond the order, acknowledgements) goes out in batches this far apart. */
export const REST_MS = 25;

export interface PrepareMessage {
  txId: TxId;
  hash: string;
  participants: readonly string[];
  request: unknown;
  bytes: number;
  expiresAt: number;
}

export interface ParticipantMailboxes {
  prepare: Mailbox<PrepareMessage, PrepareReply>;
  /** For commits that a caller waits for, and for those that nobody does. */
  commit: Mailbox<TxId, DecisionReply>;
  commitLater: Mailbox<TxId, DecisionReply>;
  abort: Mailbox<TxId, DecisionReply>;
}

interface Options {
  participants: ParticipantPort;
  mailbox: <M, R>(options: MailboxOptions<M, R>) => Mailbox<M, R>;
  batchMax: number;
  capacity: number;
  clock: Clock;
}

/** The mailboxes of whoever is asked for, made when they are first. */
export function participantMailboxes(options: Options): (participant: string) => ParticipantMailboxes {
  const made = new Map<string, ParticipantMailboxes>();
  return (participant) => {
    let mailboxes = made.get(participant);
    if (!mailboxes) {
      mailboxes = mailboxesOf(participant, options);
      made.set(participant, mailboxes);
    }
    return mailboxes;
  };
}

function mailboxesOf(participant: string, options: Options): ParticipantMailboxes {
  const { participants, batchMax, capacity, clock } = options;
  // A participant that is away makes no manager's node not ready: the others can do without it, or answer 503 at once.
  const mailbox = <M, R>(of: MailboxOptions<M, R>) => options.mailbox<M, R>({ ...of, failsElsewhere: true });
  const commit = (batch: TxId[]) => participants.commit(participant, batch);
  return {
    prepare: mailbox({
      name: `prepare:${participant}`,
      capacity,
      batchMax,
      batchBytesMax: BATCH_BYTES_MAX,
      bytesOf: (message) => message.bytes,
      inFlightMax: 2,
      behaviour: (batch) => {
        const at = clock.now();
        return participants.prepare(
          participant,
          batch.map(({ txId, hash, participants: enlisted, request, expiresAt }) => ({
            txId,
            hash,
            participants: enlisted,
            request,
            budgetMs: expiresAt - at,
          })),
        );
      },
    }),
    // Phase two is never refused for want of room: what was promised is carried out.
    commit: mailbox({
      name: `commit:${participant}`,
      capacity: Number.POSITIVE_INFINITY,
      batchMax,
      behaviour: commit,
    }),
    commitLater: mailbox({
      name: `commit-later:${participant}`,
      capacity: Number.POSITIVE_INFINITY,
      batchMax: batchMax * 2,
      restMs: REST_MS,
      behaviour: commit,
    }),
    abort: mailbox({
      name: `abort:${participant}`,
      capacity: Number.POSITIVE_INFINITY,
      batchMax,
      behaviour: (batch) => participants.abort(participant, batch),
    }),
  };
}
