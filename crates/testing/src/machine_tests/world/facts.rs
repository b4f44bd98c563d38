//! Facts that histories have reached: a search that reaches too few of them and finds no violation proves nothing.

use std::collections::BTreeMap;

#[derive(Clone, Debug, Default)]
pub struct Facts(BTreeMap<&'static str, u64>);

/// Every engine that runs whole histories must meet all of these.
const SOMETIMES: &[&str] = &[
    "ready at a",
    "ready at b",
    "ready at c",
    "moved",
    "code sent",
    "refreshed",
    "refreshed without a new refresh token",
    "reused",
    "revoked",
    "stepped up",
    "registered",
    "registered again",
    "crashed",
    "resumed by another process",
    "conflict",
    "lost the race",
    "write failed",
    "load failed",
    "rolled back",
    "damaged",
    "confused",
    "forgotten",
    "signed out",
    "wall clock jumped",
    "mixed up",
    "residual",
    "answer for another machine",
    "iss advertised, equal",
    "iss advertised, absent",
    "iss advertised, different",
    "iss not advertised, equal",
    "iss not advertised, absent",
    "iss not advertised, different",
    "iss twice",
    "iss alike",
    "error callback",
    "error callback, poisoned",
    "stray callback",
    "callback twice",
    // Why an attempt ended, or waits.
    "no_credentials",
    "token_over",
    "scope_missing",
    "server_changed",
    "client_forgotten",
    "issuer_mismatch",
    "metadata_issuer_mismatch",
    "authorization_origin",
    "abandoned",
    "unreachable",
    "not_persisted",
    "out_of_patience",
    "refused",
    "redirected",
    "too_large",
    "place_refused",
    "no_pkce",
    "reserved_parameter",
    "front_channel_token",
    "fresh_token_refused",
    "token_answer_invalid",
    "insufficient_scope",
    "server_metadata_invalid",
    "no_authorization_server",
    "no_resource",
    "resource_mismatch",
    "dpop_required",
    // The moves that an independent world made and this one did not.
    "registration reset",
    "a person asked unasked",
    "suspended",
    "slow to save",
    "pushed",
    "two servers listed",
    "a document went wrong",
    "a document was put right",
    "an endpoint moved while a token was held",
    "a member of another type",
    "an error of the server in a callback",
    "an error page instead of a callback",
    "refused again after the resource moved",
    "a foreign scope in an answer",
    "a refresh that names scopes",
    "a token for other scopes",
    "healed where the first server listed is of no use",
    "two operations at once",
    "scopes named beside an authorization",
    "scopes missing beside an authorization",
    "damaged for a moment",
    "served by another redirect",
    "a nonce that does not suffice",
    "signed out while a code was shown",
    "the clock was set during a lease",
    "the store took no writes after a refresh",
];

/// Rarer ones: what the figures of each run must meet.
const SOMETIMES_IN_MANY: &[&str] = &[
    "a late answer to a refresh",
    "a late answer to a refresh beside the next try",
    "tokens were saved again after another instance had refreshed them",
    "signed out of two requests of one operation",
    "signed out while the store could not be read",
    "signed out unread while another instance refreshed",
    "two late answers to one refresh token",
    "a late answer after another instance had refreshed",
    "tokens were saved again after another instance had been refused",
    "a client that the server forgot",
    "pushed request refused",
    "read the form first",
    "refused with an odd word",
    "method_refused",
    "renewal_refused",
    "binding_unreadable",
    "registration_invalid",
    "no_header_method",
    "no_server_metadata",
    "server_unknown",
];

/// Further ones, of clients without a user and with keys.
const SOMETIMES_WITHOUT_USER: &[&str] = &[
    "signed",
    "client assertion",
    "proof",
    "assertion grant",
    "exchange",
    "assertion_not_allowed",
    "no_assertion",
    "signer_failed",
];

/// The facts that this many histories must have met.
pub fn wanted(histories: u64) -> Vec<&'static str> {
    let rare = if histories >= MANY {
        SOMETIMES_IN_MANY
    } else {
        &[]
    };
    [SOMETIMES, SOMETIMES_WITHOUT_USER, rare].concat()
}

/// Histories in which the rarer facts are met too.
const MANY: u64 = 10_000;

impl Facts {
    pub fn note(&mut self, fact: &'static str) {
        *self.0.entry(fact).or_default() += 1;
    }

    pub fn count(&self, fact: &str) -> u64 {
        self.0.get(fact).copied().unwrap_or_default()
    }

    pub fn merge(&mut self, other: &Self) {
        for (fact, count) in &other.0 {
            *self.0.entry(fact).or_default() += count;
        }
    }

    /// The facts of a list that were never met.
    pub fn missing<'a>(&self, wanted: &[&'a str]) -> Vec<&'a str> {
        let unmet = |fact: &&&str| !self.0.contains_key(**fact);
        wanted.iter().filter(unmet).copied().collect()
    }
}
