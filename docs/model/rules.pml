/*
 * The rules of the commit protocol as the code implements them: what is durable and what is on its way, each step with
 * its guard (CAN_...), and what must hold. verify.pml takes every step that a guard allows; replay.pml takes those of a
 * trace of the code. There is no time: a timeout is a step that may always be taken. A message is a fact that may be
 * delivered at any time, any number of times, in any order, or never, so it is a bit. Managers hold nothing that
 * matters but their drives, so any number of them is covered: a step of "a manager" may be any manager's.
 *
 * Sizes: N transactions, in the order of their txIds; P participants, of which order is number 0.
 */
#ifndef N
#define N 2
#endif
#ifndef P
#define P 2
#endif
#ifndef ID
#define ID byte         /* holds a transaction's number plus 1 */
#endif
#ifndef KEYS
#define KEYS 1
#define KEY(t) 0
#endif
#define ORDER 0
#define BIT(i) (1 << (i))

/* A vote row, and a decision. A deleted row reads as NONE; the model remembers what it was. */
#define NONE 0
#define PREPARED 1
#define COMMITTED 2
#define ABORTED 3
#define COMMIT 1
#define ABORT 2

/* The drive of a transaction: volatile, over when its manager dies. */
#define IDLE 0
#define COLLECTING 1
#define DECIDING_COMMIT 2
#define DECIDING_ABORT 3
#define OVER 4

/* What has been sent: INSERTs to the register, and outcomes to whomever. */
#define SENT_COMMIT BIT(0)
#define SENT_ABORT BIT(1)
#define TOLD_COMMIT BIT(2)
#define TOLD_ABORT BIT(3)

/* Durable. Participants by bit where there is one byte for all of them. */
byte vote[P * N];
byte votePruned[N];
byte decision[N];
bool decisionPruned[N];
byte acknowledged[N];
ID seal[P];             /* how many txIds lie at or below it */
ID watermark;           /* the same, of the managers */
ID holder[KEYS];        /* the live order of a key, plus 1: what the partial unique index sees */

/* On its way. */
byte drive[N];
byte sent[N];
byte yes[N];            /* whose yes was recorded, and may arrive at any time */

/* What a run was called with. */
byte enlisted[N];
ID replaces[N];         /* the attempt whose key it takes, plus 1 */

/* Only for the properties. */
ID chosen[KEYS];        /* the attempt that was decided commit, plus 1 */
bool calm;              /* faults have stopped */

mtype = { agreement, validity, no_flip, one_per_key, no_double_effect, released, presumption, acknowledgement,
  late_messages, doubt_below_watermark, commit_without_row };

inline must(holds, property) {
  if
  :: (holds) -> skip
  :: else -> printf("violated: %e\n", property); assert(false)
  fi
}

#define VOTE(p, t) vote[(p) * N + (t)]
#define HAS(mask, p) ((mask) & BIT(p))
#define ROW(p, t) (HAS(votePruned[t], p) -> NONE : VOTE(p, t))
#define DECISION(t) (decisionPruned[t] -> NONE : decision[t])
#define SEALED(p, t) ((t) < seal[p])
#define LOW(t) ((t) < watermark)
#define LIVE(t) (drive[t] == COLLECTING || drive[t] == DECIDING_COMMIT || drive[t] == DECIDING_ABORT)
#define ALL_YES(t) (enlisted[t] != 0 && (yes[t] & enlisted[t]) == enlisted[t])
#define ALL_ACKNOWLEDGED(t) ((acknowledged[t] & enlisted[t]) == enlisted[t])

#define IS_ABORTED(p, t) (HAS(enlisted[t], p) && VOTE(p, t) == ABORTED)
#define IS_COMMITTED(p, t) (VOTE(p, t) == COMMITTED)
#define IS_PREPARED(p, t) (VOTE(p, t) == PREPARED)
#if P == 2
#define SOME(test, t) (test(0, t) || test(1, t))
#define SEALED_BY_ALL(t) (SEALED(0, t) && SEALED(1, t))
#else
#define SOME(test, t) (test(0, t) || test(1, t) || test(2, t))
#define SEALED_BY_ALL(t) (SEALED(0, t) && SEALED(1, t) && SEALED(2, t))
#endif

/* ---- outcomes, told to participants and clients ------------------------------------------------------------- */

inline tellCommit(t) {
  must(!(sent[t] & TOLD_ABORT), agreement);
  sent[t] = sent[t] | TOLD_COMMIT
}
inline tellAbort(t) {
  must(!(sent[t] & TOLD_COMMIT), agreement);
  sent[t] = sent[t] | TOLD_ABORT
}

/* ---- the driver --------------------------------------------------------------------------------------------- */

/* Rule 9: a predecessor is named only where its abort is known, from its own run or from an inquiry. */
#ifdef MUTANT_REBIND_KEY_WITHOUT_OUTCOME
#define CAN_NAME(r) (drive[r] != IDLE)
#else
#define CAN_NAME(r) (sent[r] & TOLD_ABORT)
#endif
#define CAN_START(t) (drive[t] == IDLE)

inline start(t, participants, predecessor) {
  printf("run %d, replaces %d\n", t + 1, predecessor);
  drive[t] = COLLECTING; enlisted[t] = participants; replaces[t] = predecessor
}

/* Rule 2. The driver may have heard any of the votes that were recorded, so what counts is whether they exist. */
#ifdef MUTANT_COMMIT_WITHOUT_ALL_VOTES
#define CAN_PROPOSE_COMMIT(t) (drive[t] == COLLECTING && yes[t] != 0)
#else
#define CAN_PROPOSE_COMMIT(t) (drive[t] == COLLECTING && ALL_YES(t))
#endif
#define CAN_PROPOSE_ABORT(t) (drive[t] == COLLECTING)

inline proposeCommit(t) {
  printf("driver of %d proposes commit\n", t + 1);
  drive[t] = DECIDING_COMMIT; sent[t] = sent[t] | SENT_COMMIT
}
inline proposeAbort(t) {
  printf("driver of %d proposes abort\n", t + 1);
  drive[t] = DECIDING_ABORT; sent[t] = sent[t] | SENT_ABORT
}

/* A lost INSERT is sent again as long as its driver lives. */
#define CAN_REPEAT(t) ((drive[t] == DECIDING_COMMIT && !(sent[t] & SENT_COMMIT)) \
  || (drive[t] == DECIDING_ABORT && !(sent[t] & SENT_ABORT)))
inline repeat(t) { sent[t] = sent[t] | (drive[t] == DECIDING_COMMIT -> SENT_COMMIT : SENT_ABORT) }

/* Rule 3: with a recorded no, and no commit ever proposed, abort without writing it. */
#if defined(MUTANT_ERROR_AS_NO) || defined(MUTANT_BELIEVE_UNWRITTEN_ABORT)
#define HEARD_NO(p, t) HAS(enlisted[t], p)
#elif defined(MUTANT_DEADLINE_BEFORE_ROW)
#define HEARD_NO(p, t) (IS_ABORTED(p, t) || IS_PREPARED(p, t))
#else
#define HEARD_NO(p, t) IS_ABORTED(p, t)
#endif
#define CAN_PRESUME(t) (drive[t] == COLLECTING && SOME(HEARD_NO, t))

inline presumeAbort(t) {
  printf("driver of %d has heard a no and aborts\n", t + 1);
  must(SOME(IS_ABORTED, t), presumption);
  drive[t] = OVER; tellAbort(t)
}

/* Rule 2, the second statement: the INSERT is through (there is a row, or the watermark refused it), and the stored
   value is the outcome. No row means forgotten: this driver never learns the outcome, and says so. */
#ifdef MUTANT_ONLY_READ_AFTER_LOST_ANSWER
#define CAN_FOLLOW(t) (drive[t] == DECIDING_COMMIT || drive[t] == DECIDING_ABORT)
#else
#define CAN_FOLLOW(t) ((drive[t] == DECIDING_COMMIT || drive[t] == DECIDING_ABORT) && (DECISION(t) != NONE || LOW(t)))
#endif

inline follow(t) {
  printf("driver of %d reads the decision\n", t + 1);
  if
#ifdef MUTANT_DECIDE_FROM_MEMORY_AFTER_CONFLICT
  :: drive[t] == DECIDING_COMMIT -> tellCommit(t)
  :: drive[t] == DECIDING_ABORT -> tellAbort(t)
#else
  :: DECISION(t) == COMMIT -> tellCommit(t)
  :: DECISION(t) == ABORT -> tellAbort(t)
#ifdef MUTANT_ONLY_READ_AFTER_LOST_ANSWER
  :: DECISION(t) == NONE -> tellAbort(t)
#else
  :: DECISION(t) == NONE -> skip
#endif
#endif
  fi;
  drive[t] = OVER
}

/* ---- the register ------------------------------------------------------------------------------------------- */

/* The first writer wins; at or below the watermark nobody writes, checked under the lock that raising it takes. */
#ifdef MUTANT_LAST_WRITER_WINS
#define MAY_WRITE(t, outcome) (DECISION(t) != (outcome))
#else
#define MAY_WRITE(t, outcome) (DECISION(t) == NONE)
#endif
#ifdef MUTANT_NO_WATERMARK_CHECK_ON_INSERT
#define IS_OPEN(t) true
#else
#define IS_OPEN(t) (!LOW(t))
#endif
#define CAN_INSERT(t, outcome) (MAY_WRITE(t, outcome) && IS_OPEN(t) \
  && (sent[t] & ((outcome) == COMMIT -> SENT_COMMIT : SENT_ABORT)))

inline insert(t, outcome) {
  printf("decision on %d: %d (1 commit, 2 abort)\n", t + 1, outcome);
  must(decision[t] == NONE, no_flip);
  must(!LOW(t), late_messages);
  if
  :: outcome == COMMIT ->
    must(ALL_YES(t), validity);
    if
    :: HAS(enlisted[t], ORDER) -> must(chosen[KEY(t)] == 0, one_per_key); chosen[KEY(t)] = t + 1
    :: else -> skip
    fi
  :: else -> skip
  fi;
  decision[t] = outcome; decisionPruned[t] = false
}

#ifdef MUTANT_ACK_FAILED_COMMIT
#define HAS_DONE(p, t) (sent[t] & TOLD_COMMIT)
#else
#define HAS_DONE(p, t) IS_COMMITTED(p, t)
#endif
#define CAN_ACKNOWLEDGE(p, t) (DECISION(t) == COMMIT && HAS(enlisted[t], p) && !HAS(acknowledged[t], p) && HAS_DONE(p, t))
inline acknowledge(p, t) {
  printf("participant %d has acknowledged the commit of %d\n", p, t + 1);
  must(IS_COMMITTED(p, t), acknowledgement);
  acknowledged[t] = acknowledged[t] | BIT(p)
}

/* ---- inquiry and recovery ----------------------------------------------------------------------------------- */

/* Somebody is in doubt, or was, and its question is late. Once faults have stopped, only who is in doubt asks. The
   manager that drives the transaction answers "pending" instead; another one does not know, and may do this. */
#ifdef MUTANT_NEVER_ASK
#define IS_ASKED(t) false
#else
#define IS_ASKED(t) (SOME(IS_PREPARED, t) || (!calm && yes[t] != 0))
#endif
#define CAN_PROPOSE_FOR_INQUIRY(t) (IS_ASKED(t) && DECISION(t) == NONE && !LOW(t) && !(sent[t] & SENT_ABORT))

/* Nothing is stored, so an abort is proposed; it is believed only when it is read. */
inline proposeForInquiry(t) {
  printf("an inquiry about %d finds no decision\n", t + 1);
#ifdef MUTANT_ANSWER_ABORT_FROM_ABSENCE
  tellAbort(t);
#endif
  sent[t] = sent[t] | SENT_ABORT
}

/* What is stored is told: to who asks, and by recovery, which looks for commits that lack an acknowledgement. */
#define CAN_TELL(t) ((DECISION(t) == COMMIT && !(sent[t] & TOLD_COMMIT)) \
  || (DECISION(t) == ABORT && !(sent[t] & TOLD_ABORT)))
inline tell(t) {
  printf("the decision on %d is told\n", t + 1);
  if
  :: DECISION(t) == COMMIT -> tellCommit(t)
  :: else -> tellAbort(t)
  fi
}

/* ---- a participant ------------------------------------------------------------------------------------------ */

/* Every change of a vote row. Legal are none to prepared to committed, none to aborted, prepared to aborted. */
inline record(p, t, state) {
  printf("vote of participant %d on %d: %d (1 prepared, 2 committed, 3 aborted)\n", p, t + 1, state);
  must(VOTE(p, t) != COMMITTED, no_double_effect);
  must(VOTE(p, t) != ABORTED, released);
  must(!LOW(t), late_messages);
  VOTE(p, t) = state;
  votePruned[t] = votePruned[t] & ~BIT(p);
  if
  :: p == ORDER && state == PREPARED -> holder[KEY(t)] = t + 1
  :: p == ORDER && state == ABORTED && holder[KEY(t)] == t + 1 -> holder[KEY(t)] = 0
  :: else -> skip
  fi;
  must(!(SOME(IS_COMMITTED, t) && SOME(IS_ABORTED, t)), agreement)
}

/* Rule 1: the row first, then the seal. Whatever the work needs, a first vote may be yes or no. */
#define CAN_VOTE(p, t) (drive[t] != IDLE && HAS(enlisted[t], p) && ROW(p, t) == NONE && !SEALED(p, t))
/* Rule 9, of order alone: the key is free, or held by the attempt that this one replaces and that is prepared. */
#define KEY_IS_FREE(t) (holder[KEY(t)] == 0)
#define KEY_IS_REPLACED(t) (replaces[t] != 0 && holder[KEY(t)] == replaces[t] \
  && VOTE(ORDER, replaces[t] - 1) == PREPARED)
#ifdef MUTANT_IGNORE_KEY_HOLDER
#define TAKES_KEY(t) true
#else
#define TAKES_KEY(t) (KEY_IS_FREE(t) || KEY_IS_REPLACED(t))
#endif
#define CAN_VOTE_YES(p, t) (CAN_VOTE(p, t) && (p != ORDER || TAKES_KEY(t)))

inline voteYes(p, t) {
  if
  :: p == ORDER && KEY_IS_REPLACED(t) -> record(ORDER, replaces[t] - 1, ABORTED)
  :: else -> skip
  fi;
  record(p, t, PREPARED);
  yes[t] = yes[t] | BIT(p)
}
inline voteNo(p, t) { record(p, t, ABORTED) }

/* Rule 5: nothing in doubt expires. */
#ifdef MUTANT_EXPIRE_PREPARED_VOTE
#define CAN_EXPIRE(p, t) (ROW(p, t) == PREPARED)
#else
#define CAN_EXPIRE(p, t) false
#endif

/* Rule 4. A commit that finds neither a vote in doubt nor its own effect would be a contradiction, or unknown. */
#define CAN_COMMIT(p, t) ((sent[t] & TOLD_COMMIT) && HAS(enlisted[t], p) && ROW(p, t) != COMMITTED \
  && !(ROW(p, t) == NONE && SEALED(p, t)))
inline settleCommit(p, t) {
  must(ROW(p, t) != NONE, commit_without_row);
  must(ROW(p, t) == PREPARED, agreement);
  record(p, t, COMMITTED)
}

#define CAN_ABORT(p, t) ((sent[t] & TOLD_ABORT) && HAS(enlisted[t], p) && ROW(p, t) != ABORTED \
  && !(ROW(p, t) == NONE && SEALED(p, t)))
inline settleAbort(p, t) {
  must(ROW(p, t) != COMMITTED, agreement);
#ifdef MUTANT_FORGET_TOMBSTONE
  if
  :: ROW(p, t) == NONE && VOTE(p, t) == NONE -> record(p, t, ABORTED); votePruned[t] = votePruned[t] | BIT(p)
  :: ROW(p, t) == PREPARED -> record(p, t, ABORTED)
  :: else -> skip
  fi
#else
  record(p, t, ABORTED)
#endif
}

/* ---- garbage: rule 7 ---------------------------------------------------------------------------------------- */

/* Raised past one txId at a time: what may be raised to W at once may pass everything below W one by one. */
#ifdef MUTANT_RAISE_SEAL_OVER_DOUBT
#define CAN_RAISE_SEAL(p) (seal[p] < N)
#else
#define CAN_RAISE_SEAL(p) (seal[p] < N && ROW(p, seal[p] % N) != PREPARED)
#endif
inline raiseSeal(p) {
  printf("participant %d seals %d\n", p, seal[p] + 1);
  seal[p] = seal[p] + 1
}

#define CAN_RAISE_WATERMARK (watermark < N && SEALED_BY_ALL(watermark) \
  && (DECISION(watermark % N) != COMMIT || ALL_ACKNOWLEDGED(watermark % N)))
inline raiseWatermark() {
  printf("the watermark passes %d\n", watermark + 1);
  must(!SOME(IS_PREPARED, watermark), doubt_below_watermark);
  watermark = watermark + 1
}

#ifdef MUTANT_PRUNE_BEFORE_ACK
#define CAN_PRUNE_DECISION(t) (DECISION(t) != NONE)
#else
#define CAN_PRUNE_DECISION(t) (DECISION(t) != NONE && LOW(t))
#endif
inline pruneDecision(t) {
  printf("the decision on %d is deleted\n", t + 1);
  decisionPruned[t] = true
}

/* Orders are domain data: of order's rows only those that are no order to anybody go. */
#define CAN_PRUNE_VOTE(p, t) (LOW(t) && (ROW(p, t) == ABORTED || (ROW(p, t) == COMMITTED && p != ORDER)))
inline pruneVote(p, t) {
  printf("the vote of participant %d on %d is deleted\n", p, t + 1);
  votePruned[t] = votePruned[t] | BIT(p)
}

/* ---- faults ------------------------------------------------------------------------------------------------- */

/* The manager dies and forgets its drive; what it has sent stays on its way. A manager that is down, paused or cut off
   takes no step, which needs no step of its own. A participant that dies loses nothing: a vote is one transaction. */
#define CAN_CRASH(t) LIVE(t)
inline crash(t) {
  printf("the manager that drives %d dies\n", t + 1);
  drive[t] = OVER
}
