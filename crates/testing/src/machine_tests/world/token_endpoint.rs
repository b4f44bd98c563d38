//! Where the authorization servers take what is secret: registration, pushed requests, the token endpoint. The honest
//! ones are strict, and each has its habits.

use http::Request;

use super::scanner::POISON;
use super::servers::Refresh;
use super::setup::DOCUMENT;
use super::{ELSEWHERE, Habit, ISSUERS, LIAR, MCP, World};
use crate::machine_tests::{body, decoded, get};

pub(super) const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

pub(super) const DEVICE_CODE: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// A scope that a server adds by itself.
pub(super) const FOREIGN: &str = "foreign";

/// How servers with odd words refuse a refresh token that has ended.
const ODD_REFUSALS: [(u16, &str); 7] = [
    (400, r#"{"error":"interaction_required"}"#),
    (400, r#"{"error":"token_expired"}"#),
    (401, r#"{"error":"invalid_token"}"#),
    (200, r#"{"error":"bad_refresh_token"}"#),
    (400, r#"{"error":"invalid_target"}"#),
    (400, r#"{"error":"consent_required"}"#),
    (401, "<html>no"),
];

/// The parameters that an honest server knows, by grant: required ones, and those that may be there.
fn strict(form: &[(String, String)], has_user: bool) {
    const AUTHENTICATION: [&str; 4] = [
        "client_id",
        "client_secret",
        "client_assertion",
        "client_assertion_type",
    ];
    let grant = get(form, "grant_type").expect("L11: no grant_type");
    let (required, allowed): (&[&str], &[&str]) = match grant.as_str() {
        "authorization_code" => (&["code", "redirect_uri", "code_verifier", "resource"], &[]),
        "refresh_token" => (&["refresh_token", "resource"], &["scope"]),
        "client_credentials" => (&["resource"], &["scope"]),
        JWT_BEARER => (&["assertion"], &["scope", "resource"]),
        DEVICE_CODE => (&["device_code", "resource"], &[]),
        other => panic!("L11: {other} is not a grant that was announced"),
    };
    for name in required {
        assert!(
            get(form, name).is_some(),
            "L11: {name} is missing for {grant}"
        );
    }
    for (name, _) in form {
        let known = [&["grant_type"], required, allowed, &AUTHENTICATION].concat();
        assert!(
            known.contains(&name.as_str()),
            "L11: {name} is unknown for {grant}"
        );
    }
    if let Some(resource) = get(form, "resource") {
        assert_eq!(resource, MCP, "S31: another resource");
    }
    let acts_for_itself = grant == "client_credentials" || grant == JWT_BEARER;
    assert_eq!(has_user, !acts_for_itself || grant == "refresh_token");
}

impl World {
    /// Whether this server takes no notice of Basic unless the form names the client too, as servers of the Python
    /// SDK do, and offers no public clients. Matters to clients that register themselves.
    pub(super) fn reads_form_first(&self, server: usize) -> bool {
        server == 0 && self.setup.has(Habit::FormFirst) && self.setup.client.registers()
    }

    pub(super) fn register(
        &mut self,
        server: usize,
        request: &Request<bytes::Bytes>,
        lie: Option<u8>,
    ) -> (u16, String) {
        let asked: serde_json::Value = serde_json::from_slice(request.body()).unwrap_or_default();
        let method = asked["token_endpoint_auth_method"].as_str();
        let method = method.unwrap_or("client_secret_basic").to_owned();
        if self.reads_form_first(server) && method == "none" {
            return (400, r#"{"error":"invalid_client_metadata"}"#.to_owned());
        }
        self.servers.registered[server] += 1;
        self.facts.note(match self.servers.registered[server] {
            1 => "registered",
            _ => "registered again",
        });
        let client = self.mint("cid", server);
        self.servers.clients.insert(client.clone());
        let answer = match lie {
            Some(0) => {
                format!(r#"{{"client_id":"{client}","redirect_uris":["https://evil.example/cb"]}}"#)
            }
            Some(1) => {
                let secret = self.mint("sec", server);
                format!(
                    r#"{{"client_id":"{client}","client_secret":"{secret}","token_endpoint_auth_method":"client_secret_basic"}}"#
                )
            }
            Some(2) => {
                let management = self.mint("mgt", server);
                format!(
                    r#"{{"client_id":"{client}","registration_client_uri":"{ELSEWHERE}/c","registration_access_token":"{management}"}}"#
                )
            }
            Some(3) => r#"{"client_id":7}"#.to_owned(),
            _ if method.starts_with("client_secret") => {
                let secret = self.mint("sec", server);
                format!(
                    r#"{{"client_id":"{client}","client_secret":"{secret}","token_endpoint_auth_method":"{method}"}}"#
                )
            }
            _ => format!(r#"{{"client_id":"{client}"}}"#),
        };
        (201, answer)
    }

    /// The client that a request is from, as an honest server sees it.
    fn authenticated(
        &mut self,
        server: usize,
        request: &Request<bytes::Bytes>,
        form: &[(String, String)],
    ) -> Option<String> {
        let client = client_of(request, form);
        if server == LIAR {
            return Some(client);
        }
        let has_basic = request.headers().contains_key("authorization");
        let in_form = get(form, "client_id").is_some();
        // One method at a time (RFC 6749, 2.3); a request for authorization names its client anyhow (RFC 9126, 2).
        let twice = in_form && get(form, "grant_type").is_some();
        if has_basic && (twice || get(form, "client_secret").is_some()) && server == 2 {
            return None;
        }
        if self.reads_form_first(server) && !in_form {
            self.facts.note("read the form first");
            return None;
        }
        let pre = format!("pre~{server}~");
        // A server at which a client was registered by hand knows it still when the binding is another one: another process
        // may have dropped the binding while a code was out, and the account that this one stored counts first.
        let bound = self.ledger.bound() == Some(server) || self.ledger.was_shown(server);
        let bound = bound && client.starts_with("pre~9~");
        let workload = get(form, "assertion").is_some() && !self.setup.client.has_user();
        let known = client.starts_with(&pre)
            || self.servers.clients.contains(&client)
                && client.starts_with(&format!("cid~{server}~"))
            || client == DOCUMENT
            || bound
            || workload;
        if !known && client.starts_with(&format!("cid~{server}~")) {
            self.facts.note("a client that the server forgot");
        }
        known.then_some(client)
    }

    /// A request that is pushed gets a name for the redirect.
    pub(super) fn pushed(
        &mut self,
        server: usize,
        request: &Request<bytes::Bytes>,
    ) -> (u16, String) {
        let form = body(request);
        if self.authenticated(server, request, &form).is_none() {
            self.facts.note("pushed request refused");
            return (401, r#"{"error":"invalid_client"}"#.to_owned());
        }
        if server != LIAR {
            for name in ["state", "code_challenge", "redirect_uri", "resource"] {
                assert!(get(&form, name).is_some(), "L11: {name} is not pushed");
            }
        }
        self.facts.note("pushed");
        let name = self.mint("urn:par", server);
        self.ledger.pushed(&name, form);
        (
            201,
            format!(r#"{{"request_uri":"{name}","expires_in":600}}"#),
        )
    }

    /// Codes for a user at another device.
    pub(super) fn device(
        &mut self,
        server: usize,
        request: &Request<bytes::Bytes>,
    ) -> (u16, String) {
        let form = body(request);
        let Some(client) = self.authenticated(server, request, &form) else {
            return (401, r#"{"error":"invalid_client"}"#.to_owned());
        };
        if server != LIAR {
            assert_eq!(
                get(&form, "resource").as_deref(),
                Some(MCP),
                "S31: {form:?}"
            );
            for (name, _) in &form {
                let known = ["resource", "scope", "client_id", "client_secret"];
                let signed = name.starts_with("client_assertion");
                assert!(signed || known.contains(&name.as_str()), "L11: {name}");
            }
        }
        let code = self.mint("dc", server);
        let user_code = format!("UC-{}", self.minted);
        self.servers.device(&code, &user_code, &client);
        // The liar names the page of an honest server now and then.
        let page = match (server, self.minted % 3) {
            (LIAR, 0) => ISSUERS[0],
            _ => ISSUERS[server],
        };
        let answer = format!(
            r#"{{"device_code":"{code}","user_code":"{user_code}","verification_uri":"{page}/code","expires_in":300,"interval":5}}"#
        );
        (200, answer)
    }

    /// The user enters the code, wherever it is from.
    pub(super) fn approve(&mut self, user_code: &str) {
        self.servers.approve(user_code);
    }

    pub(super) fn token_endpoint(
        &mut self,
        server: usize,
        request: &Request<bytes::Bytes>,
        lie: Option<u8>,
    ) -> (u16, String) {
        let form = body(request);
        let refused = (400, r#"{"error":"invalid_grant"}"#.to_owned());
        // Otherwise made for another server, because the liar's document named this one, or by a client that the
        // server does not know any more.
        let Some(client) = self.authenticated(server, request, &form) else {
            return (401, r#"{"error":"invalid_client"}"#.to_owned());
        };
        let foreign =
            get(&form, "code").is_some_and(|code| !code.contains(&format!("code~{server}~")));
        if server != LIAR && !foreign && !self.setup.lenient {
            strict(&form, self.setup.client.has_user());
        }
        let family = match get(&form, "grant_type").as_deref() {
            Some("authorization_code") => {
                let (code, verifier) = (get(&form, "code"), get(&form, "code_verifier"));
                let (code, verifier) = (code.unwrap_or_default(), verifier.unwrap_or_default());
                if !self.servers.redeem(&code, server, &verifier) {
                    return refused;
                }
                self.servers.families += 1;
                self.servers.families
            }
            Some(DEVICE_CODE) => {
                let code = get(&form, "device_code").unwrap_or_default();
                if let Err(error) = self.servers.redeem_device(server, &code, &client) {
                    self.facts.note("polled in vain");
                    return (400, format!(r#"{{"error":"{error}"}}"#));
                }
                self.facts.note("signed in on another device");
                self.servers.families += 1;
                self.servers.families
            }
            Some("refresh_token") => {
                let refresh = get(&form, "refresh_token").unwrap_or_default();
                let named = get(&form, "scope").is_some();
                if named {
                    self.facts.note("a refresh that names scopes");
                } else if self.setup.has(Habit::ForeignScopes) && self.minted % 3 == 1 {
                    return (400, r#"{"error":"invalid_request"}"#.to_owned());
                }
                match self.servers.rotate(&refresh, &client) {
                    Ok(family) => {
                        self.facts.note("refreshed");
                        family
                    }
                    Err(reused) => {
                        if reused {
                            self.facts.note("reused");
                        }
                        if self.setup.has(Habit::OddRefusals) && server != LIAR {
                            self.facts.note("refused with an odd word");
                            let number = refresh.bytes().last().unwrap_or_default();
                            let (status, text) =
                                ODD_REFUSALS[usize::from(number) % ODD_REFUSALS.len()];
                            return (status, text.to_owned());
                        }
                        return refused;
                    }
                }
            }
            _ => {
                self.servers.families += 1;
                self.servers.families
            }
        };
        (200, self.grant(server, request, family, client, lie))
    }

    fn grant(
        &mut self,
        server: usize,
        request: &Request<bytes::Bytes>,
        family: u32,
        client: String,
        lie: Option<u8>,
    ) -> String {
        let access = self.mint("at", server);
        let kind = match (lie, request.headers().contains_key("dpop")) {
            (Some(0), _) => "mac",
            (_, true) => "DPoP",
            (_, false) => "Bearer",
        };
        let life = match (lie, self.minted % 3) {
            (Some(1), _) => r#","expires_in":-5"#,
            (Some(2), _) => r#","expires_in":99999999999999999999"#,
            (_, 0) => r#","expires_in":90"#,
            (_, 1) => r#","expires_in":600"#,
            (_, _) => "",
        };
        let old = get(&body(request), "refresh_token");
        let scope = match lie {
            Some(3) => format!(r#","scope":"{POISON} read""#),
            None if old.is_some() && self.setup.has(Habit::ForeignScopes) => {
                self.facts.note("a foreign scope in an answer");
                let named = get(&body(request), "scope").is_some();
                if !named && self.minted.is_multiple_of(3) {
                    self.facts.note("a token for other scopes");
                    format!(r#","scope":"{FOREIGN}""#)
                } else {
                    format!(r#","scope":"read {FOREIGN}""#)
                }
            }
            _ => String::new(),
        };
        // A server may keep the refresh token as it is (D05).
        if let Some(refresh) = old.filter(|_| self.servers.keeps || self.minted.is_multiple_of(4)) {
            self.facts.note("refreshed without a new refresh token");
            if let Some(token) = self.servers.refresh.iter_mut().find(|t| t.text == refresh) {
                token.dead = false;
            }
            return format!(r#"{{"access_token":"{access}","token_type":"{kind}"{life}{scope}}}"#);
        }
        let refresh = self.mint("rt", server);
        self.servers.refresh.push(Refresh {
            text: refresh.clone(),
            client,
            family,
            dead: false,
        });
        format!(
            r#"{{"access_token":"{access}","refresh_token":"{refresh}","token_type":"{kind}"{life}{scope}}}"#
        )
    }
}

/// The client as it names itself: in the form, by Basic, or in its assertion.
pub fn client_of(request: &Request<bytes::Bytes>, form: &[(String, String)]) -> String {
    use base64::Engine;
    let basic = request.headers().get("authorization").and_then(|value| {
        let encoded = value.to_str().ok()?.strip_prefix("Basic ")?;
        let decoded = base64::engine::general_purpose::STANDARD
            .decode(encoded)
            .ok()?;
        let text = String::from_utf8(decoded).ok()?;
        let user = text.split(':').next()?;
        url::form_urlencoded::parse(user.as_bytes())
            .next()
            .map(|(name, _)| name.into_owned())
    });
    let assertion = get(form, "client_assertion").map(|jwt| decoded(&jwt).1);
    let subject = assertion.and_then(|claims| Some(claims["sub"].as_str()?.to_owned()));
    basic
        .or_else(|| get(form, "client_id"))
        .or(subject)
        .unwrap_or_default()
}
