//! Parsers of header fields.

use http::{HeaderMap, HeaderName, HeaderValue};
use mcp_auth_machine::wire::challenge::{self, Parsed};
use mcp_auth_machine::wire::http_fields::{freshness, retry_after};
use mcp_auth_machine::wire::url::UrlPolicy;
use mcp_auth_server::Presented;
use mcp_auth_valgrind::support::{MCP, PRM};

use crate::Case;
use crate::cases::{case, numbered};

/// The text is lines of the header.
fn headers(name: &'static str, text: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in text.split('\n') {
        let value = HeaderValue::from_str(line).expect("a header value");
        headers.append(HeaderName::from_static(name), value);
    }
    headers
}

pub fn challenges() -> Vec<Case> {
    /// `seen` looks at what was read.
    fn one(
        shape: &str,
        largest: usize,
        input: impl Fn(usize) -> String + 'static,
        seen: fn(&Parsed<'_>, usize) -> bool,
    ) -> Case {
        case(
            &format!("challenge: {shape}"),
            largest,
            input,
            move |text, size| {
                let headers = headers("www-authenticate", &text);
                Box::new(move || {
                    let parsed = challenge::parse(&headers);
                    let (policy, _) = UrlPolicy::for_mcp_url(MCP).expect("a URL");
                    let selected = parsed.select(401, &|place| policy.check(place).is_ok());
                    let taken = seen(&parsed, size) && selected.is_some();
                    Box::new(move || taken)
                })
            },
        )
    }
    let parameters =
        |parsed: &Parsed<'_>, n: usize| parsed.challenges()[0].parameters.len() >= n.min(64);
    let value = |parsed: &Parsed<'_>, n: usize| parsed.challenges()[0].parameters[0].1.len() >= n;
    let several = |parsed: &Parsed<'_>, n: usize| parsed.challenges().len() >= n.min(32);
    vec![
        one(
            "parameters",
            64,
            |n| format!("Bearer {}", numbered(n, |i| format!("p{i:02}=\"v\", "))),
            parameters,
        ),
        one(
            "parameters beyond the limit",
            2_000,
            |n| format!("Bearer {}", "p=1, ".repeat(n)),
            parameters,
        ),
        one(
            "places, all different",
            64,
            |n| {
                format!(
                    "Bearer {}",
                    numbered(n, |i| format!("resource_metadata=\"{PRM}{i:02}\", "))
                )
            },
            parameters,
        ),
        one(
            "scopes, again and again",
            64,
            |n| format!("Bearer {}", "scope=\"a b\", ".repeat(n)),
            parameters,
        ),
        one(
            "a long value",
            8_000,
            |n| format!("Bearer p=\"{}\"", "a".repeat(n)),
            value,
        ),
        one(
            "escapes in a value",
            8_000,
            |n| format!("Bearer p=\"{}\"", "\\\"".repeat(n)),
            value,
        ),
        one(
            "a token as value",
            8_000,
            |n| format!("Bearer p={}", "a".repeat(n)),
            value,
        ),
        one(
            "scopes",
            256,
            |n| format!("Bearer scope=\"{}\"", numbered(n, |i| format!("s{i:03} "))),
            |p, n| p.challenges()[0].parameters[0].1.len() >= n * 5,
        ),
        one(
            "challenges",
            32,
            |n| numbered(n, |_| "Bearer realm=\"a\", ".to_owned()),
            several,
        ),
        one(
            "challenges with places",
            32,
            |n| {
                numbered(n, |_| {
                    format!("DPoP resource_metadata=\"{PRM}\", algs=\"ES256\", ")
                })
            },
            several,
        ),
        one(
            "schemes, no commas",
            32,
            |n| format!("Bearer {}", "a ".repeat(n)),
            several,
        ),
        one(
            "a token68",
            16_000,
            |n| format!("Bearer x=1, Negotiate {}=", "a".repeat(n)),
            |p, n| {
                p.challenges()[1]
                    .token68
                    .as_ref()
                    .is_some_and(|t| t.len() >= n)
            },
        ),
        one(
            "signs that end no token68",
            16_000,
            |n| format!("Basic {}x, Bearer x=1", "=".repeat(n)),
            several_of_2,
        ),
        one(
            "commas and spaces",
            8_000,
            |n| format!("Bearer x=1{}", ", ".repeat(n)),
            parameters_1,
        ),
        one(
            "quotes",
            8_000,
            |n| format!("Bearer x=1, {}", "\"\"".repeat(n)),
            parameters_1,
        ),
        one(
            "single quotes",
            4_000,
            |n| format!("Bearer x=1, {}", "p=', ".repeat(n / 2)),
            parameters_1,
        ),
        one(
            "lines",
            1_000,
            |n| format!("Bearer x=1{}", "\nx=1".repeat(n)),
            parameters_1,
        ),
        one(
            "lines, not UTF-8",
            1_000,
            |n| format!("Bearer x=1{}", "\nNew é".repeat(n)),
            several,
        ),
    ]
}

fn several_of_2(parsed: &Parsed<'_>, _: usize) -> bool {
    parsed.challenges().len() == 2
}

fn parameters_1(parsed: &Parsed<'_>, _: usize) -> bool {
    !parsed.challenges()[0].parameters.is_empty()
}

pub fn fields() -> Vec<Case> {
    vec![
        case(
            "cache-control: directives",
            8_000,
            |n| "a=1, ".repeat(n),
            |text, _| {
                let headers = headers("cache-control", &[&text, "max-age=7"].concat());
                Box::new(move || {
                    let seconds = freshness(&headers, 0);
                    Box::new(move || seconds == 7)
                })
            },
        ),
        case(
            "retry-after: digits",
            16_000,
            |n| "0".repeat(n),
            |text, _| {
                let headers = headers("retry-after", &[&text, "7"].concat());
                Box::new(move || {
                    let seconds = retry_after(&headers, 0);
                    Box::new(move || seconds == Some(7))
                })
            },
        ),
        case(
            "presented: a long token",
            100_000,
            |n| format!("Bearer {}", "a".repeat(n)),
            |text, _| {
                let headers = headers("authorization", &text);
                Box::new(move || {
                    let taken = matches!(Presented::from_headers(&headers), Ok(Some(_)));
                    Box::new(move || taken)
                })
            },
        ),
    ]
}
