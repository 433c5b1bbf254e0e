/*
 * Everything that may happen, in every order: a step is taken whenever its guard in rules.pml allows it, so any speed,
 * any pause and any loss, repetition and reordering of messages is covered. All transactions are attempts under one
 * key. Configurations: GARBAGE (rule 7 is on), SUBSETS (a run enlists any of the participants instead of both), N=3
 * (three attempts), ENDS (faults stop at some moment, and from then on everybody must end).
 */
#include "rules.pml"
#define EVERYBODY (BIT(P) - 1)
#define OTHER(t, n) ((t + n) % N)

#ifdef GARBAGE
#define COLLECTS true
#define IS_NEXT(t) true
#else
#define COLLECTS false
/* Only garbage collection compares txIds: without it attempts differ in nothing but their numbers, so let them start
   in that order and save the others. */
#define IS_NEXT(t) (t == 0 || drive[t - 1] != IDLE)
#endif
#ifdef SUBSETS
#define MAY_LEAVE_OUT true
#else
#define MAY_LEAVE_OUT false
#endif

/* A run names no predecessor, or another attempt under its key. */
#define RUN(participants, predecessor, allowed) \
  :: d_step { !calm && CAN_START(t) && IS_NEXT(t) && allowed -> start(t, participants, predecessor) }

#define PARTICIPANT(p) \
  :: d_step { CAN_VOTE_YES(p, t) -> voteYes(p, t) } \
  :: d_step { CAN_VOTE(p, t) -> voteNo(p, t) } \
  :: d_step { CAN_EXPIRE(p, t) -> record(p, t, ABORTED) } \
  :: d_step { CAN_COMMIT(p, t) -> settleCommit(p, t) } \
  :: d_step { CAN_ABORT(p, t) -> settleAbort(p, t) } \
  :: d_step { CAN_ACKNOWLEDGE(p, t) -> acknowledge(p, t) } \
  :: d_step { COLLECTS && CAN_PRUNE_VOTE(p, t) -> pruneVote(p, t) }

proctype transaction(byte t) {
end:
  do
  RUN(EVERYBODY, 0, true)
  RUN(1, 0, MAY_LEAVE_OUT)
  RUN(2, 0, MAY_LEAVE_OUT)
  RUN(EVERYBODY, OTHER(t, 1) + 1, CAN_NAME(OTHER(t, 1)))
#if N > 2
  RUN(EVERYBODY, OTHER(t, 2) + 1, CAN_NAME(OTHER(t, 2)))
#endif
  :: d_step { CAN_PROPOSE_COMMIT(t) -> proposeCommit(t) }
  :: d_step { CAN_PROPOSE_ABORT(t) -> proposeAbort(t) }
  :: d_step { CAN_REPEAT(t) -> repeat(t) }
  :: d_step { CAN_PRESUME(t) -> presumeAbort(t) }
  :: d_step { CAN_FOLLOW(t) -> follow(t) }
  :: d_step { !calm && CAN_CRASH(t) -> crash(t) }
  :: d_step { CAN_INSERT(t, COMMIT) -> insert(t, COMMIT) }
  :: d_step { CAN_INSERT(t, ABORT) -> insert(t, ABORT) }
  :: d_step { CAN_PROPOSE_FOR_INQUIRY(t) -> proposeForInquiry(t) }
  :: d_step { CAN_TELL(t) -> tell(t) }
  PARTICIPANT(0)
  PARTICIPANT(1)
  :: d_step { COLLECTS && CAN_PRUNE_DECISION(t) -> pruneDecision(t) }
  od
}

init {
  byte i;
  atomic {
    for (i : 0 .. N - 1) { run transaction(i) }
    i = 0
  }
end:
  do
  :: d_step { COLLECTS && CAN_RAISE_SEAL(0) -> raiseSeal(0) }
  :: d_step { COLLECTS && CAN_RAISE_SEAL(1) -> raiseSeal(1) }
  :: d_step { COLLECTS && CAN_RAISE_WATERMARK -> raiseWatermark() }
#ifdef ENDS
  /* Faults stop. What was on its way is lost, or comes after all: both are tried, for each transaction. */
  :: d_step { !calm -> calm = true }
  :: d_step { !calm -> calm = true; sent[0] = 0 }
  :: d_step { !calm -> calm = true; sent[1] = 0 }
  :: d_step { !calm -> calm = true; sent[0] = 0; sent[1] = 0 }
#endif
  od
}

#ifdef ENDS
/* Every step changes something for good, so no run is infinite unless it circles: a run that circles, or that stops
   before everybody has ended, violates this. No fairness is assumed beyond that what can happen does not stand still. */
#define IS_SETTLED(p, t) (!HAS(enlisted[t], p) || IS_COMMITTED(p, t))
#define HAS_ENDED(t) (!LIVE(t) && !SOME(IS_PREPARED, t) \
  && (decision[t] != COMMIT || (IS_SETTLED(0, t) && IS_SETTLED(1, t) && ALL_ACKNOWLEDGED(t))))
ltl everybody_ends { [] (calm -> <> (HAS_ENDED(0) && HAS_ENDED(1))) }
#endif
