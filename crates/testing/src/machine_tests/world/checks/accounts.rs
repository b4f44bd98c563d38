//! Accounts over time: what may be done at a server that the resource has left (S35), where live credentials may go
//! after a document changed (S36), what ends them (S20), what an error may say (S38), and what a registration that
//! was to be forgotten may still do (S39).

use std::collections::BTreeSet;

use mcp_auth_machine::action::Why;
use serde_json::Value;

use super::super::store::Shelf;
use super::super::{ISSUERS, LIAR};
use super::{Ledger, account};
use crate::machine_tests::get;

/// Transient errors, which end no grant.
const TRANSIENT: [&str; 2] = ["temporarily_unavailable", "server_error"];

impl Ledger {
    /// An instance has asked for something over HTTP; whatever else it asks for afterwards replaces that.
    pub(in crate::machine_tests::world) fn asks_for(&mut self, at: usize, request: Option<u64>) {
        let seat = self.seat(at);
        seat.unreached |= seat.newest.is_some();
        seat.newest = request;
    }

    /// A request got an answer.
    pub(in crate::machine_tests::world) fn answered(&mut self, at: usize) {
        self.seat(at).newest = None;
    }

    pub(in crate::machine_tests::world) fn is_newest(&mut self, at: usize, id: u64) -> bool {
        self.seat(at).newest == Some(id)
    }

    /// The resource lists these servers now, and says so to an instance.
    pub(super) fn lists(&mut self, at: usize, listed: &BTreeSet<usize>, waited: bool) {
        if listed.is_empty() {
            return;
        }
        for seat in &mut self.seats {
            seat.left.retain(|issuer| !listed.contains(issuer));
        }
        self.left.retain(|issuer| !listed.contains(issuer));
        if waited {
            // Concerns the account that the instance knew then.
            let held = account(self.seat(at).account.as_deref().unwrap_or_default());
            let issuer = |known: &&str| held["server"]["issuer"] == **known;
            let held = ISSUERS.iter().position(issuer);
            let left = held.filter(|issuer| !listed.contains(issuer));
            self.seat(at).left.extend(left);
        }
    }

    /// The store keeps an account: where it says that the resource has left its server, that binds every instance
    /// that reads it (S35).
    pub(in crate::machine_tests::world) fn kept(&mut self, contents: &str) {
        let account = account(contents);
        if !account["left_for"].is_null() {
            let issuer = |known: &&str| account["server"]["issuer"] == **known;
            self.left.extend(ISSUERS.iter().position(issuer));
        }
    }

    /// An instance replaced an account by one whose server the resource lists, as far as that instance has read.
    /// Equal contents have equal revisions, so the write may replace what another instance wrote meanwhile.
    pub(in crate::machine_tests::world) fn relists(&mut self, at: usize, contents: &str) {
        let account = account(contents);
        let issuer = |known: &&str| account["server"]["issuer"] == **known;
        if let Some(issuer) = ISSUERS.iter().position(issuer)
            && account["left_for"].is_null()
            && !self.seat(at).left.contains(&issuer)
        {
            self.left.remove(&issuer);
        }
    }

    /// A client without a user requests a token. The account that the instance last saw binds it, until the resource
    /// lists the server again (S35).
    pub(super) fn requested_at(&mut self, at: usize, issuer: usize, shelf: &Shelf) {
        let seat = self.seat(at);
        let seen = account(seat.account.as_deref().unwrap_or_default());
        let is_of = seen["server"]["issuer"] == ISSUERS[issuer] && !seen["left_for"].is_null();
        if is_of {
            self.used_at(at, issuer, "a request for a token", shelf);
        }
    }

    /// An instance has read the account.
    pub(super) fn bound_by_others(&mut self, at: usize) {
        let left = self.left.clone();
        self.seat(at).left.extend(left);
    }

    /// The servers that an instance knows to be left, and the registrations that it knows to be refused.
    pub(in crate::machine_tests::world) fn heard_by(
        &mut self,
        at: usize,
    ) -> (BTreeSet<usize>, BTreeSet<String>) {
        let seat = self.seat(at);
        (seat.left.clone(), seat.dead.clone())
    }

    /// Undoes the effect of the last response that an instance received.
    pub(in crate::machine_tests::world) fn unheard(
        &mut self,
        at: usize,
        (left, dead): (BTreeSet<usize>, BTreeSet<String>),
    ) {
        let seat = self.seat(at);
        seat.left.retain(|issuer| left.contains(issuer));
        seat.dead = dead;
    }

    /// Credentials of a server are used there only while the resource lists it (S35).
    pub(super) fn used_at(&mut self, at: usize, issuer: usize, what: &str, shelf: &Shelf) {
        assert!(
            !self.seat(at).left.contains(&issuer) || shelf.tampered,
            "S35: {what} at {} although the resource has left it",
            ISSUERS[issuer]
        );
    }

    /// An instance could not reach a server, or could not read its response.
    pub(in crate::machine_tests::world) fn unreached(&mut self, at: usize) {
        self.seat(at).unreached = true;
    }

    pub(in crate::machine_tests::world) fn is_unreached(&mut self, at: usize) -> bool {
        self.seat(at).unreached
    }

    pub(in crate::machine_tests::world) fn store_failed(&mut self, at: usize) {
        let seat = self.seat(at);
        seat.store_failed = true;
        seat.reset.clear();
    }

    /// Whether the store has kept what an instance last wrote to the account.
    pub(in crate::machine_tests::world) fn saves(&mut self, at: usize, kept: bool) {
        self.seat(at).account_unsaved = !kept;
    }

    /// A person wants to sign in; whether the machine had nothing to do. Says whether that was unasked.
    pub(in crate::machine_tests::world) fn clicks(&mut self, at: usize, idle: bool) -> bool {
        let seat = self.seat(at);
        seat.clicked = idle && !std::mem::take(&mut seat.wants_user);
        seat.clicked
    }

    /// The host answers that the user agrees.
    pub(in crate::machine_tests::world) fn agrees(&mut self, at: usize) {
        let seat = self.seat(at);
        seat.agreed = std::mem::take(&mut seat.wants_user) && seat.mends;
    }

    /// A failure reports a server as unreachable only after a failed request (S38), and a stored record as unreadable
    /// for now only where a newer version wrote it (S41). It does not refuse a user's own sign-in because of too many
    /// attempts, nor one that the machine asks for because it removes the reason of a failure (S40).
    pub(in crate::machine_tests::world) fn says(
        &mut self,
        at: usize,
        cause: &str,
        text: &str,
        at_redirect: bool,
    ) {
        self.ends_preparing(at);
        let seat = self.seat(at);
        // The callback has come to nothing.
        seat.after_callback = false;
        seat.agreed_to.clear();
        if text.contains("AccessDenied") {
            seat.declined = true;
            seat.question.clear();
        }
        let refused = text.contains("OutOfPatience(Authorizations)");
        assert!(
            !seat.clicked || !refused,
            "S40: a person's own wish to sign in is refused: {text}"
        );
        assert!(
            !seat.agreed || !refused || !at_redirect,
            "S40: the machine asks for a sign-in, and refuses it: {text}"
        );
        assert!(
            cause != "unreachable" || seat.unreached,
            "S38: nothing was unreachable since a server last answered"
        );
        assert!(
            !text.contains("Record(") || cause != "not_persisted" || text.contains("Record(Newer)"),
            "S41: a record that cannot be read will not be better later: {text}"
        );
    }

    /// The user is asked about a server that the resource has left: whoever comes next reads that in the account
    /// (S35). With other processes, one of them may just have read that it is listed again.
    fn binds_others(&mut self, at: usize, from: &str, shelf: &Shelf, instances: usize) {
        let account = account(shelf.account().unwrap_or_default());
        let told = account["server"]["issuer"] != from || !account["left_for"].is_null();
        // Where it is listed still and only does not answer, another one may be asked about.
        let left = ISSUERS.iter().position(|issuer| *issuer == from);
        let told = told || !left.is_some_and(|left| self.seat(at).left.contains(&left));
        assert!(
            told || instances > 1 || shelf.tampered || self.seat(at).account_unsaved,
            "S35: the account does not say that the resource has left {from}"
        );
    }

    /// The machine asks for the user.
    pub(in crate::machine_tests::world) fn asks(
        &mut self,
        at: usize,
        why: &Why,
        shelf: &Shelf,
        instances: usize,
    ) {
        self.names_scopes(at, why);
        self.seat(at).wants_user = true;
        self.seat(at).mends = matches!(
            why,
            Why::ClientForgotten
                | Why::MethodRefused { .. }
                | Why::OfflineAccessRefused
                | Why::ScopesRefused { .. }
        );
        self.seat(at).stepping_up = matches!(why, Why::ScopeMissing { .. });
        if let Why::ServerChanged { from, to } = why {
            self.binds_others(at, from.as_str(), shelf, instances);
            self.asked.push((from.to_string(), to.to_string()));
        }
    }

    /// The resource has refused an access token.
    pub(in crate::machine_tests::world) fn token_refused(&mut self, authorization: &str) {
        let token = authorization.rsplit(' ').next().unwrap_or_default();
        self.refused.insert(token.to_owned());
    }

    /// A token endpoint, or the one for pushed requests, has said no.
    pub(in crate::machine_tests::world) fn refused(
        &mut self,
        at: usize,
        url: &str,
        form: &[(String, String)],
        client: &str,
        text: &str,
    ) {
        if TRANSIENT.iter().any(|word| text.contains(word)) {
            self.seat(at).unreached = true;
            return;
        }
        self.seat(at).unreached = false;
        self.seat(at).scopes_refused |= text.contains("invalid_scope");
        self.refused.extend(get(form, "refresh_token"));
        if text.contains("invalid_client") || text.contains("unauthorized_client") {
            let by = (client.to_owned(), quoted_origin(url));
            self.refused_clients.insert(by);
        }
    }

    /// A server says no to the scopes.
    pub(in crate::machine_tests::world) fn scopes_refused(&mut self, at: usize) {
        self.seat(at).scopes_refused = true;
    }

    /// An instance still waited for that.
    pub(in crate::machine_tests::world) fn hears_refused(
        &mut self,
        at: usize,
        client: &str,
        text: &str,
    ) {
        let of_client = text.contains("invalid_client\"") || text.contains("unauthorized_client");
        if of_client && client.starts_with("cid~") {
            self.seat(at).dead.insert(client.to_owned());
        }
    }

    /// Whether a token endpoint has ended what an account holds, its refresh token or its client, or the host has
    /// ended the client (S20). A client is ended at an origin that the account itself names.
    pub(super) fn ended(&mut self, at: usize, account: &Value) -> bool {
        let tokens = &account["tokens"];
        // Without a refresh token, the resource's word about the access token is enough.
        let token = tokens["refresh"].as_str().or(tokens["access"].as_str());
        let client = account["client"]["id"].as_str();
        let record = account.to_string();
        let reset = self.seat(at).reset.clone();
        let refused_here = |id: &str| {
            let mut by = self.refused_clients.iter();
            by.any(|(client, origin)| client == id && record.contains(origin))
        };
        token.is_some_and(|token| self.refused.contains(token) || reset.contains(token))
            || client.is_some_and(|id| refused_here(id) || reset.contains(id))
    }

    /// The authorization that a refresh token goes back to.
    pub(super) fn issued(&mut self, form: &[(String, String)], refresh: &str) {
        let before = get(form, "refresh_token").and_then(|old| self.basis.get(&old).cloned());
        let code = get(form, "code");
        let delivered = self
            .delivered
            .iter()
            .find(|known| Some(&known.code) == code.as_ref());
        let sent = delivered.and_then(|known| self.sent.iter().find(|s| s.state == known.state));
        let device = get(form, "device_code").and_then(|code| self.devices.get(&code).cloned());
        let record = before.or(device);
        let record = record.or_else(|| sent.map(|sent| sent.record.clone()));
        if let Some(record) = record {
            self.basis.insert(refresh.to_owned(), record);
        }
    }

    /// Whether this may go to an address that is not its server's own: for what came of an authorization, the
    /// address that was in force there (S36); for what was there before, one that the server has named.
    pub(super) fn may_go(&self, kind: &str, issuer: usize, text: &str, url: &str) -> bool {
        let bare = url.split('?').next().unwrap_or_default();
        let quoted = format!("\"{bare}\"");
        let origin = quoted_origin(bare);
        let of = |server: &usize| *server == issuer || issuer == 9;
        let mut named = self.named.iter().filter(|(server, _)| of(server));
        let named = named.any(|(_, named)| named.contains(bare));
        match kind {
            // An origin that had a credential endpoint then may have another one since (REFR-11).
            "rt" => self
                .basis
                .get(text)
                .is_some_and(|record| record.contains(&origin)),
            "code" => {
                let delivered = self.delivered.iter().find(|known| known.code == text);
                let sent =
                    delivered.and_then(|known| self.sent.iter().find(|s| s.state == known.state));
                sent.is_some_and(|sent| sent.record.contains(&quoted))
            }
            _ => named,
        }
    }

    /// The host asks an instance to forget its registration.
    pub(in crate::machine_tests::world) fn resets(&mut self, at: usize, client: Option<String>) {
        self.seat(at).reset.extend(client);
        self.seat(at).asked_to_reset = true;
        self.seat(at).bound = None;
    }

    /// An instance binds a client without an issuer to a server.
    pub(in crate::machine_tests::world) fn binds(&mut self, at: usize, issuer: usize) {
        self.seat(at).bound = Some(issuer);
    }

    /// The client of the account that an instance knows, if it registered itself.
    pub(in crate::machine_tests::world) fn registered_client(
        &mut self,
        at: usize,
    ) -> Option<String> {
        let account = account(self.seat(at).account.as_deref().unwrap_or_default());
        let client = account["client"]["id"].as_str()?;
        let own = ISSUERS
            .iter()
            .position(|issuer| account["server"]["issuer"] == **issuer)?;
        (client.starts_with("cid~") && own != LIAR).then(|| client.to_owned())
    }
}

/// The beginning of every URL at the origin of this one, as a record has it.
fn quoted_origin(url: &str) -> String {
    let host = url.split('/').nth(2).unwrap_or_default();
    format!("\"https://{host}/")
}
