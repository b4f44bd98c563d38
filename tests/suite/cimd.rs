//! Client ID metadata documents: REG-06 to REG-13, AUTHZ-09, SEC-24.

use mcp_auth_machine::client_metadata::{
    ClientAuthentication, ClientMetadataDocument, ClientMetadataDocumentBuilder,
    ClientMetadataFlaw, ClientMetadataUrl, ClientMetadataUrlFlaw, GrantType, LoopbackHost,
    MAX_DOCUMENT_BYTES, PublicKeys,
};
use mcp_auth_machine::config::{ApplicationType, RedirectUri, RedirectUriFlaw};
use serde_json::{Value, json};

const URL: &str = "https://app.example/oauth/client.json";

fn url(text: &str) -> ClientMetadataUrl {
    ClientMetadataUrl::new(text).unwrap()
}

fn desktop() -> ClientMetadataDocumentBuilder {
    ClientMetadataDocument::builder(url(URL), "Example Desktop").loopback_redirect_uris(
        LoopbackHost::Ipv4,
        33418,
        "/callback",
    )
}

fn json_of(builder: ClientMetadataDocumentBuilder) -> Value {
    serde_json::from_str(&builder.build().unwrap().to_json()).unwrap()
}

fn flaw_of(builder: ClientMetadataDocumentBuilder) -> ClientMetadataFlaw {
    builder.build().unwrap_err()
}

#[test]
fn reg_06_url_is_judged_at_construction() {
    use ClientMetadataUrlFlaw::*;
    for (text, flaw) in [
        ("http://app.example/client.json", Scheme),
        ("ftp://app.example/client.json", Scheme),
        ("app.example/client.json", NotAbsolute),
        ("https:app.example/client.json", NotAbsolute),
        ("https:///client.json", NotAbsolute),
        ("https://app.example:0/client.json", NotAbsolute),
        ("https://app.example:99999/client.json", NotAbsolute),
        ("https://app%2eexample/client.json", NotAbsolute),
        ("https://app.example", NoPath),
        ("https://app.example/", NoPath),
        ("https://app.example?a/b", NoPath),
        ("https://app.example/?a", NoPath),
        ("https://app.example/./client.json", DotSegment),
        ("https://app.example/a/../client.json", DotSegment),
        ("https://app.example/a/%2e%2E/client.json", DotSegment),
        ("https://app.example/a/.%2e/client.json", DotSegment),
        ("https://app.example/a/%2E", DotSegment),
        ("https://app.example/client.json#", Fragment),
        ("https://app.example/client.json#part", Fragment),
        ("https://user@app.example/client.json", UserInfo),
        ("https://user:pass@app.example/client.json", UserInfo),
        ("https://@app.example/client.json", UserInfo),
        ("https://app.example/client json", Character),
        ("https://app.example/client.json\n", Character),
        ("https://app.example\\client.json", Character),
        ("https://app.example/%zz", Character),
        ("https://app.example/%2", Character),
        ("https://äpp.example/client.json", Character),
    ] {
        assert_eq!(ClientMetadataUrl::new(text), Err(flaw), "{text}");
    }
    let origin = "https://app.example/";
    let longest = format!("{origin}{}", "a".repeat(8 * 1024 - origin.len()));
    assert!(ClientMetadataUrl::new(&longest).is_ok());
    assert_eq!(ClientMetadataUrl::new(&format!("{longest}a")), Err(TooLong));
}

#[test]
fn reg_06_exact_text_is_kept() {
    for text in [
        URL,
        "https://App.Example:443/Client",
        "https://app.example:8443/client.json",
        "https://app.example/a/",
        "https://app.example/...",
        "https://app.example/a%2Fb",
        "https://app.example/c?v=1",
        "https://conformance-test.local/client-metadata.json",
    ] {
        let url = url(text);
        assert_eq!(url.as_str(), text);
        assert_eq!(url.to_string(), text);
        assert_eq!(url.has_query(), text.contains('?'));
        let document = ClientMetadataDocument::builder(url, "x")
            .redirect_uris(["https://app.example/callback"])
            .build()
            .unwrap();
        let json: Value = serde_json::from_str(&document.to_json()).unwrap();
        assert_eq!(json["client_id"], text);
        assert_eq!(document.url().as_str(), text);
    }
}

#[test]
fn reg_07_least_document() {
    assert_eq!(
        json_of(desktop()),
        json!({
            "client_id": URL,
            "client_name": "Example Desktop",
            "redirect_uris": ["http://127.0.0.1:33418/callback", "http://127.0.0.1/callback"],
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
            "token_endpoint_auth_methods_supported": ["none"],
            "application_type": "native",
        })
    );
}

#[test]
fn reg_07_optional_members() {
    let json = json_of(
        desktop()
            .client_uri("https://app.example/")
            .logo_uri("https://app.example/logo.png")
            .policy_uri("https://app.example/privacy")
            .tos_uri("https://app.example/terms")
            .scope("files:read  files:write")
            .contacts(["security@app.example"])
            .grant_types([GrantType::AuthorizationCode, GrantType::AuthorizationCode]),
    );
    assert_eq!(json["client_uri"], "https://app.example/");
    assert_eq!(json["logo_uri"], "https://app.example/logo.png");
    assert_eq!(json["policy_uri"], "https://app.example/privacy");
    assert_eq!(json["tos_uri"], "https://app.example/terms");
    assert_eq!(json["scope"], "files:read files:write");
    assert_eq!(json["contacts"], json!(["security@app.example"]));
    assert_eq!(json["grant_types"], json!(["authorization_code"]));
}

#[test]
fn reg_07_members_are_judged() {
    let nameless = |name: &str| {
        flaw_of(
            ClientMetadataDocument::builder(url(URL), name)
                .redirect_uris(["https://app.example/cb"]),
        )
    };
    assert_eq!(nameless(""), ClientMetadataFlaw::ClientName);
    assert_eq!(nameless("a\u{1b}[31m"), ClientMetadataFlaw::ClientName);
    assert_eq!(
        flaw_of(ClientMetadataDocument::builder(url(URL), "x")),
        ClientMetadataFlaw::NoRedirectUri
    );
    assert_eq!(
        flaw_of(desktop().grant_types([])),
        ClientMetadataFlaw::NoGrantType
    );
    assert_eq!(flaw_of(desktop().scope("a\"b")), ClientMetadataFlaw::Scope);
    assert_eq!(flaw_of(desktop().scope(" ")), ClientMetadataFlaw::Scope);
    assert_eq!(
        flaw_of(desktop().contacts([""])),
        ClientMetadataFlaw::Contact
    );
}

#[test]
fn reg_08_client_id_is_the_url() {
    let text = "https://App.example:443/Client?x=%7e";
    let json =
        json_of(ClientMetadataDocument::builder(url(text), "x").redirect_uris(["https://a/b"]));
    assert_eq!(json["client_id"], text);
}

#[test]
fn reg_09_no_shared_secret_can_be_written() {
    for authentication in [
        ClientAuthentication::None,
        ClientAuthentication::PrivateKeyJwt(PublicKeys::JwksUri("https://app.example/jwks".into())),
        ClientAuthentication::PrivateKeyJwt(PublicKeys::Jwks(
            json!({"keys": [{"kty": "EC", "crv": "P-256", "x": "x", "y": "y"}]}).to_string(),
        )),
    ] {
        let json = json_of(desktop().authentication(authentication));
        let method = json["token_endpoint_auth_method"].as_str().unwrap();
        assert!(matches!(method, "none" | "private_key_jwt"));
        assert!(json.get("client_secret").is_none());
        assert!(json.get("client_secret_expires_at").is_none());
    }
}

#[test]
fn reg_09_no_secret_key_can_be_published() {
    for key in [
        json!({"kty": "EC", "crv": "P-256", "x": "x", "y": "y", "d": "secret"}),
        json!({"kty": "RSA", "n": "n", "e": "AQAB", "p": "secret"}),
        json!({"kty": "oct", "kid": "1"}),
        json!({"kty": "OKP", "crv": "Ed25519", "x": "x", "k": "secret"}),
    ] {
        let set = json!({"keys": [{"kty": "EC", "crv": "P-256", "x": "x", "y": "y"}, key]});
        let keys = PublicKeys::Jwks(set.to_string());
        let flaw = flaw_of(desktop().authentication(ClientAuthentication::PrivateKeyJwt(keys)));
        assert_eq!(flaw, ClientMetadataFlaw::SecretKey);
    }
}

#[test]
fn reg_10_methods_are_listed() {
    let keys = PublicKeys::JwksUri("https://app.example/jwks".into());
    let json = json_of(desktop().authentication(ClientAuthentication::PrivateKeyJwt(keys)));
    assert_eq!(json["token_endpoint_auth_method"], "private_key_jwt");
    assert_eq!(
        json["token_endpoint_auth_methods_supported"],
        json!(["private_key_jwt"])
    );
}

#[test]
fn reg_11_keys_by_reference_or_by_value() {
    let reference = PublicKeys::JwksUri("https://app.example/jwks".into());
    let json = json_of(desktop().authentication(ClientAuthentication::PrivateKeyJwt(reference)));
    assert_eq!(json["jwks_uri"], "https://app.example/jwks");
    assert!(json.get("jwks").is_none());

    let set = json!({"keys": [{"kty": "EC", "crv": "P-256", "x": "x", "y": "y", "kid": "1"}]});
    let value = PublicKeys::Jwks(set.to_string());
    let json = json_of(desktop().authentication(ClientAuthentication::PrivateKeyJwt(value)));
    assert_eq!(json["jwks"], set);
    assert!(json.get("jwks_uri").is_none());

    for text in [
        "",
        "[]",
        "{}",
        r#"{"keys":[]}"#,
        r#"{"keys":[1]}"#,
        r#"{"keys":[{}]}"#,
    ] {
        let keys = PublicKeys::Jwks(text.into());
        let flaw = flaw_of(desktop().authentication(ClientAuthentication::PrivateKeyJwt(keys)));
        assert_eq!(flaw, ClientMetadataFlaw::KeySet, "{text}");
    }
}

#[test]
fn reg_12_size_limit() {
    let padded = |extra: usize| desktop().contacts(["c".repeat(extra)]);
    let start = padded(1).build().unwrap().to_json().len();
    let room = MAX_DOCUMENT_BYTES - start + 1;
    assert_eq!(
        padded(room).build().unwrap().to_json().len(),
        MAX_DOCUMENT_BYTES
    );
    assert_eq!(
        flaw_of(padded(room + 1)),
        ClientMetadataFlaw::TooLarge {
            bytes: MAX_DOCUMENT_BYTES + 1
        }
    );
}

#[test]
fn reg_13_listed_redirect_uris() {
    let document = desktop()
        .loopback_redirect_uris(LoopbackHost::Localhost, 33418, "/callback")
        .build()
        .unwrap();
    for (text, listed) in [
        ("http://127.0.0.1:33418/callback", true),
        ("http://127.0.0.1:50000/callback", true),
        ("http://127.0.0.1/callback", true),
        ("http://127.0.0.1:50000/other", false),
        ("http://127.0.0.1:50000/callback?x=1", false),
        ("http://127.0.0.2:33418/callback", false),
        ("https://127.0.0.1:33418/callback", false),
        ("http://[::1]:33418/callback", false),
        ("http://localhost:33418/callback", true),
        ("http://localhost:50000/callback", false),
        ("http://localhost/callback", false),
        ("https://app.example/callback", false),
    ] {
        let uri = RedirectUri::new(text).unwrap();
        assert_eq!(document.lists(&uri), listed, "{text}");
    }
}

#[test]
fn an_ipv6_literal_is_listed_on_any_port_too() {
    let document = ClientMetadataDocument::builder(url(URL), "Example Desktop")
        .redirect_uris(["http://[::1]/callback"])
        .build()
        .unwrap();
    for (text, listed) in [
        ("http://[::1]/callback", true),
        ("http://[::1]:50000/callback", true),
        ("http://[::1]:50000/other", false),
        ("http://127.0.0.1:50000/callback", false),
    ] {
        let uri = RedirectUri::new(text).unwrap();
        assert_eq!(document.lists(&uri), listed, "{text}");
    }
}

#[test]
fn reg_13_redirect_uris_are_judged_and_listed_once() {
    assert_eq!(
        flaw_of(desktop().redirect_uris(["http://app.example/cb"])),
        ClientMetadataFlaw::RedirectUri {
            uri: "http://app.example/cb".into(),
            flaw: RedirectUriFlaw::Scheme,
        }
    );
    assert_eq!(
        flaw_of(desktop().loopback_redirect_uris(LoopbackHost::Ipv4, 0, "/cb")),
        ClientMetadataFlaw::RedirectPort {
            uri: "http://127.0.0.1:0/cb".into()
        }
    );
    let json = json_of(desktop().redirect_uris(["http://127.0.0.1/callback"]));
    assert_eq!(
        json["redirect_uris"],
        json!([
            "http://127.0.0.1:33418/callback",
            "http://127.0.0.1/callback"
        ])
    );
    let json = json_of(desktop().private_use_redirect_uri("com.example.app:/callback"));
    assert_eq!(json["redirect_uris"][2], "com.example.app:/callback");
}

#[test]
fn reg_20_application_type_is_derived_or_set() {
    let web = || {
        ClientMetadataDocument::builder(url(URL), "x")
            .redirect_uris(["https://app.example/callback"])
    };
    assert_eq!(json_of(web())["application_type"], "web");
    let claimed = web().application_type(ApplicationType::Native);
    assert_eq!(json_of(claimed)["application_type"], "native");
    let mixed = || web().redirect_uris(["http://127.0.0.1/callback"]);
    assert_eq!(flaw_of(mixed()), ClientMetadataFlaw::MixedApplicationTypes);
    let settled = mixed().application_type(ApplicationType::Native);
    assert_eq!(json_of(settled)["application_type"], "native");
}

#[test]
fn authz_09_loopback_forms() {
    let listed = |host| {
        let document = ClientMetadataDocument::builder(url(URL), "x");
        json_of(document.loopback_redirect_uris(host, 3118, "cb"))["redirect_uris"].clone()
    };
    assert_eq!(
        listed(LoopbackHost::Ipv4),
        json!(["http://127.0.0.1:3118/cb", "http://127.0.0.1/cb"])
    );
    assert_eq!(
        listed(LoopbackHost::Ipv6),
        json!(["http://[::1]:3118/cb", "http://[::1]/cb"])
    );
    assert_eq!(
        listed(LoopbackHost::Localhost),
        json!(["http://localhost:3118/cb"])
    );
}

#[test]
fn sec_24_links_are_https() {
    type Set = fn(ClientMetadataDocumentBuilder, &str) -> ClientMetadataDocumentBuilder;
    let cases: [(&str, Set); 4] = [
        ("client_uri", |b, u| b.client_uri(u)),
        ("logo_uri", |b, u| b.logo_uri(u)),
        ("policy_uri", |b, u| b.policy_uri(u)),
        ("tos_uri", |b, u| b.tos_uri(u)),
    ];
    for (member, set) in cases {
        for (text, flaw) in [
            ("javascript:alert(1)", ClientMetadataUrlFlaw::NotAbsolute),
            ("javascript://x/%0aalert(1)", ClientMetadataUrlFlaw::Scheme),
            ("data:text/html,x", ClientMetadataUrlFlaw::NotAbsolute),
            ("file:///etc/passwd", ClientMetadataUrlFlaw::Scheme),
            ("http://app.example/", ClientMetadataUrlFlaw::Scheme),
            ("https://a@app.example/", ClientMetadataUrlFlaw::UserInfo),
            ("https://app.example/ x", ClientMetadataUrlFlaw::Character),
        ] {
            assert_eq!(
                flaw_of(set(desktop(), text)),
                ClientMetadataFlaw::Link { member, flaw },
                "{member} {text}"
            );
        }
    }
    let keys = PublicKeys::JwksUri("http://app.example/jwks".into());
    assert_eq!(
        flaw_of(desktop().authentication(ClientAuthentication::PrivateKeyJwt(keys))),
        ClientMetadataFlaw::Link {
            member: "jwks_uri",
            flaw: ClientMetadataUrlFlaw::Scheme
        }
    );
}
