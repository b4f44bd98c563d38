//! Redirects: where the user is sent, and with what (S12 to S14, S16, S21, S29, S31, S34).

use std::collections::BTreeSet;

use mcp_auth_machine::action::Redirect;

use super::super::resource::WANTED;
use super::super::scanner::{SECRETS, in_text, views};
use super::super::store::Shelf;
use super::super::{ISSUERS, LIAR, MCP, REDIRECT, Setup, server_of};
use super::{Ledger, Sent, account};
use crate::machine_tests::{get, query};

impl Ledger {
    pub(in crate::machine_tests::world) fn redirected(
        &mut self,
        at: usize,
        redirect: &Redirect,
        issuer: usize,
        shelf: &Shelf,
        setup: &Setup,
    ) {
        let url = redirect.url.as_str();
        let asked = self.asked(url);
        let pushed = get(&query(url), "request_uri").is_some();
        for (name, _) in query(url) {
            let known = ["client_id", "request_uri", "v"].contains(&name.as_str());
            assert!(
                !pushed || known || setup.lenient,
                "L11: {name} beside a pushed request in {url}"
            );
        }
        for name in [
            "response_type",
            "client_id",
            "redirect_uri",
            "state",
            "code_challenge",
            "code_challenge_method",
            "resource",
        ] {
            assert!(
                get(&asked, name).is_some(),
                "L11: {name} is missing in {url}"
            );
        }
        let is = |name: &str, value: &str| get(&asked, name).as_deref() == Some(value);
        assert!(is("response_type", "code"), "AUTHZ-01: {url}");
        assert!(is("redirect_uri", REDIRECT), "S29: {url}");
        assert!(is("code_challenge_method", "S256"), "S12: {url}");
        assert!(is("resource", MCP), "S31: {url}");
        let known = [
            "response_type",
            "client_id",
            "redirect_uri",
            "state",
            "code_challenge",
            "code_challenge_method",
            "resource",
            "scope",
            "v",
            "dpop_jkt",
            "prompt",
        ];
        let mut names = BTreeSet::new();
        for (name, _) in &asked {
            self.names.insert(name.clone());
            assert!(names.insert(name), "S14: {name} is twice in {url}");
            assert!(
                known.contains(&name.as_str()) || setup.lenient,
                "L11: {name} is unknown in {url}"
            );
        }
        match get(&asked, "v").as_deref() {
            Some("0") => panic!("S13: the authorization endpoint of another server: {url}"),
            Some("3") => panic!("S12: without PKCE: {url}"),
            Some("5" | "6") => panic!("S13, S14: {url}"),
            _ => {}
        }
        if issuer != LIAR {
            assert_eq!(server_of(url), Some(issuer), "S13: {url}");
        }
        let to = server_of(url);
        for found in in_text(&views(url).concat()) {
            assert!(!SECRETS.contains(&found.kind), "S02: {url}");
            // The liar's scopes are asked for at the liar's.
            let poison = found.kind == "poison";
            let own = found.issuer == LIAR || found.issuer == 9 || Some(found.issuer) == to;
            let own = own || poison && to == Some(LIAR);
            assert!(own, "S03: {} at {to:?}", found.text);
        }
        let scopes: Vec<String> = redirect
            .scopes
            .iter()
            .map(|scope| scope.to_string())
            .collect();
        if issuer != LIAR {
            let foreign = scopes
                .iter()
                .find(|scope| !WANTED.contains(&scope.as_str()));
            assert!(
                foreign.is_none(),
                "S21: {foreign:?} was never asked for by the resource"
            );
        }
        self.keeps_consent(at, &scopes);
        if self.seat(at).stepping_up && setup.client.has_user() {
            for scope in self.seat(at).lacks.clone() {
                assert!(
                    scopes.contains(&scope),
                    "S21: {scope} is lacking and not requested"
                );
            }
        }
        // A repeated request shows the same attempt again, until it is used. A pushed request may be pushed again and
        // then has another `request_uri`.
        let state = get(&asked, "state").unwrap_or_default();
        let same = |sent: &&Sent| sent.url == url || pushed && sent.state == state;
        if let Some(sent) = self.sent.iter().find(same) {
            let durable = sent
                .pending
                .as_ref()
                .is_some_and(|pending| shelf.holds(pending));
            // The request is pushed again: another instance may use the record up between the load and the redirect.
            let seat = self.seats.get(at);
            let unknown =
                seat.is_some_and(|seat| seat.store_failed || pushed && seat.pending_there);
            assert!(
                durable || unknown || shelf.tampered,
                "S16: a redirect is repeated after its attempt was used up"
            );
            return;
        }
        let client = redirect.client_id.as_ref() as &str;
        let seat = self.seat(at);
        let dropped = seat.reset.contains(client) || seat.dead.contains(client);
        assert!(
            !dropped || shelf.tampered,
            "S39: {client} was to be forgotten"
        );
        let challenge = get(&asked, "code_challenge").unwrap_or_default();
        let known = self
            .sent
            .iter()
            .any(|sent| sent.state == state || sent.challenge == challenge);
        assert!(!known, "S05: state or challenge of {url} were used before");
        let pending = self.seat(at).pending.clone();
        let durable = pending.as_ref().is_some_and(|pending| shelf.holds(pending));
        assert!(
            durable || shelf.tampered,
            "S16: the redirect comes before its record is durable"
        );
        self.changed(at, redirect, shelf);
        if self.seat(at).stepping_up && setup.client.has_user() {
            // A tampered record does not count.
            let refused = self.seat(at).scopes_refused;
            for scope in self.requested_before(at, redirect, shelf) {
                assert!(
                    shelf.tampered || refused || scopes.contains(&scope),
                    "S21: {scope} was lost in {scopes:?}"
                );
            }
        }
        let record = pending.as_ref().and_then(|pending| shelf.load(pending));
        let record = record.map(|stored| stored.contents.expose().to_owned());
        self.sent.push(Sent {
            record: record.unwrap_or_default(),
            state,
            challenge,
            issuer,
            url: url.to_owned(),
            pending,
        });
    }

    /// The previously requested scopes for the same client at the same server, as far as an instance knows.
    fn requested_before(&mut self, at: usize, redirect: &Redirect, shelf: &Shelf) -> Vec<String> {
        // Those that the answer to a registration left out are not requested (REG-24).
        let registration = account(shelf.registration(&redirect.client_id).unwrap_or_default());
        let left_out = registration["scopes_left_out"].as_str().unwrap_or_default();
        let left_out: Vec<_> = left_out.split(' ').collect();
        let account = account(self.seat(at).account.as_deref().unwrap_or_default());
        // The registrations of one client at one server are one client.
        let own = |id: &str| id.starts_with("cid~");
        let registers =
            own(&redirect.client_id) && account["client"]["id"].as_str().is_some_and(own);
        let same = account["server"]["issuer"] == redirect.issuer.as_str()
            && (account["client"]["id"] == *redirect.client_id || registers);
        let requested = account["requested"].as_str().unwrap_or_default();
        let scopes = requested
            .split(' ')
            .filter(|scope| same && !scope.is_empty() && !left_out.contains(scope));
        scopes.map(str::to_owned).collect()
    }

    /// The server of an account that an instance knows changes only when the user was asked (S34).
    fn changed(&mut self, at: usize, redirect: &Redirect, shelf: &Shelf) {
        let Some(account) = self.seat(at).account.as_deref().map(crate::spelled_out) else {
            return;
        };
        let to = redirect.issuer.as_str();
        let from = ISSUERS
            .iter()
            .find(|issuer| account.contains(&format!("\"issuer\":\"{issuer}\"")));
        let live = account.contains("\"access\":");
        if let Some(from) = from.filter(|from| **from != to && live) {
            let asked = self.asked.iter().any(|(f, t)| f == from && t == to);
            assert!(
                asked || shelf.tampered,
                "S34: from {from} to {to} without asking"
            );
        }
    }
}
