//! Requests: where they go, and what they carry (S01 to S08, S15, S16, S22, S32).

use std::collections::BTreeSet;

use mcp_auth_machine::action::{Purpose, SendRequest};

use super::super::scanner::{SECRETS, in_text, views};
use super::super::servers::challenge_of;
use super::super::store::Shelf;
use super::super::token_endpoint::JWT_BEARER;
use super::super::{ELSEWHERE, EVIL, Facts, ISSUERS, LIAR, REDIRECT, server_of};
use super::{Iss, Ledger};
use crate::machine_tests::{body, decoded, get};

impl Ledger {
    /// The rules for a request, judged when it is asked for.
    pub(in crate::machine_tests::world) fn sent(
        &mut self,
        at: usize,
        send: &SendRequest,
        shelf: &Shelf,
        facts: &mut Facts,
    ) {
        let request = send.request();
        let url = request.uri().to_string();
        let to = server_of(&url);
        let path = request.uri().path();
        assert!(
            !url.starts_with(ELSEWHERE),
            "S15: {url} came from Location or a registration"
        );
        let seat = self.seat(at);
        seat.sends += 1;
        assert!(
            seat.sends <= 48,
            "S22: {} requests for one event",
            seat.sends
        );
        let is_document = matches!(
            send.purpose(),
            Purpose::ResourceMetadata | Purpose::ServerMetadata
        );
        assert!(
            !(seat.after_callback && is_document),
            "S06: {url} between a callback and its code"
        );
        for found in views(&url).iter().flat_map(|view| in_text(view)) {
            assert!(
                !SECRETS.contains(&found.kind),
                "S02: {} in {url}",
                found.text
            );
        }
        // Bound before it shows a secret, or a code, for the first time (REG-04).
        self.bound = shelf.last_bound().or(self.bound);
        let mut texts = vec![
            String::from_utf8_lossy(request.body()).into_owned(),
            url.clone(),
        ];
        for value in request.headers().values() {
            texts.push(String::from_utf8_lossy(value.as_bytes()).into_owned());
        }
        for text in &texts {
            for view in views(text) {
                for found in in_text(&view) {
                    self.destined(at, (found.kind, found.issuer, found.text), to, &url);
                }
            }
        }
        let mut names = BTreeSet::new();
        let kind = request.headers().get("content-type");
        let is_form = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/x-www"));
        for (name, _) in body(request).into_iter().filter(|_| is_form) {
            self.names.insert(name.clone());
            assert!(
                names.insert(name.clone()),
                "S14: {name} is twice in a request to {url}"
            );
        }
        if path == "/token" {
            self.token_request(at, request, to, shelf, facts);
        }
    }

    /// S01 to S03: what a server minted goes to that server, and there to where it belongs. What the
    /// liar minted may go where the liar's own document says.
    fn destined(
        &mut self,
        at: usize,
        (kind, issuer, text): (&str, usize, &str),
        to: Option<usize>,
        url: &str,
    ) {
        let path = url
            .strip_prefix("https://")
            .and_then(|rest| rest.find('/').map(|at| &rest[at..]));
        let path = path.unwrap_or_default();
        if issuer == LIAR || kind == "poison" {
            return;
        }
        assert!(
            kind != "sec" || self.is_at_home(text, url),
            "S42: {text} went to {url}, which its server did not name when the client registered"
        );
        if to == Some(EVIL) {
            let may = self.may_go(kind, issuer, text, url);
            assert!(
                may,
                "S36: {text} went to {url}, which is not where it was issued for"
            );
            return;
        }
        if issuer == 9 {
            // The liar may send its own client elsewhere.
            if self.bound == Some(LIAR) || self.bound == to {
                self.shown.extend(self.bound);
            }
            // A server that has seen it may see it again: a device code is polled although another process has dropped
            // the binding since. So may one to which this process has bound it for the attempt under way.
            let bound = self.seat(at).bound;
            let own = [Some(LIAR), to]
                .iter()
                .flatten()
                .any(|seen| self.shown.contains(seen) || bound == Some(*seen));
            assert!(own, "S01: {text} of {:?} went to {to:?}", self.bound);
            return;
        }
        assert_eq!(Some(issuer), to, "S01: {text} went to {to:?}{path}");
        let paths: &[&str] = match kind {
            "code" | "dc" | "wl" | "jag" | "sub" => &["/token"],
            "rt" => &["/token", "/revoke"],
            "sec" => &["/token", "/revoke", "/par", "/device"],
            "at" => &["/revoke"],
            "mgt" => &[],
            _ => return,
        };
        assert!(paths.contains(&path), "S01: {text} went to {path}");
    }

    fn token_request(
        &mut self,
        at: usize,
        request: &http::Request<bytes::Bytes>,
        to: Option<usize>,
        shelf: &Shelf,
        facts: &mut Facts,
    ) {
        let form = body(request);
        if let Some(assertion) = get(&form, "client_assertion") {
            let (_, claims) = decoded(&assertion);
            let issuer = to.and_then(|to| ISSUERS.get(to));
            if to != Some(EVIL) {
                assert_eq!(claims["aud"].as_str(), issuer.copied(), "S32: {claims}");
            }
            facts.note("client assertion");
        }
        if let Some(proof) = request.headers().get("dpop").and_then(|v| v.to_str().ok()) {
            let (_, claims) = decoded(proof);
            let url = request.uri().to_string();
            assert_eq!(
                claims["htu"].as_str(),
                Some(url.as_str()),
                "DPOP-04: {claims}"
            );
            facts.note("proof");
        }
        if get(&form, "assertion").is_some() {
            facts.note("assertion grant");
        }
        if let Some(refresh) = get(&form, "refresh_token")
            && let Some(found) = in_text(&refresh).next()
        {
            self.used_at(at, found.issuer, "a refresh", shelf);
        }
        if let (Some(to), Some("client_credentials") | Some(JWT_BEARER)) = (
            to.filter(|to| *to < ISSUERS.len()),
            get(&form, "grant_type").as_deref(),
        ) {
            self.requested_at(at, to, shelf);
        }
        let Some(code) = get(&form, "code") else {
            return;
        };
        facts.note("code sent");
        self.seat(at).after_callback = false;
        let verifier = get(&form, "code_verifier").expect("PKCE-07: a code without its verifier");
        let fresh = self.codes.insert(code.clone());
        assert!(fresh || shelf.tampered, "S04: {code} was sent twice");
        let fresh = self.verifiers.insert(verifier.clone());
        assert!(fresh || shelf.tampered, "S05: a verifier was used twice");
        let delivered = self.delivered.iter().find(|known| known.code == code);
        let delivered = delivered.expect("S08: a code that came with no callback of this attempt");
        assert!(
            !delivered.token,
            "B22: a callback with a token was believed"
        );
        let sent = self.sent.iter().find(|sent| sent.state == delivered.state);
        let sent = sent.expect("S08: a state that no redirect carried");
        assert_eq!(
            challenge_of(&verifier),
            sent.challenge,
            "S05: another attempt's verifier"
        );
        let believed = match (self.advertises(sent.issuer, &sent.url), delivered.row) {
            (_, Iss::Equal) => true,
            (false, Iss::Absent) => true,
            (true, Iss::Absent) | (_, Iss::Different | Iss::Twice | Iss::Alike) => false,
        };
        assert!(
            believed,
            "S07: {:?} was believed at {}",
            delivered.row, ISSUERS[sent.issuer]
        );
        assert_eq!(get(&form, "redirect_uri").as_deref(), Some(REDIRECT), "S29");
        let pending = sent.pending.clone();
        self.seat(at).exchanges.clone_from(&pending);
        if let Some(pending) = pending {
            let consumed = !shelf.holds(&pending) || shelf.tampered;
            assert!(
                consumed,
                "S16: the code is sent before its attempt is used up"
            );
            if self.seat(at).pending != Some(pending) {
                facts.note("resumed by another process");
            }
        }
    }
}
