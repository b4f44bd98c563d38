//! Inputs at their limit, and one byte or one item beyond.

use http::{HeaderMap, HeaderValue};
use mcp_auth_machine::wire::callback::Callback;
use mcp_auth_machine::wire::challenge::parse;
use mcp_auth_machine::wire::scopes::Scopes;
use mcp_auth_machine::wire::url::{UrlFlaw, UrlPolicy};
use mcp_auth_machine::{Action, Event};

use crate::support::*;

const KIB: usize = 1024;

fn padded(text: &str, length: usize, with: &str) -> String {
    format!("{text}{}", with.repeat(length - text.len()))
}

fn header(line: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.append("www-authenticate", HeaderValue::from_str(line).unwrap());
    headers
}

#[test]
fn a_callback_has_16_kib_at_most() {
    for (length, read) in [(16 * KIB, true), (16 * KIB + 1, false)] {
        let mut host = Host::new(config());
        let redirect = host.to_redirect();
        let query = format!("code=c&state={}&x=", state_of(&redirect));
        let query = padded(&query, length, "a");
        host.handle(Event::CallbackParams(Callback::from_query(query)));
        let sent = matches!(host.actions.front(), Some(Action::SendRequest(_)));
        assert_eq!(sent, read, "{length}");
        assert_eq!(host.reported("callback_ignored"), usize::from(!read));
    }
}

#[test]
fn a_url_has_8_kib_at_most() {
    let (policy, _) = UrlPolicy::for_mcp_url(MCP).unwrap();
    let longest = padded(&format!("{AS}/"), 8 * KIB, "a");
    assert_eq!(policy.check(&longest).unwrap().as_str(), longest);
    let longer = format!("{longest}a");
    assert_eq!(policy.check(&longer).unwrap_err(), UrlFlaw::TooLong);
}

#[test]
fn a_list_of_scopes_has_8_kib_and_256_items_at_most() {
    let filling = |length: usize| format!("first {}", "x".repeat(length - "first ".len()));
    let full = filling(8 * KIB);
    assert_eq!(Scopes::parse(&full).as_str(), full);
    assert_eq!(Scopes::parse(&filling(8 * KIB + 1)).as_str(), "first");
    assert_eq!(Scopes::parse(&"x".repeat(8 * KIB)).len(), 1);
    assert!(Scopes::parse(&"x".repeat(8 * KIB + 1)).is_empty());
    let items: Vec<String> = (0..257).map(|number| format!("s{number}")).collect();
    assert_eq!(Scopes::parse(&items[..256].join(" ")).len(), 256);
    assert_eq!(
        Scopes::parse(&items.join(" ")).as_str(),
        items[..256].join(" ")
    );
}

#[test]
fn a_challenge_is_read_up_to_its_limits() {
    // A value of 8 KiB.
    for (length, read) in [(8 * KIB, true), (8 * KIB + 1, false)] {
        let headers = header(&format!(r#"Bearer realm="{}""#, "x".repeat(length)));
        assert_eq!(parse(&headers).challenges().len() == 1, read, "{length}");
    }
    // 16 KiB of the header: what is complete by then counts.
    let values = format!(r#"Bearer a="{0}", b="{0}", c=""#, "x".repeat(7 * KIB));
    for (length, read) in [(16 * KIB, 1), (16 * KIB + 1, 0)] {
        let headers = header(&format!("{}\"", padded(&values, length - 1, "x")));
        assert_eq!(parse(&headers).challenges().len(), read, "{length}");
    }
    // 32 challenges, and 64 parameters of each.
    for (sent, read) in [(32, 32), (33, 32)] {
        let headers = header(&vec!["Bearer"; sent].join(", "));
        assert_eq!(parse(&headers).challenges().len(), read, "{sent}");
    }
    for (sent, read) in [(64, 64), (65, 64)] {
        let sent: Vec<String> = (0..sent).map(|number| format!("p{number}=x")).collect();
        let headers = header(&format!("Bearer {}", sent.join(", ")));
        assert_eq!(parse(&headers).challenges()[0].parameters.len(), read);
    }
}

#[test]
fn a_body_has_256_kib_at_most() {
    for (length, read) in [(256 * KIB, true), (256 * KIB + 1, false)] {
        let body = |text: &str| padded(text, length, " ");
        let mut host = Host::new(config());
        host.ask(&announcing());
        host.serve(PRM, 200, &body(&prm()));
        assert_eq!(host.request().request().uri() == META, read, "{length}");
        let mut host = Host::new(config());
        host.discover(&prm(), &metadata());
        let answer = body(r#"{"client_id":"dyn-1"}"#);
        host.serve(REGISTER, 201, &answer);
        assert_eq!(matches!(host.next(), Action::Redirect(_)), read, "{length}");
        let mut host = Host::new(config());
        let redirect = host.to_redirect();
        host.callback(&format!("code=c&state={}", state_of(&redirect)));
        host.serve(TOKEN, 200, &body(&token_answer("at-1")));
        assert_eq!(matches!(host.next(), Action::Ready(_)), read, "{length}");
    }
}
