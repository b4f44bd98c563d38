//! The boundary to the host: answers that do not belong, secrets that must not show, URLs that must
//! not be contacted.

use std::net::{Ipv4Addr, Ipv6Addr};

use mcp_auth_machine::action::{Purpose, UrlSource};
use mcp_auth_machine::config::IssuerSettings;
use mcp_auth_machine::error::{Cause, StoreFlaw};
use mcp_auth_machine::slot::SlotContents;
use mcp_auth_machine::wire::address::{AddressClass, classify_ip, classify_v4, classify_v6};
use mcp_auth_machine::wire::callback::{BrowserBinding, Callback};
use mcp_auth_machine::wire::form::{FormFlaw, pairs};
use mcp_auth_machine::wire::http_fields::{freshness, retry_after};
use mcp_auth_machine::wire::pkce::{Seed, State, Verifier};
use mcp_auth_machine::wire::url::{UrlFlaw, UrlPolicy};
use mcp_auth_machine::{Action, AuthMachine, Config, Event, Phase};
use proptest::prelude::*;

use crate::support::*;

#[test]
fn h03_s23_an_answer_to_another_machine_changes_nothing() {
    let mut one = Host::new(config());
    let mut two = Host::new(config());
    for host in [&mut one, &mut two] {
        host.ask(&announcing());
    }
    let (mine, other) = (one.request(), two.request());
    assert_eq!(mine.id(), other.id());
    one.handle(other.response(response(200, &[], &prm())));
    one.quiet();
    one.handle(mine.response(response(200, &[], &prm())));
    one.request();
}

#[test]
fn h02_s23_a_late_answer_changes_nothing() {
    let mut host = Host::new(config());
    host.ask("Bearer");
    let late = host.request();
    host.pass(10_000);
    host.handle(Event::Timer);
    let next = host.request();
    host.handle(late.response(response(200, &[], &prm())));
    host.quiet();
    host.handle(next.response(response(200, &[], &prm())));
    host.request();
}

#[test]
fn h05_l03_s51_every_wait_has_an_end() {
    // A store that never answers.
    let config = config().build().unwrap();
    let now = mcp_auth_testing::moment(1_800_000_000_000, 5_000_000);
    let mut machine = AuthMachine::new(config, "alice", now);
    assert!(matches!(machine.poll_action(), Some(Action::LoadSlot(_))));
    assert_eq!(machine.phase(), Phase::Working("loading_account"));
    let due = machine.deadline().unwrap();
    // From now on, not from the beginning of the process (S51).
    assert_eq!(due.0, 5_030_000);
    machine.handle(
        mcp_auth_testing::moment(1_800_000_000_000, due.0),
        Event::Timer,
    );
    let Some(Action::Error(failure)) = machine.poll_action() else {
        panic!()
    };
    assert_eq!(failure.cause, Cause::NotPersisted(StoreFlaw::Load));
    assert_eq!(machine.phase(), Phase::Resting);
    assert_eq!(machine.deadline(), None);
}

#[test]
fn sec_15_a_timer_that_is_early_changes_nothing() {
    let mut host = Host::new(config());
    host.ask("Bearer");
    let send = host.request();
    host.pass(9_999);
    host.handle(Event::Timer);
    host.quiet();
    host.handle(send.response(response(200, &[], &prm())));
    host.request();
}

#[test]
fn sec_16_requests_of_one_flow_are_counted() {
    let mut host = Host::new(config().max_requests(1));
    host.discover_prm_only();
    assert!(matches!(host.error().cause, Cause::OutOfPatience(_)));
}

#[test]
fn sec_06_f05_requests_say_where_they_may_connect() {
    let mut host = Host::new(config());
    host.ask(&announcing());
    let own = host.request();
    assert_eq!(own.request().uri().host(), Some("mcp.example"));
    host.handle(own.response(response(200, &[], &prm())));
    let announced = host.request();
    assert_eq!(announced.request().uri().host(), Some("as.example"));
    for class in [
        AddressClass::Loopback,
        AddressClass::Private,
        AddressClass::LinkLocal,
        AddressClass::CloudMetadata,
        AddressClass::Reserved,
    ] {
        let announced = announced.addresses();
        assert!(announced.permits(AddressClass::Public));
        assert!(!announced.permits(class), "{class:?}");
    }
}

#[test]
fn sec_06_requests_say_what_they_are_for_and_who_named_the_url() {
    let mut host = Host::new(config());
    host.ask("Bearer");
    let mut seen = Vec::new();
    let answers = [
        (404, String::new()),
        (200, prm()),
        (
            200,
            metadata_with(r#","revocation_endpoint":"https://as.example/revoke""#),
        ),
        (201, r#"{"client_id":"c"}"#.to_owned()),
    ];
    let mut answer = |host: &mut Host, status: u16, text: &str| {
        let send = host.request();
        seen.push((send.purpose(), send.supplied_by()));
        host.handle(send.response(response(status, &[], text)));
    };
    for (status, text) in answers {
        answer(&mut host, status, &text);
    }
    let redirect = host.redirect();
    host.callback(&format!("code=c&state={}", state_of(&redirect)));
    answer(&mut host, 200, &token_answer("at-1"));
    host.ready();
    host.handle(Event::SignedOut);
    answer(&mut host, 200, "");
    // The same place, when the MCP server names it.
    let mut host = Host::new(config());
    host.ask(&announcing());
    answer(&mut host, 200, &prm());
    let wanted = [
        (Purpose::ResourceMetadata, UrlSource::Host),
        (Purpose::ResourceMetadata, UrlSource::Host),
        (Purpose::ServerMetadata, UrlSource::McpServer),
        (Purpose::Registration, UrlSource::AuthorizationServer),
        (Purpose::Token, UrlSource::AuthorizationServer),
        (Purpose::Revocation, UrlSource::AuthorizationServer),
        (Purpose::ResourceMetadata, UrlSource::McpServer),
    ];
    assert_eq!(seen, wanted);
}

/// Whether a type has an ordinary comparison.
struct Compares<T>(std::marker::PhantomData<T>);

trait Not {
    const EQUAL: bool = false;
}

impl<T> Not for Compares<T> {}

impl<T: PartialEq> Compares<T> {
    const EQUAL: bool = true;
}

#[test]
fn sec_33_secrets_have_no_ordinary_comparison() {
    let compared = [
        Compares::<mcp_auth_machine::Secret>::EQUAL,
        Compares::<State>::EQUAL,
        Compares::<Verifier>::EQUAL,
        Compares::<Seed>::EQUAL,
        Compares::<Callback>::EQUAL,
        Compares::<BrowserBinding>::EQUAL,
    ];
    assert_eq!(compared, [false; 6]);
    let text = [Compares::<String>::EQUAL];
    assert_eq!(text, [true], "a comparison would be seen");
    // Where there is one, it looks at every character.
    let state = |text: &str| State::from_text(text).unwrap();
    let own = "ABCDEFGHIJKLMNOPQRSTUV";
    assert!(state(own).same(&state(own)));
    assert_eq!(SlotContents::new(own), SlotContents::new(own));
    for at in 0..own.len() {
        let mut other = own.to_owned().into_bytes();
        other[at] = b'x';
        let other = String::from_utf8(other).unwrap();
        assert!(!state(own).same(&state(&other)), "{at}");
        assert_ne!(SlotContents::new(own), SlotContents::new(other), "{at}");
    }
}

#[test]
fn authz_11_the_opened_url_has_a_largest_size() {
    for (length, opened) in [(31 * 1024, true), (33 * 1024, false)] {
        let settings = IssuerSettings::new()
            .authorization_parameter("hint", &"x".repeat(length))
            .unwrap();
        let mut host = Host::new(config().issuer_settings(AS, settings));
        host.discover(&prm(), &metadata());
        host.serve(REGISTER, 201, r#"{"client_id":"c"}"#);
        let action = host.next();
        assert_eq!(matches!(action, Action::Redirect(_)), opened, "{length}");
        host.quiet();
    }
}

#[test]
fn sec_01_sec_04_sec_05_f03_f04_f08_f12_f14_urls_that_are_refused() {
    let (policy, _) = UrlPolicy::for_mcp_url("https://mcp.example/mcp").unwrap();
    for (url, flaw) in [
        ("http://as.example/", UrlFlaw::Scheme),
        ("ftp://as.example/", UrlFlaw::Scheme),
        ("as.example", UrlFlaw::NotAbsolute),
        ("//as.example/x", UrlFlaw::NotAbsolute),
        ("https:as.example", UrlFlaw::NotAbsolute),
        ("https:///as.example", UrlFlaw::NotAbsolute),
        ("https://good@evil.example/", UrlFlaw::UserInfo),
        ("https://as.example/#f", UrlFlaw::Fragment),
        ("https://as.example\\@evil.example/", UrlFlaw::Character),
        ("https://as.example/a b", UrlFlaw::Character),
        ("https://as.example/\u{e9}", UrlFlaw::Character),
        ("https://as.example/%zz", UrlFlaw::Character),
        ("https://ev%69l.example/", UrlFlaw::Character),
        ("https://as.example:0/", UrlFlaw::Port),
        ("https://as.example:99999/", UrlFlaw::NotAbsolute),
        ("https://[::1%25eth0]/", UrlFlaw::Character),
    ] {
        assert_eq!(policy.check(url), Err(flaw), "{url}");
    }
    for (host, class) in [
        ("127.0.0.1", AddressClass::Loopback),
        ("2130706433", AddressClass::Loopback),
        ("0x7f.1", AddressClass::Loopback),
        ("0177.0.0.1", AddressClass::Loopback),
        ("localhost", AddressClass::Loopback),
        ("localhost.", AddressClass::Loopback),
        ("a.localhost", AddressClass::Loopback),
        ("[::1]", AddressClass::Loopback),
        ("[::ffff:127.0.0.1]", AddressClass::Loopback),
        ("10.1.2.3", AddressClass::Private),
        ("172.31.0.1", AddressClass::Private),
        ("192.168.1.1", AddressClass::Private),
        ("100.64.0.1", AddressClass::Private),
        ("[fd12::1]", AddressClass::Private),
        ("[::ffff:10.0.0.1]", AddressClass::Private),
        ("[64:ff9b::a00:1]", AddressClass::Private),
        ("[64:ff9b:1::a00:5]", AddressClass::Private),
        ("[fec0::1]", AddressClass::Private),
        ("[::10.0.0.1]", AddressClass::Private),
        ("[2002:a00:1::]", AddressClass::Private),
        ("169.254.169.254", AddressClass::LinkLocal),
        ("[fe80::1]", AddressClass::LinkLocal),
        ("metadata.google.internal", AddressClass::CloudMetadata),
        ("[fd00:ec2::254]", AddressClass::CloudMetadata),
        ("0.0.0.0", AddressClass::Reserved),
        ("192.0.2.1", AddressClass::Reserved),
        ("198.18.0.1", AddressClass::Reserved),
        ("224.0.0.1", AddressClass::Reserved),
        ("255.255.255.255", AddressClass::Reserved),
        ("[2001:db8::1]", AddressClass::Reserved),
        ("[ff02::1]", AddressClass::Reserved),
    ] {
        let url = format!("https://{host}/");
        assert_eq!(policy.check(&url), Err(UrlFlaw::Address(class)), "{host}");
    }
    for public in [
        "https://127.0.0.1.nip.io/",
        "https://localhost.evil.example/",
        "https://172.32.0.1/",
    ] {
        assert!(policy.check(public).is_ok(), "{public}");
    }
    assert_eq!(classify_v4(Ipv4Addr::new(8, 8, 8, 8)), AddressClass::Public);
    assert_eq!(
        classify_v6(Ipv6Addr::new(0x2606, 0, 0, 0, 0, 0, 0, 1)),
        AddressClass::Public
    );
}

#[test]
fn sec_02_f12_http_on_loopback_only() {
    let (local, _) = UrlPolicy::for_mcp_url("http://localhost:3000/mcp").unwrap();
    for good in [
        "http://localhost:1/",
        "http://127.0.0.1/",
        "http://[::1]:2/",
        "http://127.1/",
        "http://a.localhost/",
        "http://a.b.localhost:3/",
        "https://as.example/",
    ] {
        assert!(local.check(good).is_ok(), "{good}");
    }
    for bad in [
        "http://as.example/",
        "http://localhost.example/",
        "http://notlocalhost/",
        "http://10.0.0.1/",
        "https://10.0.0.1/",
    ] {
        assert!(local.check(bad).is_err(), "{bad}");
    }
    // Plain http under `.localhost` stays on this machine, whatever a resolver says (RFC 6761).
    let (under, url) = UrlPolicy::for_mcp_url("http://mcp.localhost/mcp").unwrap();
    assert_eq!(url.as_str(), "http://mcp.localhost/mcp");
    for host in ["mcp.localhost", "localhost", "localhost."] {
        let addresses = under.addresses(&format!("http://{host}/").parse().unwrap());
        assert!(addresses.permits(AddressClass::Loopback), "{host}");
        for class in [AddressClass::Public, AddressClass::Private] {
            assert!(!addresses.permits(class), "{host}");
        }
    }
    assert!(
        under
            .addresses(&http::Uri::from_static("https://as.example/"))
            .permits(AddressClass::Public)
    );
    assert!(UrlPolicy::for_mcp_url("http://mcp.example/mcp").is_err());
    assert!(UrlPolicy::for_mcp_url("http://10.0.0.1/mcp").is_err());
    let (_, private) = UrlPolicy::for_mcp_url("https://10.0.0.1/mcp").unwrap();
    assert_eq!(private.as_str(), "https://10.0.0.1/mcp");
    let dev = Config::builder(MCP, REDIRECT)
        .allow_loopback_http()
        .build()
        .unwrap();
    assert!(dev.url_policy().check("http://localhost:9/").is_ok());
    let listed = Config::builder(MCP, REDIRECT)
        .allow_host("10.0.0.1")
        .build()
        .unwrap();
    assert!(listed.url_policy().check("https://10.0.0.1/x").is_ok());
    assert!(listed.url_policy().check("https://10.0.0.2/x").is_err());
}

#[test]
fn sec_04_f11_long_urls_are_refused() {
    let (policy, _) = UrlPolicy::for_mcp_url(MCP).unwrap();
    let long = format!("https://as.example/{}", "a".repeat(8 * 1024));
    assert_eq!(policy.check(&long), Err(UrlFlaw::TooLong));
    let named = |name: String| policy.check(&format!("https://{name}:8443/x"));
    assert!(named(format!("{}.example", "a".repeat(63))).is_ok());
    assert_eq!(
        named(format!("{}.example", "a".repeat(64))),
        Err(UrlFlaw::HostName)
    );
    assert!(named(format!("{}abc.", "a.".repeat(125))).is_ok());
    assert_eq!(
        named(format!("{}abcd", "a.".repeat(125))),
        Err(UrlFlaw::HostName)
    );
    assert!(policy.check("https://[2606:4700:4700::1111]:8443/").is_ok());
}

#[test]
fn cb_02_forms_are_read_strictly() {
    let read = |text: &str| -> Result<Vec<(String, String)>, FormFlaw> {
        pairs(text)
            .map(|pair| pair.map(|(n, v)| (n.into_owned(), v.into_owned())))
            .collect()
    };
    let own = |list: &[(&str, &str)]| {
        list.iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        read("a=1&b=x+y%2B&c&&d=e=f;g"),
        Ok(own(&[("a", "1"), ("b", "x y+"), ("c", ""), ("d", "e=f;g")]))
    );
    assert_eq!(read("a=%f"), Err(FormFlaw::Escape));
    assert_eq!(read("a=%"), Err(FormFlaw::Escape));
    assert_eq!(read("a=%ff"), Err(FormFlaw::Utf8));
    assert_eq!(read("a=%00"), Ok(own(&[("a", "\0")])));
}

#[test]
fn disc_19_tok_22_header_fields_that_say_how_long() {
    let headers = |list: &[(&str, &str)]| response(200, list, "").headers().clone();
    let now = 784_111_777;
    assert_eq!(freshness(&headers(&[]), now), 3_600);
    assert_eq!(
        freshness(
            &headers(&[("cache-control", "public, Max-Age=\"120\"")]),
            now
        ),
        120
    );
    assert_eq!(
        freshness(
            &headers(&[("cache-control", "max-age=120"), ("age", "20")]),
            now
        ),
        100
    );
    assert_eq!(
        freshness(&headers(&[("cache-control", "max-age=99999999")]), now),
        86_400
    );
    assert_eq!(
        freshness(&headers(&[("cache-control", "max-age=9, no-store")]), now),
        0
    );
    assert_eq!(
        freshness(&headers(&[("cache-control", "no-cache")]), now),
        0
    );
    let date = "Sun, 06 Nov 1994 08:50:37 GMT";
    assert_eq!(freshness(&headers(&[("expires", date)]), now), 60);
    assert_eq!(freshness(&headers(&[("expires", "0")]), now), 0);
    assert_eq!(retry_after(&headers(&[("retry-after", "7")]), now), Some(7));
    assert_eq!(
        retry_after(&headers(&[("retry-after", "9999")]), now),
        Some(300)
    );
    assert_eq!(
        retry_after(&headers(&[("retry-after", date)]), now),
        Some(60)
    );
    assert_eq!(retry_after(&headers(&[("retry-after", "soon")]), now), None);
}

proptest! {
    #[test]
    fn sec_36_the_url_that_was_checked_is_the_url_that_is_sent(host in "[a-z]{1,8}\\.example", path in "[ -~]{0,40}") {
        let (policy, _) = UrlPolicy::for_mcp_url(MCP).unwrap();
        if let Ok(url) = policy.check(&format!("https://{host}/{path}")) {
            let again = policy.check(url.as_str()).unwrap();
            prop_assert_eq!(again.as_str(), url.as_str());
            let uri: http::Uri = url.as_str().parse().unwrap();
            prop_assert_eq!(uri.to_string(), url.as_str());
            prop_assert_eq!(uri.host(), Some(host.as_str()));
        }
    }

    #[test]
    fn sec_17_s24_any_answer_ends_without_panic(status in 100_u16..600, text in ".{0,80}", which in 0_usize..4) {
        let mut host = Host::new(config());
        host.ask("Bearer");
        let good = [(PRM, prm()), ("meta", metadata()), ("reg", r#"{"client_id":"c"}"#.to_owned())];
        for (at, (_, answer)) in good.iter().enumerate() {
            if at < which.min(3) {
                let send = host.request();
                let status = if at == 2 { 201 } else { 200 };
                host.handle(send.response(response(status, &[], answer)));
            }
        }
        if which == 3 {
            let redirect = host.redirect();
            host.callback(&format!("code=c&state={}", state_of(&redirect)));
        }
        let send = host.request();
        host.handle(send.response(response(status, &[("location", "/x")], &text)));
        prop_assert!(!host.actions.is_empty());
    }
}

/// A driver asks of each address that a name resolves to.
#[test]
fn sec_05_sec_06_f05_permitted_addresses_of_a_connection() {
    let classes = [
        ("93.184.216.34", AddressClass::Public),
        ("2606:2800:220:1::1", AddressClass::Public),
        ("127.0.0.1", AddressClass::Loopback),
        ("::1", AddressClass::Loopback),
        ("10.0.0.1", AddressClass::Private),
        ("fd12::1", AddressClass::Private),
        ("169.254.169.254", AddressClass::LinkLocal),
        ("fd00:ec2::254", AddressClass::CloudMetadata),
        ("224.0.0.1", AddressClass::Reserved),
        ("::", AddressClass::Reserved),
    ];
    for (mcp, own) in [
        ("https://mcp.example/mcp", AddressClass::Public),
        ("http://127.0.0.1:1/mcp", AddressClass::Loopback),
        ("https://10.1.2.3/mcp", AddressClass::Private),
    ] {
        let (policy, _) = UrlPolicy::for_mcp_url(mcp).unwrap();
        for (address, class) in classes {
            assert_eq!(classify_ip(address.parse().unwrap()), class, "{address}");
            let wanted = class == AddressClass::Public || class == own;
            let permits = policy
                .addresses(&http::Uri::from_static("https://a.example/"))
                .permits(class);
            assert_eq!(permits, wanted, "{address} for {mcp}");
        }
    }
}

/// Each operation has its answer, whether a host has a store and no network, or neither.
#[test]
fn use_14_an_action_that_a_host_declines_leaves_nothing_waiting() {
    for has_store in [false, true] {
        let mut now = mcp_auth_testing::moment(1_800_000_000_000, 0);
        let mut machine = AuthMachine::new(config().build().unwrap(), "alice", now);
        machine.handle(now, Event::Authorize(seed(1).into()));
        machine.handle(now, Event::Wanted("x".into()));
        let mut answers = 0;
        loop {
            let event = match machine.poll_action() {
                Some(Action::LoadSlot(load)) if has_store => Some(load.found(None)),
                Some(Action::PersistSlot(persist)) if has_store => Some(persist.done()),
                Some(action) => {
                    let named = match &action {
                        Action::Error(failure) => failure.operation == Some("x".into()),
                        Action::NeedUser(need) => need.operation == Some("x".into()),
                        _ => false,
                    };
                    answers += usize::from(named);
                    action.decline()
                }
                None => match machine.timeout(now) {
                    Some(left) => {
                        let left = u64::try_from(left.as_millis()).unwrap();
                        now = mcp_auth_testing::moment(now.wall.0 + left, now.mono.0 + left);
                        Some(Event::Timer)
                    }
                    None => break,
                },
            };
            if let Some(event) = event {
                machine.handle(now, event);
            }
        }
        assert_eq!(answers, 1, "{has_store}");
    }
}
