//! The short and the full names of record members. Records have short names since version 3, because full names took
//! 40 % of the bytes that are stored, hashed and parsed.

/// Each short name with its full name, which versions 1 and 2 wrote and every version reads. A short name has one meaning in
/// all records. Members that few records have keep their full names.
const NAMES: [(&str, &str); 54] = [
    // Every record.
    ("k", "kind"),
    ("p", "principal"),
    ("m", "mcp_url"),
    ("s", "server"),
    ("c", "client"),
    ("u", "redirect_uri"),
    ("r", "resource"),
    ("q", "requested"),
    // A server.
    ("i", "issuer"),
    ("so", "source"),
    ("fu", "fresh_until"),
    ("ae", "authorization_endpoint"),
    ("te", "token_endpoint"),
    ("re", "registration_endpoint"),
    ("ve", "revocation_endpoint"),
    ("pe", "pushed_endpoint"),
    ("rp", "requires_par"),
    ("ai", "advertises_iss"),
    ("sc", "supports_cimd"),
    ("rt", "response_types"),
    ("gt", "grant_types"),
    ("sp", "scopes"),
    ("cm", "challenge_methods"),
    ("am", "auth_methods"),
    ("vm", "revocation_auth_methods"),
    ("aa", "assertion_algorithms"),
    ("da", "dpop_algorithms"),
    ("gp", "grant_profiles"),
    // A client.
    ("og", "origin"),
    ("mt", "method"),
    ("se", "secret_expires_at"),
    // An account.
    ("o", "obtained"),
    ("au", "authorization"),
    ("ad", "authorized"),
    ("g", "granted"),
    ("ib", "iss_binding"),
    ("t", "tokens"),
    ("a", "access"),
    ("f", "refresh"),
    ("rc", "received"),
    ("lt", "lifetime"),
    ("l", "lease"),
    // A pending authorization.
    ("st", "state"),
    ("v", "verifier"),
    ("ao", "added_offline_access"),
    ("b", "browser"),
    ("ba", "beside_account"),
    ("cr", "created"),
    ("e", "expires"),
    // A registration.
    ("ow", "owner"),
    ("rg", "registered"),
    // Metadata.
    ("ak", "asked"),
    ("as", "authorization_servers"),
    ("rd", "requires_dpop"),
];

/// Returns the full name of a member of a record, for tools that examine the JSON of slot contents. A name that is not
/// short is returned unchanged.
pub fn full_member_name(name: &str) -> &str {
    let known = NAMES.iter().find(|(short, _)| *short == name);
    known.map_or(name, |(_, full)| full)
}
