//! The authorization servers: two honest and strict, one that lies, and an identity provider.

use http::Request;
use mcp_auth_machine::Event;
use mcp_auth_machine::action::SendRequest;
use sha2::{Digest, Sha256};

use super::scanner::POISON;
use super::setup::DOCUMENT;
use super::{
    ELSEWHERE, How, ISSUERS, LIAR, MCP, PROVIDER, PROVIDER_URL, World, issuer_named, server_of,
};
use crate::support::{body, copy, decoded, get, metadata_of, response};

const ID_JAG: &str = "urn:ietf:params:oauth:token-type:id-jag";
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const ERRORS: [&str; 6] = [
    "invalid_grant",
    "invalid_client",
    "invalid_scope",
    "temporarily_unavailable",
    "unauthorized_client",
    "invalid_target",
];
/// The liar's documents: what is wrong with each, by number.
pub const LIES: u8 = 8;

#[derive(Clone, Debug)]
struct Code {
    text: String,
    from: usize,
    challenge: String,
    used: bool,
}

#[derive(Clone, Debug)]
struct Refresh {
    text: String,
    client: String,
    family: u32,
    dead: bool,
}

/// What the servers remember.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    codes: Vec<Code>,
    refresh: Vec<Refresh>,
    families: u32,
    registered: [u32; 3],
}

pub fn challenge_of(verifier: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(Sha256::digest(verifier))
}

impl Registry {
    pub(super) fn code(&mut self, text: &str, from: usize, challenge: &str) {
        self.codes.push(Code {
            text: text.to_owned(),
            from,
            challenge: challenge.to_owned(),
            used: false,
        });
    }

    /// Whether the code is good here, once.
    fn redeem(&mut self, text: &str, at: usize, verifier: &str) -> bool {
        let known = |code: &&mut Code| code.text == text && code.from == at && !code.used;
        let Some(code) = self.codes.iter_mut().find(known) else {
            return false;
        };
        code.used = true;
        code.challenge.is_empty() || code.challenge == challenge_of(verifier)
    }

    /// The family of a refresh token that is good for this client; one that was rotated ends its family.
    fn rotate(&mut self, text: &str, client: &str) -> Result<u32, bool> {
        let known = |token: &&mut Refresh| token.text == text;
        let Some(token) = self.refresh.iter_mut().find(known) else {
            return Err(false);
        };
        if token.client != client {
            return Err(false);
        }
        let (family, reused) = (token.family, token.dead);
        token.dead = true;
        if reused {
            self.end(family);
            return Err(true);
        }
        Ok(family)
    }

    fn end(&mut self, family: u32) {
        for token in &mut self.refresh {
            token.dead |= token.family == family;
        }
    }
}

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
    fn metadata(&self, issuer: usize, lie: Option<u8>) -> String {
        let own = ISSUERS[issuer];
        let cimd = match self.is_document() {
            true => r#","client_id_metadata_document_supported":true"#,
            false => "",
        };
        let methods = r#"["none","client_secret_basic","private_key_jwt"]"#;
        let iss = r#","authorization_response_iss_parameter_supported":true"#;
        let grants = format!(
            r#","grant_types_supported":["authorization_code","refresh_token","client_credentials","{JWT_BEARER}"],"authorization_grant_profiles_supported":["urn:ietf:params:oauth:grant-profile:id-jag"],"dpop_signing_alg_values_supported":["ES256"],"revocation_endpoint":"{own}/revoke""#
        );
        let says_iss = issuer == 0 || lie == Some(4);
        let more = [cimd, &grants, if says_iss { iss } else { "" }].concat();
        let document = metadata_of(own, &more).replace(r#"["none"]"#, methods);
        let authorize = format!("\"{own}/authorize\"");
        let other = ISSUERS[if lie.unwrap_or(0).is_multiple_of(2) {
            0
        } else {
            2
        }];
        match lie {
            None => document,
            // The user signs in at an honest server, the code is to come here.
            Some(0) => document.replace(&authorize, &format!("\"{}/authorize?v=0\"", ISSUERS[2])),
            Some(1) => document
                .replace(&format!("{own}/token"), &format!("{other}/token"))
                .replace(&authorize, &format!("\"{own}/authorize?v=1\"")),
            Some(2) => document.replace(
                &format!("\"issuer\":\"{own}\""),
                &format!("\"issuer\":\"{other}\""),
            ),
            Some(3) => document
                .replace("S256", "plain")
                .replace(&authorize, &format!("\"{own}/authorize?v=3\"")),
            // Allowed, because the callback will tell.
            Some(4) => document.replace(&authorize, &format!("\"{other}/authorize?v=4\"")),
            Some(5) => document.replace(&authorize, "\"javascript:alert(1)//?v=5\""),
            Some(6) => {
                document.replace(&authorize, &format!("\"{own}/authorize?v=6&client_id=x\""))
            }
            Some(_) => document.replace(&authorize, &format!("\"{own}/authorize?v=7\"")),
        }
    }

    fn resource_metadata(&self, how: How) -> String {
        let of = |issuers: &str| {
            format!(
                r#"{{"resource":"{MCP}","authorization_servers":[{issuers}],"scopes_supported":["read"]}}"#
            )
        };
        let quoted = |issuer: usize| format!("\"{}\"", ISSUERS[issuer]);
        match how {
            How::Lie(lie @ 0..3) => of(&quoted(usize::from(lie))),
            How::Lie(3) => of(&quoted(0)).replace(MCP, "https://mcp.example/other"),
            How::Lie(4) => of(""),
            How::Lie(5) => of(&format!("{},{}", quoted(LIAR), quoted(0))),
            How::Lie(6) => of(&format!("\"{}\",\"{POISON}\"", ISSUERS[2])),
            _ => of(&quoted(self.named)),
        }
    }

    /// A request gets its answer, or none.
    pub(super) fn serve(&mut self, at: usize, send: SendRequest, how: How) {
        let request = copy(send.request());
        let url = request.uri().to_string();
        let to = server_of(&url);
        let event = match how {
            How::NeverSent => send.never_sent(),
            How::TooLarge => send.too_large(),
            How::Lost => {
                let _nobody_hears = self.reply(&request, &url, to, How::Honest);
                send.maybe_sent()
            }
            How::Busy(status) => {
                // It may have rotated a token before it fell over.
                let _nobody_hears = self.reply(&request, &url, to, How::Honest);
                send.response(response(status, &[("retry-after", "1")], "<html>busy"))
            }
            How::Redirected => {
                let location = format!("{ELSEWHERE}/token");
                send.response(response(307, &[("location", &location)], ""))
            }
            How::Garbage(0) => send.response(response(200, &[], "[[[[{\"issuer\":")),
            How::Garbage(_) => {
                let sentinel =
                    format!(r#"{{"access_token":["at~1~0"],"issuer":7,"x":"{POISON}"}}"#);
                send.response(response(
                    200,
                    &[("content-type", "application/json")],
                    &sentinel,
                ))
            }
            How::Misdelivered => return self.misdeliver(at, send),
            How::Refused(error) => {
                let error = ERRORS[usize::from(error) % ERRORS.len()];
                self.refused(&request, at, error);
                let text =
                    format!(r#"{{"error":"{error}","error_description":"{POISON}\u001b[31m"}}"#);
                let status = if error == "invalid_client" { 401 } else { 400 };
                send.response(response(status, &[], &text))
            }
            How::Honest | How::Lie(_) | How::Fails | How::Lies | How::Forgotten => {
                let (status, text) = self.reply(&request, &url, to, how);
                self.ledger.read(&url, &text);
                if matches!(status, 400 | 401) {
                    self.refused(&request, at, &text);
                }
                if status == 200 && url.ends_with("/token") {
                    self.ledger.granted(at, &text, self.now);
                }
                let json = [("content-type", "application/json")];
                send.response(response(status, &json, &text))
            }
        };
        self.tell(at, event);
    }

    fn refused(&mut self, request: &Request<bytes::Bytes>, at: usize, error: &str) {
        let form = body(request);
        if let Some(refresh) = get(&form, "refresh_token")
            && error.contains("invalid_grant")
            && let Some(token) = self.servers.refresh.iter_mut().find(|t| t.text == refresh)
        {
            token.dead = true;
        }
        self.ledger.refused(at, &form);
    }

    fn misdeliver(&mut self, at: usize, send: SendRequest) {
        let other = (at + 1) % self.instances.len();
        if other == at {
            return self.tell(at, send.maybe_sent());
        }
        self.facts.note("answer for another machine");
        // What only the moment changes, a clock put back for one, is not the answer's doing.
        self.tell(other, Event::Timer);
        let queued = |world: &Self| {
            let instance = &world.instances[other];
            (instance.actions.len(), instance.machine.phase())
        };
        let before = queued(self);
        let answer = send.response(response(200, &[], &self.metadata(0, None)));
        self.tell(other, answer);
        assert_eq!(
            before,
            queued(self),
            "S23: an answer for another machine was taken"
        );
    }

    fn reply(
        &mut self,
        request: &Request<bytes::Bytes>,
        url: &str,
        to: Option<usize>,
        how: How,
    ) -> (u16, String) {
        let lie = match (how, to) {
            (How::Lie(lie), Some(LIAR)) => Some(lie % LIES),
            _ => None,
        };
        match to {
            None => (200, self.resource_metadata(how)),
            Some(PROVIDER) if url.contains("/.well-known/") => {
                let document = metadata_of(PROVIDER_URL, "");
                (
                    200,
                    document.replace(r#"["none"]"#, r#"["client_secret_basic"]"#),
                )
            }
            Some(PROVIDER) => self.exchange(request),
            Some(server) if url.contains("/.well-known/") => (200, self.metadata(server, lie)),
            Some(server) if url.ends_with("/register") => self.register(server, lie),
            Some(server) if url.ends_with("/revoke") => {
                self.facts.note("revoked");
                let token = get(&body(request), "token");
                let known = self
                    .servers
                    .refresh
                    .iter()
                    .find(|t| Some(&t.text) == token.as_ref());
                if let Some(family) = known.map(|token| token.family) {
                    self.servers.end(family);
                }
                assert!(server != PROVIDER);
                (200, String::new())
            }
            Some(server) => self.token_endpoint(server, request, lie),
        }
    }

    fn exchange(&mut self, request: &Request<bytes::Bytes>) -> (u16, String) {
        self.facts.note("exchange");
        let audience = get(&body(request), "audience").unwrap_or_default();
        let jag = self.mint("jag", issuer_named(&audience));
        let answer = format!(
            r#"{{"access_token":"{jag}","issued_token_type":"{ID_JAG}","token_type":"N_A"}}"#
        );
        (200, answer)
    }

    fn register(&mut self, server: usize, lie: Option<u8>) -> (u16, String) {
        self.servers.registered[server] += 1;
        self.facts.note(match self.servers.registered[server] {
            1 => "registered",
            _ => "registered again",
        });
        let client = self.mint("cid", server);
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
            _ => format!(r#"{{"client_id":"{client}"}}"#),
        };
        (201, answer)
    }

    fn token_endpoint(
        &mut self,
        server: usize,
        request: &Request<bytes::Bytes>,
        lie: Option<u8>,
    ) -> (u16, String) {
        let form = body(request);
        let refused = (400, r#"{"error":"invalid_grant"}"#.to_owned());
        let client = client_of(request, &form);
        // A request that was made for another server, because the liar's document named this one.
        let known = ["cid", "pre"].map(|kind| format!("{kind}~{server}~"));
        let bound = self.ledger.bound() == Some(server) && client.starts_with("pre~9~");
        let workload = get(&form, "assertion").is_some();
        let is_own = known.iter().any(|known| client.starts_with(known.as_str()))
            || client == DOCUMENT
            || bound
            || workload;
        if server != LIAR && !is_own {
            return (401, r#"{"error":"invalid_client"}"#.to_owned());
        }
        let foreign =
            get(&form, "code").is_some_and(|code| !code.contains(&format!("code~{server}~")));
        if server != LIAR && !foreign {
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
            Some("refresh_token") => {
                let refresh = get(&form, "refresh_token").unwrap_or_default();
                match self.servers.rotate(&refresh, &client) {
                    Ok(family) => {
                        self.facts.note("refreshed");
                        family
                    }
                    Err(reused) => {
                        if reused {
                            self.facts.note("reused");
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
        let scope = match lie {
            Some(3) => format!(r#","scope":"{POISON} read""#),
            _ => String::new(),
        };
        let renews = get(&body(request), "refresh_token").is_some();
        // A server may keep the refresh token as it is (D05).
        if renews && self.minted.is_multiple_of(4) {
            self.facts.note("refreshed without a new refresh token");
            let refresh = get(&body(request), "refresh_token").unwrap_or_default();
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
