/*
 * Replays one trace of the code: each step must be one that its guard in rules.pml allows, and no property may break.
 * The trace comes in front of this file as sizes and arrays (scripts/model/promela.ts writes them). It tells what became
 * durable; what is between (a driver proposes, an outcome is told) is taken where a step needs it, by its own guard.
 */
#include "rules.pml"

/* Operations: what `op[at]` does to transaction `tx[at]`, with the arguments `a[at]` and `b[at]`. */
#define RUN 0           /* a: enlisted, b: the attempt replaced, plus 1 */
#define VOTE_YES 1      /* a: participant */
#define VOTE_NO 2
#define TOMBSTONE 3
#define DECIDE 4        /* a: proposed, b: what is stored then, NONE where the watermark refused it */
#define STORE 5         /* the same, and this step stored it */
#define SETTLE 6        /* a: participant, b: outcome */
#define ACKNOWLEDGE 7   /* a: participant */
#define SEAL 8          /* a: participant; tx: how many txIds lie at or below it */
#define WATERMARK 9     /* tx likewise */
#define PRUNE_VOTE 10   /* a: participant */
#define PRUNE_DECISION 11
#define CRASH 12        /* of the manager that drives it */
#define CONFIRMED 13    /* the client heard 201 */
#define PENDING 14      /* the client heard 202 */

short at;
short t;
byte p;

inline refuse() { printf("refused: step %d\n", at + 1); assert(false) }
/* A macro and not an inline, because spin limits the length of an inline's arguments. */
#define NEED(allowed) if :: (allowed) -> skip :: else -> refuse() fi

/* What is stored, or what the driver concludes from a no, is told before somebody acts on it. */
inline learnCommit(u) {
  if
  :: sent[u] & TOLD_COMMIT -> skip
  :: else -> NEED(DECISION(u) == COMMIT && CAN_TELL(u)); tell(u)
  fi
}
inline learnAbort(u) {
  if
  :: sent[u] & TOLD_ABORT -> skip
  :: !(sent[u] & TOLD_ABORT) && DECISION(u) == ABORT -> tell(u)
  :: !(sent[u] & TOLD_ABORT) && DECISION(u) != ABORT -> NEED(CAN_PRESUME(u)); presumeAbort(u)
  fi
}

/* The trace does not say who proposed an abort: an inquiry where one is possible, otherwise the driver. */
inline propose(outcome) {
  if
  :: outcome == COMMIT && !(sent[t] & SENT_COMMIT) -> NEED(CAN_PROPOSE_COMMIT(t)); proposeCommit(t)
  :: outcome == ABORT && !(sent[t] & SENT_ABORT) ->
    if
    :: CAN_PROPOSE_FOR_INQUIRY(t) -> proposeForInquiry(t)
    :: else ->
      if
      :: DECISION(t) == NONE && !LOW(t) -> NEED(CAN_PROPOSE_ABORT(t)); proposeAbort(t)
      :: else -> skip /* too late to change anything */
      fi
    fi
  :: else -> skip
  fi
}

/* Whatever the dying manager may have sent is on its way: later steps may rest on it. */
inline die() {
  if
  :: CAN_PROPOSE_COMMIT(t) -> proposeCommit(t)
  :: !CAN_PROPOSE_COMMIT(t) && CAN_PRESUME(t) -> presumeAbort(t)
  :: !CAN_PROPOSE_COMMIT(t) && !CAN_PRESUME(t) && CAN_PROPOSE_ABORT(t) -> proposeAbort(t)
  :: else -> skip
  fi;
  if
  :: CAN_CRASH(t) -> crash(t)
  :: else -> skip
  fi
}

init {
  do
  :: at == LENGTH -> printf("accepted: %d steps\n", at); break
  :: else ->
    t = tx[at]; p = a[at];
    if
    :: op[at] == RUN ->
      NEED(CAN_START(t));
      if
      :: b[at] != 0 -> learnAbort(b[at] - 1); NEED(CAN_NAME(b[at] - 1))
      :: else -> skip
      fi;
      start(t, a[at], b[at])
    :: op[at] == VOTE_YES -> NEED(CAN_VOTE_YES(p, t)); voteYes(p, t)
    :: op[at] == VOTE_NO -> NEED(CAN_VOTE(p, t)); voteNo(p, t)
    :: op[at] == TOMBSTONE -> learnAbort(t); NEED(ROW(p, t) == NONE && CAN_ABORT(p, t)); settleAbort(p, t)
    :: op[at] == DECIDE ->
      propose(a[at]);
      NEED(DECISION(t) == b[at] && (b[at] != NONE || LOW(t)))
    :: op[at] == STORE ->
      propose(a[at]);
      NEED(a[at] == b[at] && CAN_INSERT(t, b[at]));
      insert(t, b[at])
    :: op[at] == SETTLE && b[at] == COMMIT -> learnCommit(t); NEED(CAN_COMMIT(p, t)); settleCommit(p, t)
    :: op[at] == SETTLE && b[at] == ABORT ->
      learnAbort(t); NEED(ROW(p, t) == PREPARED && CAN_ABORT(p, t)); settleAbort(p, t)
    :: op[at] == ACKNOWLEDGE -> NEED(CAN_ACKNOWLEDGE(p, t)); acknowledge(p, t)
    :: op[at] == SEAL ->
      do
      :: seal[p] < t -> NEED(CAN_RAISE_SEAL(p)); raiseSeal(p)
      :: else -> break
      od
    :: op[at] == WATERMARK ->
      do
      :: watermark < t -> NEED(CAN_RAISE_WATERMARK); raiseWatermark()
      :: else -> break
      od
    :: op[at] == PRUNE_VOTE -> NEED(CAN_PRUNE_VOTE(p, t)); pruneVote(p, t)
    :: op[at] == PRUNE_DECISION -> NEED(CAN_PRUNE_DECISION(t)); pruneDecision(t)
    :: op[at] == CRASH -> die()
    :: op[at] == CONFIRMED -> NEED(VOTE(ORDER, t) == COMMITTED)
    :: op[at] == PENDING -> NEED(HAS(yes[t], ORDER))
    fi;
    at++
  od
}
