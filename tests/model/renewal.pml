/* One refresh token and two client processes: rotation with reuse detection, a store that compares and
 * swaps, a lease inside the account record, a crash, answers that get lost, servers that fail, and a wall
 * clock that is put back. Whose tokens they are is the matter of issuers.pml.
 *
 * -DK06 no compare-and-swap; -DK16 a 5xx ends the grant; -DK17 expiry by the wall clock alone;
 * -DNOLEASE nobody sees that another process has taken the token for itself
 */

#ifndef ROTATIONS
#define ROTATIONS 3
#endif
#ifdef WITNESS          /* each place says once that it was reached */
#define REACHED(what) c_code { static int said; if (!said++) printf("reached: %s\n", what); }
#else
#define REACHED(what) skip
#endif
#define CHECK(property, holds) property = (holds); assert(property)

hidden byte S19_one_process_renews = true;
hidden byte S20_only_the_ended_is_erased = true;
hidden byte S30_no_token_outlives_its_time = true;

#ifdef K06
#define SWAPS(holds) true
#else
#define SWAPS(holds) (holds)
#endif

#ifdef K16
#define ENDS_IT(said) ((said) == ENDED || (said) == FAILED)
#else
#define ENDS_IT(said) ((said) == ENDED)
#endif

/* What is over by either clock is over; a process that did not receive the token has only the wall's. */
#ifdef K17
#define GOOD (wall_age < LIFE)
#else
#define GOOD (wall_age < LIFE && (!received[me] || age < LIFE))
#endif

#ifdef NOLEASE
#define LEASE_IS_FREE true
#else
#define LEASE_IS_FREE (!leased)
#endif

mtype = { REST, READY_TO_LEASE, ASKING, ANSWERED, SAVING };
mtype = { NOTHING, GRANTED, ENDED, FAILED, LOST };
#define LIFE 1

/* The server: which token is the live one, and whether its family has ended. */
byte live = 1;
byte first = 1;         /* of the family; a token from before it is refused, and ends nothing */
bool ended;
bool excused;           /* an answer was lost, a process died or slept: one reuse may follow (D04) */

/* The store: the number of the refresh token, 0 for none, and the lease. */
byte stored = 1;
bool leased;

byte held[2] = 1;       /* as each process read it */
bool seen[2] = true;    /* whether that is the revision in the store */
bool holds_lease[2];
bool received[2];       /* it saw the token arrive, so it knows its age by the steady clock */
mtype phase[2] = REST;
mtype said[2] = NOTHING;
byte sent[2];
byte brought[2];

byte age = LIFE;        /* of the access token; both stop at LIFE */
byte wall_age = LIFE;   /* as the wall clock has it */
bool crashed;
bool suspended;
bool honest;            /* nothing goes wrong from here on */
bool served;
bool signed_in_again;

inline wrote() { seen[1 - me] = false; seen[me] = true }

inline reload() {
  if :: held[me] != stored -> received[me] = false :: else fi;
  held[me] = stored; seen[me] = true
}

inline rest() {
  phase[me] = REST; said[me] = NOTHING; sent[me] = 0; brought[me] = 0; holds_lease[me] = false
}

/* The lease ends by the clock, later than any request of a holder that was not suspended. */
#define HOLDER_GONE (!holds_lease[0] && !holds_lease[1])

proctype Client(bit me) {
end:
  do
  :: atomic { phase[me] == REST && !seen[me] -> reload() }
  :: atomic { phase[me] == REST && seen[me] && held[me] != 0 && GOOD ->
       CHECK(S30_no_token_outlives_its_time, !received[me] || age < LIFE);
       if :: honest && me == 0 -> served = true :: else fi;
       if :: !received[me] -> REACHED("other's token used") :: else fi }
  :: atomic { phase[me] == REST && seen[me] && held[me] != 0 && !GOOD && LEASE_IS_FREE &&
              (live < ROTATIONS || honest) ->
       phase[me] = READY_TO_LEASE }
  :: atomic { phase[me] == READY_TO_LEASE ->
       if
       :: SWAPS(seen[me]) ->
          stored = held[me]; leased = true; holds_lease[me] = true; wrote();
          phase[me] = ASKING
       :: else -> REACHED("lease conflict"); reload(); rest()
       fi }
  /* The request arrives: at a server that ends the family of a token that comes again. */
  :: atomic { phase[me] == ASKING ->
       sent[me] = held[me];
       if
       :: !honest -> said[me] = FAILED
       :: sent[me] == live && !ended ->
          live++; brought[me] = live;
          if
          :: said[me] = GRANTED
          :: !honest -> said[me] = LOST; excused = true; brought[me] = 0
          fi
       :: sent[me] < first -> said[me] = ENDED
       :: sent[me] >= first && (sent[me] != live || ended) ->
          CHECK(S19_one_process_renews, ended || excused);
          ended = true; said[me] = ENDED
       fi;
       phase[me] = ANSWERED }
  :: atomic { phase[me] == ANSWERED && said[me] == GRANTED -> phase[me] = SAVING }
  :: atomic { phase[me] == ANSWERED && ENDS_IT(said[me]) ->
       CHECK(S20_only_the_ended_is_erased, said[me] == ENDED);
       if
       :: SWAPS(seen[me]) ->
          CHECK(S20_only_the_ended_is_erased, stored == sent[me] || stored == 0);
          stored = 0; held[me] = 0; leased = false; wrote(); REACHED("grant ended")
       :: else -> REACHED("end conflict"); reload()
       fi;
       rest() }
  :: atomic { phase[me] == ANSWERED && said[me] != GRANTED && !ENDS_IT(said[me]) ->
       if :: seen[me] -> leased = false; wrote() :: else fi;
       rest() }
  :: atomic { phase[me] == SAVING ->
       if
       :: SWAPS(seen[me]) ->
          stored = brought[me]; leased = false; wrote();
          held[me] = stored; received[me] = true; received[1 - me] = false;
          age = 0; wall_age = 0; REACHED("renewed");
          if :: live > 2 -> REACHED("renewed twice") :: else fi;
          rest()
       :: else ->
          /* What is stored is adopted, and ours dropped. */
          REACHED("save conflict");
          reload(); rest()
       fi }
  /* The user signs in again where nothing is held. */
  :: atomic { phase[me] == REST && seen[me] && held[me] == 0 && (!signed_in_again || honest) ->
       signed_in_again = true;
       live++; first = live; ended = false; excused = false;
       stored = live; leased = false; held[me] = live; wrote();
       received[me] = true; received[1 - me] = false; age = 0; wall_age = 0;
       REACHED("signed in again") }
  :: atomic { me == 0 && !crashed && !honest ->
       crashed = true; excused = excused || phase[me] == ANSWERED || phase[me] == SAVING;
       rest(); received[me] = false; held[me] = stored; seen[me] = true }
  od
}

/* The clocks: both go on, and the wall's can be put back. */
proctype Time() {
end:
  do
  :: atomic { age < LIFE && !honest -> age++; wall_age = LIFE }
  :: atomic { wall_age > 0 && age > 0 && stored != 0 && !honest && age == LIFE &&
              (received[0] || received[1]) -> wall_age = 0 }
  :: atomic { leased && HOLDER_GONE -> leased = false; seen[0] = false; seen[1] = false }
  /* A machine is suspended over the end of its lease, once: its request and another's may both be sent. */
  :: atomic { leased && !HOLDER_GONE && !suspended && !honest ->
       suspended = true; excused = true; leased = false }
  :: atomic { !honest -> honest = true }
  od
}

init { atomic { run Client(0); run Client(1); run Time() } }

/* Once nothing goes wrong any more, a token is held: from the store, by renewal, or from the user. */
ltl heal { [] (honest -> <> served) }
