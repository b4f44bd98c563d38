/* What issuers.pml must hold, and the guards that make it hold. Each guard can be taken away alone. */

/* ---- Properties: pan names the one that fell. `hidden`: no part of the state. */

hidden byte S01_credential_goes_home = true;
hidden byte S03_one_issuer_in_a_request = true;
hidden byte S04_code_sent_once = true;
hidden byte S05_own_verifier = true;
hidden byte S07_answer_of_the_issuer_asked = true;
hidden byte S12_token_of_the_own_challenge = true;
hidden byte S16_durable_first = true;
hidden byte S17_account_names_the_minter = true;
hidden byte S32_assertion_for_its_reader = true;
hidden byte S34_asked_before_a_change = true;
hidden byte L04_own_callback_is_taken = true;
hidden byte L01_one_redirect = true;

#define CHECK(property, holds) property = (holds); assert(property)
/* What comes before the harm; -DLATE leaves it unjudged, and shows the harm itself. */
#ifdef LATE
#define EARLY(property, holds) skip
#else
#define EARLY(property, holds) CHECK(property, holds)
#endif
#ifdef WITNESS          /* each place says once that it was reached */
#define REACHED(what) c_code { static int said; if (!said++) printf("reached: %s\n", what); }
#else
#define REACHED(what) skip
#endif

/* What an owner minted goes to that owner; what the liar minted may go where the liar says. */
#define MAY_READ(reader, minter) ((minter) == NOBODY || (minter) == B || (reader) == (minter))

/* ---- The guards */

/* A client that one issuer handed out, or was configured for, opens at that issuer. */
#ifdef K03
#define OPENS(stamp, found) true
#else
#define OPENS(stamp, found) ((stamp) == (found))
#endif

/* An authorization endpoint elsewhere is accepted only where `iss` will show a mix. */
#ifdef K07
#define ORIGIN_RULE true
#else
#define ORIGIN_RULE (doc.authorization == doc.issuer || doc.advertises)
#endif

/* A document comes from the origin that was asked for it. */
#ifdef K13
#define NOT_LED_AWAY true
#else
#define NOT_LED_AWAY (!doc.led_away)
#endif

#ifdef K23
#define PKCE_RULE true
#else
#define PKCE_RULE (doc.s256)
#endif

/* A client that is configured for no issuer belongs to the first one it met, for ever. */
#ifdef K20
#define BINDS_TO(found) true
#else
#define BINDS_TO(found) (bound == NOBODY || bound == (found))
#endif

/* Another server than the account's is entered only if the user agreed to this very change. */
#define CHANGE(from, to) ((from) * 4 + (to))
#ifdef X34
#define AGREED(from, to) (p[me].offered != 0)
#else
#define AGREED(from, to) (p[me].offered == CHANGE(from, to))
#endif

/* RFC 9207 with the stricter rule of MCP: byte equality, once, also where it was not advertised. The
 * identifier of the liar is that of A but for a slash, so who normalises takes one for the other. */
#ifdef K09
#define SAME(x, y) ((x) == (y) || ((x) == A && (y) == B) || ((x) == B && (y) == A))
#else
#define SAME(x, y) ((x) == (y))
#endif
#ifdef K08
#define ONCE true
#else
#define ONCE (!cb.twice)
#endif
#ifdef K12
#define ISS_WHERE_SENT (cb.iss == NOBODY || !at[t].advertises || SAME(cb.iss, at[t].issuer))
#else
#define ISS_WHERE_SENT (cb.iss == NOBODY || SAME(cb.iss, at[t].issuer))
#endif
#define ISS_RULE (ONCE && ISS_WHERE_SENT && (cb.iss != NOBODY || !at[t].advertises))

/* A signed assertion names the server, and none of its endpoints. */
#ifdef K21
#define AUDIENCE (at[t].token)
#else
#define AUDIENCE (at[t].issuer)
#endif

/* An answer belongs to the question that is open. */
#ifdef K19
#define TICKET_FITS true
#else
#define TICKET_FITS false
#endif

/* The store: compare-and-swap. */
#ifdef K06
#define SWAPS(holds) true
#else
#define SWAPS(holds) (holds)
#endif
