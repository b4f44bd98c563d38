/* The world of issuers.pml: the servers, of which B lies, the resource, the browser and the store. */

mtype = { DOCUMENT, CONFIGURED, DYNAMIC, UNBOUND };
mtype client_kind;      /* what the host configured; CONFIGURED: for A */
bool c_knows_s256;
bool honest;            /* with HEAL */
bool held_again;
unsigned home : 2;      /* whom an honest resource names */

/* What a server says of itself, as it is read. */
typedef Document {
  unsigned issuer : 2;
  unsigned authorization : 2;   /* whose endpoints these are */
  unsigned token : 2;
  bool advertises;
  bool s256;
  bool led_away;                /* it came from elsewhere, by a redirect */
}
Document doc;

/* An attempt: the pending record, frozen. Its number is `state`, verifier and challenge in one. */
typedef Attempt {
  unsigned issuer : 2;
  unsigned authorization : 2;
  unsigned token : 2;
  unsigned client : 2;          /* who handed out the client's secret; NOBODY: it has none */
  bool advertises;
  bool stored;                  /* the slot holds it */
  bool shown;                   /* the user was sent away with it */
  bool open;                    /* shown, and no callback of it was believed or refused yet */
}
Attempt at[ATTEMPTS];
unsigned begun : 3;

/* The account: one record, written whole. */
typedef Account {
  unsigned issuer : 2;
  unsigned token : 2;           /* whose token endpoint is used */
  unsigned minter : 2;          /* who minted the tokens */
  unsigned client : 2;
}
Account account;                /* in the store */
Account held[2];                /* as each process read it */
bool seen[2] = true;            /* whether that is what the store holds: equality of revisions */
#define COPY(from, to) \
  to.issuer = from.issuer; to.token = from.token; to.minter = from.minter; to.client = from.client

bool registered[4];             /* the registration slots; the store may confuse them (A03) */
unsigned bound : 2;             /* the slot of the client without an issuer */
unsigned first_bound : 2;       /* where that client's secret was shown first */
unsigned last_client : 2;       /* K04: the one place for a client */
unsigned last_verifier : 3;     /* K18: the one place for a verifier */

/* A callback, as it is read. */
typedef Callback {
  unsigned from : 2;            /* who minted the code */
  unsigned iss : 2;             /* the first `iss`, or NOBODY */
  bool twice;                   /* there is another `iss` after it */
  bool own;                     /* minted for the challenge of this attempt, not of an attacker's */
  bool error;
}
Callback cb;
byte t, to, sent_client, verifier, stamp;
bool believed;

bool code_sent[16];             /* by (who minted it, attempt) */
unsigned late : 2;              /* an answer of A that is still on its way */
unsigned crashes : 2;

inline is(i, au, tk, adv) {
  doc.issuer = i; doc.authorization = au; doc.token = tk; doc.advertises = adv;
  doc.s256 = true; doc.led_away = false
}

/* The resource names a server, and its document is read. What B says of itself is what B likes. */
inline discover() {
  if
  :: WILD || home == A -> is(A, A, A, true)
  :: WILD || home == C -> is(C, C, C, false); doc.s256 = c_knows_s256
  :: WILD ->
     is(B, B, B, false);
     if
     :: doc.token = A                           /* reversed mix (B03) */
     :: if :: skip :: doc.advertises = true fi;
        if :: skip :: doc.authorization = A :: doc.authorization = C fi
     fi
  :: WILD -> is(A, A, B, true); doc.led_away = true   /* an open redirect at A, abused */
  fi
}

/* Where the browser ends up, and what it brings back for attempt t. */
inline browse() {
  cb.twice = false; cb.own = true; cb.error = false; cb.iss = NOBODY;
  if
  :: cb.from = at[t].authorization
  :: WILD && at[t].authorization == B -> cb.from = A        /* sent on (B01) */
#ifdef RESIDUAL
  :: at[t].authorization == B -> cb.from = C
#else
  :: WILD && at[t].authorization == B && at[t].advertises -> cb.from = C
#endif
  :: WILD && HONEST(at[t].issuer) ->                        /* the attacker's own code (B15) */
     cb.from = at[t].issuer; cb.own = false
  :: WILD -> cb.from = at[t].authorization; cb.error = true /* the user declined */
  fi;
  if
  :: cb.from == A -> cb.iss = A
  :: WILD && cb.from == A && at[t].issuer == B ->           /* planted before A's own (B06) */
     cb.iss = B; cb.twice = true
  :: cb.from == C
  :: cb.from == B && at[t].advertises && !WILD -> cb.iss = B
  :: cb.from == B && WILD
  :: cb.from == B && WILD -> cb.iss = B
  :: cb.from == B && WILD -> cb.iss = A
  fi
}
