//! The properties, as checks of what is seen from outside. None of them knows the machine's types.

use std::collections::BTreeSet;

use mcp_auth_machine::Moment;
use mcp_auth_machine::action::{LoadSlot, PersistSlot, Purpose, Redirect, SendRequest, Why};

use super::scanner::{POISON, SECRETS, in_text, views};
use super::servers::challenge_of;
use super::store::Shelf;
use super::{ELSEWHERE, Facts, ISSUERS, LIAR, MCP, REDIRECT, Setup, server_of};
use crate::support::{body, decoded, get, query};

/// What a callback said of its issuer, beside the one it was sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Iss {
    Equal,
    Absent,
    Different,
    Twice,
    Alike,
}

/// A callback with a code, as it was delivered.
#[derive(Clone, Debug)]
pub struct Delivered {
    pub code: String,
    pub state: String,
    pub row: Iss,
    /// It also carried a token.
    pub token: bool,
}

/// An authorization that was sent out.
#[derive(Clone, Debug)]
struct Sent {
    state: String,
    challenge: String,
    issuer: usize,
    url: String,
    scopes: Vec<String>,
    /// Where its record lies.
    pending: Option<String>,
}

#[derive(Clone, Debug)]
struct Token {
    text: String,
    by: usize,
    received: u64,
    seconds: Option<u64>,
}

/// What is remembered of one instance.
#[derive(Clone, Debug, Default)]
struct Seat {
    sends: u32,
    /// A callback arrived while nothing else was under way; no document may be asked for since.
    after_callback: bool,
    /// The server has said something that ends a token.
    ended: bool,
    signing_out: bool,
    pending: Option<String>,
    lacks: Vec<String>,
    stepping_up: bool,
    poisoned: bool,
    ready_at: Option<usize>,
    /// The account as it last saw it.
    account: Option<String>,
    waits_for: Option<u64>,
}

#[derive(Clone, Debug, Default)]
pub struct Ledger {
    sent: Vec<Sent>,
    codes: BTreeSet<String>,
    verifiers: BTreeSet<String>,
    delivered: Vec<Delivered>,
    tokens: Vec<Token>,
    seats: Vec<Seat>,
    /// Changes of the server that the user was asked about.
    asked: Vec<(String, String)>,
    /// Where the client without an issuer has shown its secret.
    bound: Option<usize>,
    poisoned: bool,
}

impl Ledger {
    fn seat(&mut self, at: usize) -> &mut Seat {
        if self.seats.len() <= at {
            self.seats.resize(at + 1, Seat::default());
        }
        &mut self.seats[at]
    }

    pub(super) fn external(&mut self, at: usize) {
        let seat = self.seat(at);
        seat.sends = 0;
        seat.after_callback = false;
    }

    pub(super) fn came_back(&mut self, at: usize, idle: bool) {
        self.seat(at).after_callback = idle;
    }

    pub(super) fn crashed(&mut self, at: usize) {
        *self.seat(at) = Seat::default();
        // Whoever comes next has only the wall clock to go by.
        self.tokens.retain(|token| token.by != at);
    }

    pub(super) fn cancelled(&mut self, at: usize) {
        self.seat(at).lacks.clear();
        self.seat(at).stepping_up = false;
    }

    pub(super) fn signed_out(&mut self, at: usize) {
        self.seat(at).signing_out = true;
        self.tokens.retain(|token| token.by != at);
        for seat in &mut self.seats {
            seat.lacks.clear();
        }
    }

    pub(super) fn hears(&mut self, at: usize) {
        self.seat(at).lacks.clear();
    }

    pub(super) fn lacks(&mut self, at: usize, scopes: &str) {
        self.seat(at).lacks = scopes.split(' ').map(str::to_owned).collect();
    }

    pub(super) fn asks(&mut self, at: usize, why: &Why) {
        self.seat(at).stepping_up = matches!(why, Why::ScopeMissing { .. });
        if let Why::ServerChanged { from, to } = why {
            self.asked.push((from.to_string(), to.to_string()));
        }
    }

    pub(super) fn poisoned(&mut self) {
        self.poisoned = true;
    }

    pub(super) fn bound(&self) -> Option<usize> {
        self.bound
    }

    pub(super) fn delivered(&mut self, delivered: Delivered) {
        self.delivered.push(delivered);
    }

    /// A pushed request has no state in its URL.
    pub(super) fn pushed_state(&self, url: &str) -> Option<String> {
        let sent = self.sent.iter().find(|sent| sent.url == url)?;
        Some(sent.state.clone())
    }

    /// Whether the document that led to this URL advertised `iss`.
    pub(super) fn advertises(&self, issuer: usize, url: &str) -> bool {
        issuer == 0 || (issuer == LIAR && url.contains("v=4"))
    }

    /// Nothing of an error whose `iss` is wrong is shown (S09).
    pub(super) fn failed(&mut self, at: usize, text: &str) {
        // It may have given up on an answer.
        self.seat(at).waits_for = None;
        if self.seat(at).poisoned {
            assert!(!text.contains(POISON), "S09: {text}");
        }
        if text.contains("Iss(") {
            assert!(!text.contains(POISON), "S09: {text}");
        }
    }

    /// The rules for a request, judged when it is asked for.
    pub(super) fn sent(&mut self, at: usize, send: &SendRequest, shelf: &Shelf, facts: &mut Facts) {
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
                    self.destined(found.kind, found.issuer, found.text, to, path);
                }
            }
        }
        if path == "/token" {
            self.token_request(at, request, to, shelf, facts);
        }
    }

    /// S01 to S03: what a server minted goes to that server, and there to where it belongs. What the
    /// liar minted may go where the liar's own document says.
    fn destined(&mut self, kind: &str, issuer: usize, text: &str, to: Option<usize>, path: &str) {
        if issuer == LIAR || kind == "poison" {
            return;
        }
        if issuer == 9 {
            // The liar may send its own client elsewhere.
            let own = self.bound == Some(LIAR) || (self.bound.is_some() && self.bound == to);
            assert!(own, "S01: {text} of {:?} went to {to:?}", self.bound);
            return;
        }
        assert_eq!(Some(issuer), to, "S01: {text} went to {to:?}{path}");
        let paths: &[&str] = match kind {
            "code" | "wl" | "jag" | "sub" => &["/token"],
            "rt" | "sec" => &["/token", "/revoke"],
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
            assert_eq!(claims["aud"].as_str(), issuer.copied(), "S32: {claims}");
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
        let Some(code) = get(&form, "code") else {
            return;
        };
        facts.note("code sent");
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
        let sent = sent.expect("S08: a state that nobody was sent out with");
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
        if let Some(pending) = sent.pending.clone() {
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

    /// One record holds what one server issued, and nothing of another (S03).
    pub(super) fn writes(&mut self, at: usize, persist: &PersistSlot, tampered: bool) {
        let key = persist.slot().to_string();
        let Some(stored) = persist.write() else {
            let seat = self.seat(at);
            let ended = seat.ended || seat.signing_out || !key.starts_with("account/");
            assert!(
                ended || tampered,
                "S20: the account is erased although no server ended it"
            );
            return;
        };
        let text = stored.contents.expose();
        if key.starts_with("account/") {
            self.keeps(at, text, tampered);
        }
        let record = !key.starts_with("metadata/");
        let mut owner = None;
        for found in in_text(text) {
            if found.kind == "poison" || found.issuer == 9 {
                continue;
            }
            assert!(record, "S27: {} in a public slot", found.text);
            let owner = *owner.get_or_insert(found.issuer);
            assert_eq!(owner, found.issuer, "S03: {text}");
        }
        let named = format!(
            "\"issuer\":\"{}\"",
            ISSUERS.get(owner.unwrap_or(9)).unwrap_or(&"")
        );
        assert!(owner.is_none() || text.contains(&named), "S17: {text}");
        if key.starts_with("pending/") {
            self.seat(at).pending = Some(key);
        }
    }

    /// Tokens are dropped only when a server has ended them (S20).
    fn keeps(&mut self, at: usize, text: &str, tampered: bool) {
        let seat = self.seat(at);
        let before = account(seat.account.as_deref().unwrap_or_default());
        let ended = seat.ended || seat.signing_out || tampered;
        let (old, new) = (&before["tokens"], &account(text)["tokens"]);
        let same = old["access"] == new["access"];
        let lost = !old.is_null() && new.is_null();
        let unrenewable = same && !old["refresh"].is_null() && new["refresh"].is_null();
        assert!(
            ended || !(lost || unrenewable),
            "S20: tokens are dropped although no server ended them"
        );
    }

    /// Compare-and-swap is only as good as what is compared (S19).
    pub(super) fn replaces(
        &mut self,
        at: usize,
        persist: &PersistSlot,
        known: bool,
        shelf: &Shelf,
    ) {
        let current = shelf.load(&persist.slot().to_string());
        let replaces = current.map(|stored| stored.revision) == persist.expected();
        assert!(
            !replaces || known || shelf.tampered,
            "S19: instance {at} replaces what it never saw"
        );
    }

    /// An instance asks for the account, or writes it: it waits for this answer and for no earlier one.
    pub(super) fn waits(&mut self, at: usize, key: &str, id: u64) {
        if key.starts_with("account/") {
            self.seat(at).waits_for = Some(id);
        }
    }

    /// An instance has seen what a slot holds.
    pub(super) fn sees(&mut self, at: usize, key: &str, id: u64, contents: Option<&str>) {
        let seat = self.seat(at);
        if key.starts_with("account/") && seat.waits_for == Some(id) {
            seat.account = contents.map(str::to_owned);
        }
    }

    pub(super) fn loads(&mut self, at: usize, load: &LoadSlot, found: bool, facts: &mut Facts) {
        let key = load.slot().to_string();
        if found && key.starts_with("pending/") && self.seat(at).pending.as_ref() != Some(&key) {
            facts.note("found by another process");
        }
    }

    pub(super) fn redirected(
        &mut self,
        at: usize,
        redirect: &Redirect,
        issuer: usize,
        shelf: &Shelf,
        setup: &Setup,
    ) {
        let url = redirect.url.as_str();
        let asked = query(url);
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
        for (name, _) in &asked {
            assert!(
                known.contains(&name.as_str()),
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
        if redirect.client_id.starts_with("pre~9~") {
            let bound = *self.bound.get_or_insert(issuer);
            assert_eq!(
                bound, issuer,
                "REG-04: bound to one server, used at another"
            );
        }
        // Asked for again, the same attempt is shown again.
        if self.sent.iter().any(|sent| sent.url == url) {
            return;
        }
        let state = get(&asked, "state").unwrap_or_default();
        let challenge = get(&asked, "code_challenge").unwrap_or_default();
        let known = self
            .sent
            .iter()
            .any(|sent| sent.state == state || sent.challenge == challenge);
        assert!(!known, "S05: state or challenge were used before");
        let pending = self.seat(at).pending.clone();
        let durable = pending.as_ref().is_some_and(|pending| shelf.holds(pending));
        assert!(
            durable || shelf.tampered,
            "S16: the redirect comes before its record is durable"
        );
        self.changed(at, redirect, shelf);
        let scopes: Vec<String> = redirect
            .scopes
            .iter()
            .map(|scope| scope.to_string())
            .collect();
        if self.seat(at).stepping_up && setup.client.has_user() {
            for scope in self.seat(at).lacks.clone() {
                assert!(
                    scopes.contains(&scope),
                    "S21: {scope} is lacking and not requested"
                );
            }
            for scope in self.requested_before(at, redirect) {
                assert!(
                    scopes.contains(&scope),
                    "S21: {scope} was lost in {scopes:?}"
                );
            }
        }
        self.sent.push(Sent {
            state,
            challenge,
            issuer,
            url: url.to_owned(),
            scopes,
            pending,
        });
    }

    /// What was requested before, for the same client at the same server, as far as an instance knows.
    fn requested_before(&mut self, at: usize, redirect: &Redirect) -> Vec<String> {
        let account = account(self.seat(at).account.as_deref().unwrap_or_default());
        let same = account["server"]["issuer"] == redirect.issuer.as_str()
            && account["client"]["id"] == *redirect.client_id;
        let requested = account["requested"].as_str().unwrap_or_default();
        let scopes = requested
            .split(' ')
            .filter(|scope| same && !scope.is_empty());
        scopes.map(str::to_owned).collect()
    }

    /// The server of an account that an instance knows changes only when the user was asked (S34).
    fn changed(&mut self, at: usize, redirect: &Redirect, shelf: &Shelf) {
        let Some(account) = self.seat(at).account.clone() else {
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

    /// A server has granted something.
    pub(super) fn granted(&mut self, at: usize, answer: &str, now: Moment) {
        let Ok(answer) = serde_json::from_str::<serde_json::Value>(answer) else {
            return;
        };
        let text = answer["access_token"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        self.tokens.push(Token {
            text,
            by: at,
            received: now.mono.0,
            seconds: answer["expires_in"].as_u64(),
        });
        self.seat(at).ended = false;
    }

    pub(super) fn refused(&mut self, at: usize, form: &[(String, String)]) {
        if get(form, "grant_type").is_some() {
            self.seat(at).ended = true;
        }
    }

    pub(super) fn ready(
        &mut self,
        at: usize,
        issuer: &str,
        bearer: Option<&str>,
        now: Moment,
        facts: &mut Facts,
    ) {
        let issuer = ISSUERS
            .iter()
            .position(|known| *known == issuer)
            .expect("an issuer");
        facts.note(["ready at a", "ready at b", "ready at c"][issuer]);
        let seat = self.seat(at);
        if seat
            .ready_at
            .replace(issuer)
            .is_some_and(|before| before != issuer)
        {
            facts.note("moved");
        }
        if seat.stepping_up {
            facts.note("stepped up");
        }
        seat.lacks.clear();
        seat.stepping_up = false;
        seat.signing_out = false;
        if let Some(bearer) = bearer {
            let own = in_text(bearer).all(|found| found.kind == "at" && found.issuer == issuer);
            assert!(own, "D20: {bearer} for {issuer}");
            self.presented(at, bearer, now);
        }
    }

    /// A token is handed out only as long as it was said to live, whatever the wall clock says (S30).
    pub(super) fn presented(&mut self, at: usize, bearer: &str, now: Moment) {
        let text = bearer.rsplit(' ').next().unwrap_or_default();
        // Of the token that this process received last; a store that is rolled back may bring an older one.
        let latest = self.tokens.iter().rev().find(|token| token.by == at);
        let known = latest.filter(|token| token.text == text);
        if let Some((received, Some(seconds))) = known.map(|token| (token.received, token.seconds))
        {
            let age = now.mono.0.saturating_sub(received);
            assert!(
                age <= seconds.saturating_mul(1_000),
                "S30: {text} after {age} ms"
            );
        }
    }
}

/// What an account record says; null when it cannot be read.
fn account(record: &str) -> serde_json::Value {
    let json = record.splitn(3, '.').nth(2).unwrap_or_default();
    serde_json::from_str(json).unwrap_or_default()
}
