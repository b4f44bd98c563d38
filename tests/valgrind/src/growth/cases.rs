//! Every parser of outside input, with shapes that would show what grows.

use std::collections::BTreeMap;

use mcp_auth_machine::wire::resource::covers;
use mcp_auth_machine::wire::scopes::Scopes;
use mcp_auth_machine::wire::url::UrlPolicy;
use mcp_auth_server::{RedirectRules, RedirectTarget};
use mcp_auth_valgrind::support::MCP;

use crate::messages::{at_callback, at_step_up};
use crate::{Case, Work, bodies, headers};

/// All of them.
pub fn all() -> Vec<Case> {
    let mut cases = headers::challenges();
    cases.extend(bodies::bodies());
    cases.extend(bodies::records());
    cases.extend(callbacks());
    cases.extend(urls());
    cases.extend(scopes());
    cases.extend(headers::fields());
    cases.extend(bodies::servers());
    cases.extend(controls());
    cases
}

/// A case.
pub fn case(
    name: &str,
    largest: usize,
    input: impl Fn(usize) -> String + 'static,
    prepare: impl Fn(String, usize) -> Work + 'static,
) -> Case {
    Case {
        name: name.to_owned(),
        largest,
        input: Box::new(input),
        prepare: Box::new(prepare),
    }
}

/// Reads an input; the answer says whether it was taken.
pub fn reads(
    read: impl Fn(&str, usize) -> bool + Clone + 'static,
) -> impl Fn(String, usize) -> Work {
    move |input, size| {
        let read = read.clone();
        Box::new(move || {
            let taken = read(&input, size);
            Box::new(move || taken)
        })
    }
}

/// So many items, each with its number.
pub fn numbered(n: usize, item: impl Fn(usize) -> String) -> String {
    (0..n).map(item).collect()
}

fn callbacks() -> Vec<Case> {
    let one = |shape: &str, largest, grows: fn(usize) -> String| {
        let input = move |n| format!("code=c&state=STATE{}", grows(n));
        case(&format!("callback: {shape}"), largest, input, at_callback)
    };
    vec![
        one("parameters", 1_600, |n| {
            numbered(n, |i| format!("&p{i:04}=1"))
        }),
        one("a parameter repeated", 4_000, |n| "&p=1".repeat(n)),
        one("separators", 16_000, |n| "&".repeat(n)),
        one("a long value", 16_000, |n| format!("&p={}", "a".repeat(n))),
        one("escapes", 5_000, |n| format!("&p={}", "%41".repeat(n))),
        one("spaces", 16_000, |n| format!("&p={}", "+".repeat(n))),
        one("equals signs", 16_000, |n| format!("&p{}", "=".repeat(n))),
        one("question marks", 16_000, |n| {
            format!("&p={}", "?".repeat(n))
        }),
        one("a long description", 16_000, |n| {
            format!("&error_description={}", "a".repeat(n))
        }),
        case(
            "callback: a long code",
            8_000,
            |n| format!("code={}&state=STATE", "a".repeat(n)),
            at_callback,
        ),
        case(
            "callback: escapes in a code",
            5_000,
            |n| format!("code={}&state=STATE", "%41".repeat(n)),
            at_callback,
        ),
    ]
}

fn urls() -> Vec<Case> {
    let one = |shape: &str, largest, grows: fn(usize) -> String| {
        let checks = reads(|text, _| {
            let (policy, mcp) = UrlPolicy::for_mcp_url(MCP).expect("a URL");
            policy.check(text).is_ok() && covers(text, &mcp, &policy).is_ok()
        });
        case(&format!("url: {shape}"), largest, grows, checks)
    };
    vec![
        one("a long path", 8_000, |n| {
            format!("https://mcp.example/{}", "a".repeat(n))
        }),
        one("segments", 4_000, |n| {
            format!("https://mcp.example{}", "/a".repeat(n))
        }),
        one("dot segments", 1_600, |n| {
            format!("https://mcp.example{}{}", "/a".repeat(n), "/..".repeat(n))
        }),
        one("escapes", 2_600, |n| {
            format!("https://mcp.example/{}", "%41".repeat(n))
        }),
        one("escaped dots", 1_000, |n| {
            format!("https://mcp.example{}", "/%2e%2E".repeat(n))
        }),
        one("a long query", 8_000, |n| {
            format!("https://mcp.example/?{}", "a".repeat(n))
        }),
        one("query parameters", 2_000, |n| {
            format!("https://mcp.example/?{}", "a=b&".repeat(n))
        }),
        one("a long label", 56, |n| {
            format!("https://{}.example/", "a".repeat(n))
        }),
        one("labels", 120, |n| {
            format!("https://{}example/", "a.".repeat(n))
        }),
        one("punycode labels", 16, |n| {
            format!("https://{}example/", "xn--mnchen-3ya.".repeat(n))
        }),
        // Within one label the decoder's time grows faster; a label has 63 bytes at most.
        one("long punycode labels", 160, |n| {
            let labels: Vec<_> = (0..n)
                .step_by(20)
                .map(|at| "ä".repeat(20.min(n - at)))
                .collect();
            punycode(&labels.join("."))
        }),
        one("a punycode label, ever other letters", 16, |n| {
            let letters = (0..n as u32).filter_map(|i| char::from_u32(0x4E00 + i * 7));
            punycode(&letters.rev().collect::<String>())
        }),
        one("a port with zeros", 8_000, |n| {
            format!("https://mcp.example:{}443/", "0".repeat(n))
        }),
        case(
            "redirect target: a long URI",
            1_000,
            |n| format!("http://127.0.0.1:3000/{}", "a/".repeat(n)),
            reads(|text, _| {
                let registered = RedirectRules::default().parse(&text.replace(":3000", ""));
                registered.is_ok_and(|uri| RedirectTarget::find([&uri], text).is_some())
            }),
        ),
    ]
}

fn punycode(label: &str) -> String {
    let url = url::Url::parse(&format!("https://{label}.example/"));
    url.expect("a URL").into()
}

fn scopes() -> Vec<Case> {
    let one = |shape: &str, largest, grows: fn(usize) -> String, read: fn(&str, usize) -> bool| {
        case(&format!("scopes: {shape}"), largest, grows, reads(read))
    };
    let list = |n| numbered(n, |i| format!("s{i:03} "));
    let long = |n| numbered(n, |i| format!("https://example/scopes/s{i:03} "));
    vec![
        one("a list", 256, list, |text, n| {
            Scopes::parse(text).len() == n
        }),
        one("a list of long ones", 256, long, |text, n| {
            Scopes::parse(text).len() == n
        }),
        one(
            "one, repeated",
            100_000,
            |n| "a ".repeat(n),
            |text, _| Scopes::parse(text).len() == 1,
        ),
        one(
            "beyond the limit",
            10_000,
            |n| numbered(n, |i| format!("s{i:05} ")),
            |text, _| !Scopes::parse(text).is_empty(),
        ),
        one("union", 128, list, |text, n| {
            let other = Scopes::parse(&text.replace('s', "t"));
            Scopes::parse(text).union(&other).len() == 2 * n
        }),
        one("covering", 256, list, |text, _| {
            let scopes = Scopes::parse(text);
            scopes.covers(&scopes)
        }),
        one("without", 256, list, |text, n| {
            Scopes::parse(text).without("s000").len() == n - 1
        }),
        case("step-up: scopes", 100, list, at_step_up),
    ]
}

/// Each has to be caught.
fn controls() -> Vec<Case> {
    let pairs = |text: &str, _: usize| {
        let same = |a: u8| {
            text.bytes()
                .filter(|b| std::hint::black_box(a) == *b)
                .count()
        };
        text.bytes().map(same).sum::<usize>() > 0
    };
    let sorted = |text: &str, _: usize| {
        let held: BTreeMap<usize, [u8; 16]> = (0..text.len()).map(|at| (at, [0; 16])).collect();
        std::hint::black_box(held).len() == text.len()
    };
    vec![
        case(
            "control: every byte with every other",
            4_000,
            |n| "a".repeat(n),
            reads(pairs),
        ),
        case(
            "control: a heap of 24 bytes a byte",
            32_000,
            |n| "a".repeat(n),
            reads(sorted),
        ),
    ]
}
