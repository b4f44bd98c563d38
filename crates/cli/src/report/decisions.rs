//! The machine's decisions as sentences, with their rules.

/// Returns the sentence for the reason code of a report, and its rules.
pub(super) fn decision(code: &str) -> (&'static str, &'static str) {
    match code {
        "challenge_parameters_dropped" => (
            "Challenge parameters were repeated with different values and are ignored",
            "CHAL-08",
        ),
        "place_tried" => ("Metadata document", ""),
        "place_refused" => ("The announced URL must not be contacted", "CHAL-13, SEC-05"),
        "members_ignored" => (
            "Metadata members of the wrong JSON type are ignored",
            "DISC-17",
        ),
        "entry_unusable" => (
            "An entry of authorization_servers is not a usable issuer",
            "DISC-15, QUIRK-21",
        ),
        "entry_looks_like_document" => (
            "An entry of authorization_servers looks like the URL of a document; it is used as an issuer",
            "QUIRK-21",
        ),
        "server_chosen" => ("Authorization server chosen", ""),
        "server_passed_over" => (
            "The authorization server cannot be used; the next one is tried",
            "DISC-16",
        ),
        "slash_tolerated" => (
            "The listed issuer and its document differ by one terminating slash",
            "QUIRK-01",
        ),
        "setting_applied" => (
            "A setting of the host replaces what the metadata leaves out",
            "",
        ),
        "endpoint_not_followed" => (
            "An endpoint moved to another origin; credentials issued before are not sent there",
            "REFR-11, A22",
        ),
        "client_chosen" => ("Client chosen", ""),
        "client_bound" => ("The configured client is bound to this issuer", "REG-04"),
        "client_unbound" => (
            "The configured client is not bound to this issuer any more",
            "QUIRK-14, REG-04",
        ),
        "registration_forgotten" => (
            "The registration was erased; the next authorization registers again",
            "TOK-19, QUIRK-14",
        ),
        "scopes_chosen" => ("Scopes chosen", ""),
        "callback_ignored" => (
            "A callback that belongs to no authorization of this machine changed nothing",
            "CB-05",
        ),
        "answer_ignored" => (
            "A response without an authorization challenge changed nothing",
            "USE-12",
        ),
        "record_unusable" => ("A stored record cannot be used", ""),
        "event_dropped" => ("Too many events at once: one was dropped", ""),
        "token_type_assumed" => ("token_type is missing; Bearer is assumed", "TOK-12"),
        "token_refreshed" => ("The access token was refreshed", ""),
        "refresh_delayed" => ("The refresh failed and is retried later", ""),
        "renewal_put_off" => (
            "A refresh ahead of expiry failed; the present token is still valid",
            "REFR-07",
        ),
        "tokens_dropped" => (
            "The authorization server refused the refresh token; the tokens were erased",
            "REFR-06",
        ),
        "revoked" => ("Revocation", "REV-04"),
        "token_not_bound" => (
            "The token is not bound to the proof key; it is used as a bearer token",
            "DPOP-13",
        ),
        "clock_differs" => (
            "The clock of the server differs from the clock of this machine",
            "DPOP-20",
        ),
        "token_received" => ("A token was received", ""),
        _ => ("Decision", ""),
    }
}

/// Returns the purpose of a request as text, and whether its response is a public document.
pub(super) fn purpose(name: &str) -> (&'static str, bool) {
    match name {
        "resource_metadata" => ("protected resource metadata", true),
        "server_metadata" => ("authorization server metadata", true),
        "registration" => ("client registration", false),
        "token" => ("token request", false),
        "revocation" => ("revocation", false),
        "pushed_authorization" => ("pushed authorization request", false),
        "device_authorization" => ("device authorization request", false),
        _ => ("request", false),
    }
}

/// Returns the sentence for the `next` member of a failure at this stage with this cause.
pub(super) fn next(name: &str, stage: &str, cause: &str) -> &'static str {
    match name {
        "ask_user" => "Sign in again.",
        "fix_configuration" => {
            "The party above changes its configuration; trying again does not help before that."
        }
        "retry_later" if matches!(stage, "token" | "callback") => {
            "Sign in again later, in the browser too: the authorization code of this sign-in may be used up."
        }
        "retry_later" => "Try again later.",
        "do_not_trust" if cause == "issuer_mismatch" => {
            "Close the page of this sign-in, and tell the operator of the authorization server and your security contact. \
             The callback names another authorization server than the one that was asked: a mistake of an operator, or an \
             attack. The authorization code was sent nowhere."
        }
        "do_not_trust" => {
            "Do not sign in there until the party above has explained or mended it: a mistake of an operator and an \
             attack look the same. First check the URL that was given to this command."
        }
        _ => "",
    }
}
