/* Whose credential goes where: two client processes on one store, three authorization servers of which
 * one lies, a resource that names whom it likes, and a browser that is led elsewhere.
 *
 * Written from the rules in docs/threats.md and docs/design.md, not from the code. A value is known here
 * by who minted it, so a property is a statement about owners. Properties are stated by what follows for
 * credentials wherever that can be said, not by repeating the guard.
 *
 * -DKnn      takes one guard away (docs/threats.md, section 2.4)
 * -DX34      an agreement to one change of servers counts for any
 * -DRESIDUAL lets the liar send the browser on to a server that sends no `iss`: the declared residual
 * -DHEAL     the world turns honest at any moment; `ltl heal` then wants a token
 * -DLATE     judges the harm, and not the step that leads to it
 */

#define NOBODY 0
#define A 1             /* honest, says its name in every response (RFC 9207) */
#define B 2             /* lies */
#define C 3             /* honest, never sends `iss` */
#define HONEST(x) ((x) == A || (x) == C)

#ifndef STARTS
#define STARTS 3        /* redirects; a second shows what one does not, a third what two do not */
#endif
#ifndef PROCESSES
#define PROCESSES 2
#endif
#ifndef CRASHES
#define CRASHES 1
#endif
#ifdef HEAL
#define ATTEMPTS (STARTS + 1)
#define WILD (!honest)
#else
#define ATTEMPTS STARTS
#define WILD true
#endif

#include "issuers-rules.pml"
#include "issuers-world.pml"

/* ---- A process */

mtype = { IDLE, SAVING, TAKING, EXCHANGING, STORING };
typedef Process {
  mtype phase;
  unsigned on : 3;              /* the attempt that is worked at */
  unsigned waiting : 3;         /* the attempt that memory waits with, plus one */
  unsigned offered : 4;         /* the change of servers that the user was asked about */
  unsigned from : 2;            /* what is kept of a callback until its record is gone */
  bool own;
  bool verdict;
  unsigned answer : 2           /* who minted the tokens in the answer */
}
Process p[2];

/* Scratch: of use inside one step, and part of the state only because a step can branch. */
inline tidy() {
  is(NOBODY, NOBODY, NOBODY, false); doc.s256 = false;
  cb.from = NOBODY; cb.iss = NOBODY; cb.twice = false; cb.own = false; cb.error = false;
  t = 0; to = NOBODY; sent_client = NOBODY; verifier = 0; stamp = NOBODY; believed = false
}

inline read_account() {
  COPY(account, held[me]);
  seen[me] = true
}

/* Back to waiting for events. An attempt that nobody can come back to is forgotten. */
inline rest() {
  p[me].phase = IDLE; p[me].on = 0; p[me].from = NOBODY; p[me].own = false;
  p[me].verdict = false; p[me].answer = NOBODY;
  forget_if_over()
}

#define WORKS_AT(q, n) (p[q].waiting == (n) + 1 || (p[q].phase != IDLE && p[q].on == (n)))

inline forget_if_over() {
  if
  :: !at[t].stored && !at[t].open && !WORKS_AT(0, t) && !WORKS_AT(1, t) ->
     at[t].issuer = NOBODY; at[t].authorization = NOBODY; at[t].token = NOBODY;
     at[t].client = NOBODY; at[t].advertises = false; at[t].shown = false;
     code_sent[A * 4 + t] = false; code_sent[B * 4 + t] = false; code_sent[C * 4 + t] = false
  :: else
  fi
}

/* Who are we there? NOBODY and `believed` false: no client fits. */
inline choose_client() {
  believed = true; sent_client = NOBODY;
  if
  :: client_kind == DOCUMENT
  :: client_kind == CONFIGURED ->
     sent_client = A; believed = OPENS(A, doc.issuer)
  :: client_kind == DYNAMIC ->
     /* What the store gives back, under whatever key; its own stamp decides. */
     if
     :: stamp = NOBODY
     :: registered[A] -> stamp = A
     :: registered[B] && WILD -> stamp = B
     :: registered[C] && WILD -> stamp = C
     fi;
     if
     :: stamp != NOBODY && OPENS(stamp, doc.issuer) -> sent_client = stamp
     :: else -> registered[doc.issuer] = true; sent_client = doc.issuer
     fi
  :: client_kind == UNBOUND ->
     believed = BINDS_TO(doc.issuer);
     if
     :: believed ->
        bound = doc.issuer;
        if :: first_bound == NOBODY -> first_bound = bound :: else fi;
        sent_client = first_bound
     :: else -> REACHED("client bound elsewhere")
     fi
  fi
}

inline send_away() {
  at[t].shown = true; at[t].open = true;
  CHECK(S34_asked_before_a_change,
        held[me].minter == NOBODY || held[me].issuer == at[t].issuer ||
        p[me].offered == CHANGE(held[me].issuer, at[t].issuer));
  EARLY(S16_durable_first, at[t].stored)
}

inline start() {
  discover();
  if
  :: !NOT_LED_AWAY -> REACHED("led away")
  :: !PKCE_RULE -> REACHED("no PKCE refused")
  :: !ORIGIN_RULE -> REACHED("origin refused")
  :: NOT_LED_AWAY && PKCE_RULE && ORIGIN_RULE ->
     if
     :: held[me].minter != NOBODY && held[me].issuer != doc.issuer &&
        !AGREED(held[me].issuer, doc.issuer) ->
        p[me].offered = CHANGE(held[me].issuer, doc.issuer)   /* NeedUser(ServerChanged) */
     :: else ->
        choose_client();
        if
        :: believed ->
           t = begun; begun++;
           at[t].issuer = doc.issuer; at[t].authorization = doc.authorization;
           at[t].token = doc.token; at[t].advertises = doc.advertises;
           at[t].client = sent_client;
#if defined(K04) || defined(K18)
           last_client = sent_client; last_verifier = t;
#endif
           p[me].on = t; p[me].phase = SAVING;
#ifdef K22
           send_away()
#endif
        :: else
        fi
     fi
  fi
}

/* The record is durable; only then is the user sent away. */
inline saved() {
  t = p[me].on;
  at[t].stored = true;
  p[me].waiting = t + 1;
  if
  :: client_kind == DOCUMENT ->
     /* The request is pushed, signed, and the server that it is pushed to reads it (B03). */
     CHECK(S32_assertion_for_its_reader, MAY_READ(at[t].issuer, AUDIENCE))
  :: else
  fi;
#ifdef K01
  if
  :: held[me].minter != NOBODY && seen[me] ->
     account.issuer = at[t].issuer; account.token = at[t].token;
     EARLY(S17_account_names_the_minter, account.minter == account.issuer);
     seen[1 - me] = false; COPY(account, held[me])
  :: else
  fi;
#endif
#ifndef K22
  send_away();
#endif
  p[me].offered = 0;
  rest()
}

inline send_code() {
  to = at[t].token; verifier = t; sent_client = at[t].client;
#ifdef K02
  if :: held[me].minter != NOBODY -> to = held[me].token :: else fi;
#endif
#ifdef K11
  if :: skip :: to = B fi;      /* the resource is asked again, and names B by now */
#endif
#ifdef K18
  verifier = last_verifier;
#endif
  CHECK(S05_own_verifier, verifier == t);
  EARLY(S16_durable_first, !at[t].stored);
  CHECK(S04_code_sent_once, !p[me].own || !code_sent[p[me].from * 4 + t]);
  if :: p[me].own -> code_sent[p[me].from * 4 + t] = true :: else fi;
  CHECK(S01_credential_goes_home, !p[me].own || MAY_READ(to, p[me].from));
  CHECK(S01_credential_goes_home, MAY_READ(to, at[t].issuer));      /* the verifier */
  CHECK(S01_credential_goes_home, MAY_READ(to, sent_client));
  CHECK(S03_one_issuer_in_a_request,
        sent_client == NOBODY || sent_client == at[t].issuer || sent_client == B);
  if :: crashes > 0 -> REACHED("code sent after a crash") :: else fi;
  /* What the server makes of it: an honest one mints for its own code and the right verifier. */
  if
  :: to == B -> p[me].answer = B
  :: to != B && to == p[me].from &&
     ((p[me].own && verifier == t) || (to == C && !c_knows_s256)) -> p[me].answer = to
  :: else ->
     p[me].answer = NOBODY;
     if :: !p[me].own -> REACHED("injected code refused") :: else fi
  fi;
  p[me].phase = EXCHANGING
}

/* A callback with the `state` of attempt t: find its record, judge it, then take it. */
inline come_back() {
  if
  :: p[me].waiting == t + 1 || at[t].stored ->
     if :: p[me].waiting != t + 1 -> REACHED("taken up by another process") :: else fi;
     believed = ISS_RULE && !cb.error;
     EARLY(S07_answer_of_the_issuer_asked, !believed || cb.from == at[t].issuer);
     if :: !believed && !cb.error && cb.from != at[t].issuer -> REACHED("mix-up refused") :: else fi;
     if :: p[me].waiting == t + 1 -> p[me].waiting = 0 :: else fi;
     p[me].on = t; p[me].from = cb.from; p[me].own = cb.own; p[me].verdict = believed;
#ifdef K05
     if
     :: believed -> at[t].open = false; send_code()
     :: else -> p[me].phase = TAKING
     fi
#else
     p[me].phase = TAKING
#endif
  :: else ->
     CHECK(L04_own_callback_is_taken, !at[t].open)
  fi
}

/* An error that bears nobody's `state` (B13). */
inline stray() {
#ifdef K10
  at[p[me].waiting - 1].stored = false; p[me].waiting = 0
#else
  skip
#endif
}

inline taken() {
  t = p[me].on;
  if
  :: SWAPS(at[t].stored) ->
     at[t].stored = false; at[t].open = false;
     if
     :: p[me].verdict -> send_code()
     :: else -> rest()
     fi
  :: else -> REACHED("attempt lost to the other process"); rest()
  fi
}

/* The account is written whole; who was faster is adopted, and then replaced: the user has just agreed. */
inline store_account() {
  t = p[me].on;
  if
  :: SWAPS(seen[me]) ->
     if
     :: account.minter != NOBODY && account.issuer != at[t].issuer -> REACHED("moved to another issuer")
     :: else
     fi;
     account.issuer = at[t].issuer; account.token = at[t].token;
     account.minter = p[me].answer; account.client = at[t].client;
     EARLY(S17_account_names_the_minter, account.minter == account.issuer);
     CHECK(S12_token_of_the_own_challenge, p[me].own || !HONEST(account.issuer));
     seen[1 - me] = false; read_account();
     rest();
#ifdef HEAL
     if :: honest && me == 0 && account.issuer == home -> held_again = true :: else fi;
#endif
     if
     :: account.issuer == A -> REACHED("held at A")
     :: account.issuer == C -> REACHED("held at C")
     :: account.issuer == B -> REACHED("held at the liar")
     fi
  :: else -> REACHED("account save conflict"); read_account()
  fi
}

/* A refresh request, from what memory holds; the races of renewals are in renewal.pml. */
inline refresh() {
  sent_client = held[me].client;
#ifdef K04
  sent_client = last_client;
#endif
  CHECK(S01_credential_goes_home, MAY_READ(held[me].token, held[me].minter));
  CHECK(S01_credential_goes_home, MAY_READ(held[me].token, sent_client));
  CHECK(S03_one_issuer_in_a_request,
        sent_client == NOBODY || sent_client == held[me].issuer || sent_client == B)
}

/* A new process has what the store has. */
inline crash() {
  crashes++;
  t = 0;
  if :: p[me].waiting != 0 -> t = p[me].waiting - 1 :: else fi;
  p[me].waiting = 0; p[me].offered = 0;
  forget_if_over();
  t = p[me].on;
  rest();
  read_account()
}

inline gives_up_exchange() {
  if :: p[me].answer == A -> late = A :: else fi;
  rest()
}

proctype Client(bit me) {
end:
  do
  :: atomic { p[me].phase == IDLE && WILD && begun < STARTS -> start(); tidy() }
  :: atomic { p[me].phase == IDLE && WILD && !seen[me] -> read_account() }
  :: atomic { p[me].phase == IDLE && WILD && held[me].minter != NOBODY -> refresh(); tidy() }
  :: atomic { p[me].phase == IDLE && WILD && p[me].waiting != 0 -> stray() }
  :: atomic { p[me].phase == IDLE && WILD && begun > 0 ->
       select(t : 0 .. begun - 1);
       if :: at[t].shown && (at[t].open || at[t].stored || p[me].waiting == t + 1) -> browse(); come_back() :: else fi;
       tidy() }
  :: atomic { p[me].phase == SAVING -> saved(); tidy() }
  :: atomic { p[me].phase == TAKING -> taken(); tidy() }
  :: atomic { p[me].phase == EXCHANGING && p[me].answer != NOBODY -> p[me].phase = STORING }
  :: atomic { p[me].phase == EXCHANGING && p[me].answer == NOBODY -> t = p[me].on; rest(); tidy() }
  :: atomic { p[me].phase == EXCHANGING && WILD -> t = p[me].on; gives_up_exchange(); tidy() }
  :: atomic { p[me].phase == EXCHANGING && WILD && late != NOBODY ->
       if
       :: TICKET_FITS -> p[me].answer = late; p[me].own = true; p[me].phase = STORING
       :: else -> REACHED("late answer dropped")
       fi;
       late = NOBODY }
  :: atomic { p[me].phase == STORING -> store_account(); tidy() }
  /* One is enough: the two are alike. */
  :: atomic { me == 0 && crashes < CRASHES && WILD -> crash(); tidy() }
#ifdef HEAL
  /* The world is honest: this process wants a token where the resource is at home. */
  :: atomic { p[me].phase == IDLE && honest && me == 0 && !held_again ->
       read_account();
       if
       :: account.minter != NOBODY && account.issuer == home -> held_again = true
       :: else ->
          if
          :: p[me].waiting == 0 ->                /* the user agrees to what is asked */
             CHECK(L01_one_redirect, begun < ATTEMPTS);
             p[me].offered = CHANGE(held[me].issuer, home);
             begun = STARTS;
             start()
          :: p[me].waiting == STARTS + 1 ->
             t = STARTS; browse(); come_back()
          :: else ->                            /* an older attempt runs out */
             t = p[me].waiting - 1;
             at[t].stored = false; at[t].open = false; p[me].waiting = 0
          fi
       fi;
       tidy() }
#endif
  od
}

init {
  atomic {
    if
    :: client_kind = DOCUMENT :: client_kind = CONFIGURED :: client_kind = DYNAMIC
    :: client_kind = UNBOUND
    fi;
    if :: c_knows_s256 = true :: c_knows_s256 = false fi;
    p[0].phase = IDLE; p[1].phase = IDLE;
    run Client(0);
    if :: PROCESSES == 2 -> run Client(1) :: else fi
  }
#ifdef HEAL
  atomic {
    /* Not where the host alone can help: a client bound to the liar, a server without PKCE. */
    if
    :: client_kind != UNBOUND -> home = A
    :: client_kind != CONFIGURED && client_kind != UNBOUND && c_knows_s256 -> home = C
    :: client_kind == UNBOUND && bound == NOBODY -> home = A
    :: client_kind == UNBOUND && HONEST(bound) -> home = bound
    fi;
    honest = true
  }
#endif
}

#ifdef HEAL
ltl heal { [] (honest -> <> held_again) }
#endif
