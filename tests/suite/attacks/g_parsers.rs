//! Documents that are no documents, at every place where one is read (1.G).

use mcp_auth_machine::error::{Cause, Unreachable};
use mcp_auth_machine::wire::json::MAX_BODY_BYTES;
use mcp_auth_machine::{Event, Failure};

use super::*;

const PLACES: [&str; 4] = ["resource", "server", "registration", "token"];

/// Up to the request for this document.
fn before(place: &str) -> Host {
    let mut host = Host::new(config());
    asked(&mut host);
    if place == "resource" {
        return host;
    }
    host.serve(PRM, 200, &prm());
    if place == "server" {
        return host;
    }
    host.serve(META, 200, &metadata());
    if place == "registration" {
        return host;
    }
    host.serve(REGISTER, 201, r#"{"client_id":"dyn-1"}"#);
    let redirect = host.redirect();
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    host
}

/// An honest answer at this place.
fn good(place: &str) -> String {
    match place {
        "resource" => prm(),
        "server" => metadata(),
        "registration" => r#"{"client_id":"dyn-1"}"#.to_owned(),
        _ => token_answer("at-1"),
    }
}

/// The answer everywhere that is asked from here on; how it ends.
fn ends(place: &str, body: &[u8], content_type: &str) -> Result<Host, Failure> {
    let mut host = before(place);
    let first = host.request();
    let purpose = first.purpose();
    let status = if place == "registration" { 201 } else { 200 };
    let answer = || {
        let mut answer = response(status, &[("content-type", content_type)], "");
        *answer.body_mut() = bytes::Bytes::copy_from_slice(body);
        answer
    };
    host.handle(first.response(answer()));
    loop {
        match host.next() {
            Action::SendRequest(send) if send.purpose() == purpose => {
                host.handle(send.response(answer()));
            }
            Action::Error(failure) => {
                host.quiet();
                assert_eq!(host.token(), None);
                return Err(*failure);
            }
            _ => return Ok(host),
        }
    }
}

#[track_caller]
fn refused_everywhere(what: &str, make: impl Fn(&str) -> Vec<u8>) {
    for place in PLACES {
        let cause = ends(place, &make(&good(place)), "application/json").err();
        assert!(cause.is_some(), "{what} as {place}");
    }
}

#[test]
fn g01_g02_large_and_deep_documents_are_refused_before_they_are_read() {
    refused_everywhere("padded", |good| {
        [good.as_bytes(), &vec![b' '; MAX_BODY_BYTES]].concat()
    });
    let deep = |good: &str, open: &str, close: &str, depth: usize| {
        let inside = format!(r#","x":{}1{}}}"#, open.repeat(depth), close.repeat(depth));
        [good.trim_end_matches('}'), inside.as_str()]
            .concat()
            .into_bytes()
    };
    refused_everywhere("deep arrays", |good| deep(good, "[", "]", 100_000));
    refused_everywhere("deep objects", |good| deep(good, "{\"a\":", "}", 40_000));
    refused_everywhere("33 deep", |good| deep(good, "[", "]", 33));
    refused_everywhere("a million brackets", |_| vec![b'['; 1_000_000]);
    for place in PLACES {
        let within = deep(&good(place), "[", "]", 31);
        assert!(ends(place, &within, "application/json").is_ok(), "{place}");
        // Brackets in a text are no nesting.
        let text = format!(r#","x":"{}"}}"#, "[\\\"{".repeat(1_000));
        let text = [good(place).trim_end_matches('}'), text.as_str()].concat();
        assert!(
            ends(place, text.as_bytes(), "application/json").is_ok(),
            "{place}"
        );
    }
}

#[test]
fn g03_g05_a_member_has_one_value_of_one_type() {
    for (place, member, value) in [
        ("resource", "resource", r#""https://mcp.example/mcp""#),
        ("server", "issuer", r#""https://as.example""#),
        (
            "server",
            "token_endpoint",
            r#""https://evil.example/token""#,
        ),
        ("registration", "client_id", r#""dyn-2""#),
        ("token", "access_token", r#""at-2""#),
    ] {
        let good = good(place);
        let twice = format!(r#"{{"{member}":{value},{}"#, &good[1..]);
        assert!(
            ends(place, twice.as_bytes(), "application/json").is_err(),
            "{member} twice"
        );
    }
    let wrong = [
        "7",
        "true",
        "[]",
        "{}",
        "[\"x\"]",
        "{\"x\":1}",
        "null",
        "\"\"",
        "1e400",
    ];
    for (place, member) in [
        ("resource", r#""resource":"https://mcp.example/mcp""#),
        (
            "resource",
            r#""authorization_servers":["https://as.example"]"#,
        ),
        ("server", r#""issuer":"https://as.example""#),
        ("server", r#""token_endpoint":"https://as.example/token""#),
        ("server", r#""code_challenge_methods_supported":["S256"]"#),
        ("registration", r#""client_id":"dyn-1""#),
        ("token", r#""access_token":"at-1""#),
    ] {
        let name = member.split(':').next().unwrap();
        for value in wrong {
            let changed = good(place).replace(member, &format!("{name}:{value}"));
            assert_ne!(changed, good(place));
            let ended = ends(place, changed.as_bytes(), "application/json");
            assert!(ended.is_err(), "{name} {value}");
        }
    }
    // `authorization_servers` as a text, or of things that are no texts.
    for value in [
        r#""https://as.example""#,
        "[{\"issuer\":\"https://as.example\"}]",
        "[7,true,null]",
    ] {
        let document = prm().replace(r#"["https://as.example"]"#, value);
        assert!(ends("resource", document.as_bytes(), "application/json").is_err());
    }
    // Booleans as texts are not set; what is unknown is passed over.
    let lax = metadata_with(r#","authorization_response_iss_parameter_supported":"true","x":[{}]"#);
    assert!(ends("server", lax.as_bytes(), "application/json").is_ok());
}

#[test]
fn g06_utf_8_and_nothing_else() {
    let utf_16 = |text: &str, bytes: fn(u16) -> [u8; 2]| -> Vec<u8> {
        text.encode_utf16().flat_map(bytes).collect()
    };
    refused_everywhere("with two marks", |good| {
        [b"\xef\xbb\xbf\xef\xbb\xbf", good.as_bytes()].concat()
    });
    refused_everywhere("with a mark inside", |good| {
        [b" \xef\xbb\xbf", good.as_bytes()].concat()
    });
    refused_everywhere("UTF-16", |good| utf_16(good, u16::to_le_bytes));
    refused_everywhere("UTF-16 with a mark", |good| {
        utf_16(&format!("\u{feff}{good}"), u16::to_be_bytes)
    });
    let with = |good: &str, text: &[u8]| {
        [
            good.trim_end_matches('}').as_bytes(),
            b",\"x\":\"",
            text,
            b"\"}",
        ]
        .concat()
    };
    refused_everywhere("overlong", |good| with(good, b"\xc0\xaf"));
    refused_everywhere("a lone surrogate in bytes", |good| {
        with(good, b"\xed\xa0\x80")
    });
    refused_everywhere("cut off", |good| with(good, b"\xe2\x82"));
    refused_everywhere("a raw NUL", |good| with(good, b"\0"));
    // In a member that is read, a lone surrogate is invalid.
    let token = br#"{"access_token":"at\ud800","token_type":"Bearer"}"#;
    assert!(ends("token", token, "application/json").is_err());
    let nul = br#"{"access_token":"at\u0000","token_type":"Bearer"}"#;
    assert!(ends("token", nul, "application/json").is_err());
}

#[test]
fn g08_a_page_is_no_document_whatever_it_says_it_is() {
    for page in [
        "<html><body>Sign in to this network</body></html>",
        "",
        "ok",
        "[]",
        "null",
        "\"{}\"",
    ] {
        for content_type in ["text/html", "application/json"] {
            for place in PLACES {
                let failure = ends(place, page.as_bytes(), content_type).err();
                let failure = failure.unwrap_or_else(|| panic!("{page} as {place}"));
                assert!(!format!("{failure:?} {failure}").contains("Sign in to"));
            }
        }
    }
    // The body decides (DISC-08): servers label JSON in many ways.
    for place in PLACES {
        assert!(
            ends(place, good(place).as_bytes(), "text/html").is_ok(),
            "{place}"
        );
    }
}

#[test]
fn g07_a_server_that_never_answers_times_out() {
    for place in PLACES {
        let mut host = before(place);
        let mut waited = 0;
        let mut late = Vec::new();
        let failure = loop {
            match host.actions.pop_front() {
                Some(Action::SendRequest(send)) => late.push(send),
                Some(Action::Error(failure)) => break failure,
                Some(other) => panic!("{other:?}"),
                None => waited += host.wake(),
            }
        };
        assert!(waited <= 60_000, "{place}: {waited}");
        let spent = Cause::Unreachable(Unreachable {
            code_spent: place == "token",
            retry_at: None,
        });
        assert_eq!(failure.cause, spent, "{place}");
        for send in late {
            host.handle(send.response(response(200, &[], &good(place))));
        }
        host.quiet();
        assert_eq!(host.token(), None);
    }
    // Drop by drop: the whole of a flow has an end as well.
    let mut host = before("resource");
    let started = host.now.mono.0;
    loop {
        match host.actions.pop_front() {
            Some(Action::SendRequest(send)) => {
                host.pass(9_999);
                host.handle(send.response(response(302, &[("location", "/again")], "")));
            }
            Some(Action::Error(_)) => break,
            Some(other) => panic!("{other:?}"),
            None => {
                host.wake();
            }
        }
        host.handle(Event::Timer);
    }
    assert!(host.now.mono.0 - started <= 70_000);
}
