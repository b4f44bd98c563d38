//! Messages that grow, and machines that wait for one.

use mcp_auth_machine::action::SendRequest;
use mcp_auth_machine::slot::{SlotContents, Stored};
use mcp_auth_machine::wire::callback::Callback;
use mcp_auth_machine::{Action, AuthMachine, Event};
use mcp_auth_valgrind::support::{
    AS, Host, MCP, PRM, REDIRECT, StoreMode, config, metadata, prm, renewable, response, state_of,
};
use sha2::{Digest, Sha256};

use crate::{Case, Work};

/// The largest body, without the members that every document has (SEC-13).
pub const BODY: usize = 256 * 1024 - 2048;

/// A shape of growing input: a name, the largest size, and the text for a size.
pub type Shape = (&'static str, usize, Box<dyn Fn(usize) -> String>);

/// Members that grow, to be added to any document. `text` and `list` are members that are read, where
/// the document has such; the list begins with `first`, which the document needs.
pub fn members(text: &str, list: &str, first: &str) -> Vec<Shape> {
    let text = text.to_owned();
    let own = move || text.clone();
    let (escaped, list, first) = (own(), list.to_owned(), first.to_owned());
    let (others, other_first, objects) = (list.clone(), first.clone(), list.clone());
    let object_first = first.clone();
    let nest = [",\"m\":", &"[".repeat(28), &"]".repeat(28)].concat();
    vec![
        (
            "members",
            BODY / 14,
            Box::new(|n| (0..n).map(|i| format!(",\"m{i:07}\":1")).collect()),
        ),
        (
            "a member repeated",
            BODY / 6,
            Box::new(|n| ",\"m\":1".repeat(n)),
        ),
        (
            "a long text",
            BODY,
            Box::new(move |n| format!(",\"{}\":\"{}\"", own(), "a".repeat(n))),
        ),
        (
            "escapes",
            BODY / 6,
            Box::new(move |n| format!(",\"{escaped}\":\"{}\"", "\\u0041".repeat(n))),
        ),
        (
            "quotes",
            BODY / 2,
            Box::new(|n| format!(",\"m\":\"{}\"", "\\\"".repeat(n))),
        ),
        (
            "brackets in a text",
            BODY,
            Box::new(|n| format!(",\"m\":\"{}\"", "[".repeat(n))),
        ),
        (
            "a list of one item",
            BODY / 4,
            Box::new(move |n| format!(",\"{list}\":[\"{first}\"{}]", ",\"a\"".repeat(n))),
        ),
        (
            "a list of other items",
            BODY / 10,
            Box::new(move |n| {
                let items: String = (0..n).map(|i| format!(",\"i{i:06}\"")).collect();
                format!(",\"{others}\":[\"{other_first}\"{items}]")
            }),
        ),
        (
            "a list of objects",
            BODY / 11,
            Box::new(move |n| {
                format!(
                    ",\"{objects}\":[\"{object_first}\"{}]",
                    ",{\"a\":\"b\"}".repeat(n)
                )
            }),
        ),
        (
            "deep nesting",
            BODY / nest.len(),
            Box::new(move |n| nest.repeat(n)),
        ),
        (
            "digits",
            BODY,
            Box::new(|n| format!(",\"m\":{}", "1".repeat(n))),
        ),
        ("white space", BODY, Box::new(|n| " ".repeat(n))),
    ]
}

/// Cases of one document: `base` with members added before its last brace.
pub fn documents(
    parser: &'static str,
    base: &str,
    shapes: Vec<Shape>,
    prepare: fn(String, usize) -> Work,
) -> Vec<Case> {
    let base = base.strip_suffix('}').expect("an object").to_owned();
    let case = |(shape, largest, grows): Shape| Case {
        name: format!("{parser}: {shape}"),
        largest,
        input: {
            let base = base.clone();
            Box::new(move |n| [&base, &*grows(n), "}"].concat())
        },
        prepare: Box::new(prepare),
    };
    shapes.into_iter().map(case).collect()
}

/// An answer to a request; what comes next tells whether it was taken.
fn answered(
    host: Host,
    send: SendRequest,
    status: u16,
    body: &str,
    next: fn(&Action) -> bool,
) -> Work {
    let event = send.response(response(status, &[], body));
    happens(host, event, next)
}

fn happens(mut host: Host, event: Event, next: fn(&Action) -> bool) -> Work {
    Box::new(move || {
        host.machine.handle(host.now, event);
        Box::new(move || {
            // The timer is early; it makes the host poll for actions.
            host.handle(Event::Timer);
            host.actions.front().is_some_and(next)
        })
    })
}

/// The answer with the resource's metadata.
pub fn at_resource(body: String, _: usize) -> Work {
    let mut host = Host::new(config());
    host.challenged(401, &[&format!("Bearer resource_metadata=\"{PRM}\"")]);
    host.need_user();
    host.authorize();
    let send = host.request();
    answered(
        host,
        send,
        200,
        &body,
        |action| matches!(action, Action::SendRequest(send) if send.request().uri().host() != Some("mcp.example")),
    )
}

/// The answer with the server's metadata.
pub fn at_server(body: String, _: usize) -> Work {
    let mut host = Host::new(config());
    host.discover_prm_only();
    let send = host.request();
    answered(
        host,
        send,
        200,
        &body,
        |action| matches!(action, Action::SendRequest(send) if send.request().uri().path() == "/register"),
    )
}

/// The answer of the registration endpoint.
pub fn at_registration(body: String, _: usize) -> Work {
    let mut host = Host::new(config());
    host.discover(&prm(), &metadata());
    let send = host.request();
    answered(host, send, 201, &body, |action| {
        matches!(action, Action::Redirect(_))
    })
}

/// The answer of the token endpoint.
pub fn at_token(body: String, _: usize) -> Work {
    let mut host = Host::new(config());
    let state = state_of(&host.to_redirect());
    host.callback(&format!("code=c-1&state={state}"));
    let send = host.request();
    answered(host, send, 200, &body, |action| {
        matches!(action, Action::Ready(_))
    })
}

/// A callback; `STATE` in it stands for ours.
pub fn at_callback(query: String, _: usize) -> Work {
    let mut host = Host::new(config());
    let state = state_of(&host.to_redirect());
    let url = format!("{REDIRECT}?{}", query.replace("STATE", &state));
    happens(
        host,
        Event::CallbackParams(Callback::from_url(url)),
        |action| matches!(action, Action::SendRequest(send) if send.request().uri().path() == "/token"),
    )
}

/// The text of an account record.
pub fn account() -> String {
    let host = Host::signed_in(config(), &renewable("ACCESS", "REFRESH"));
    mcp_auth_testing::spelled_out(host.store.of_kind("account")[0].contents.expose())
}

fn sealed(json: &str) -> Stored {
    use base64::Engine;
    let digest = Sha256::digest(json.as_bytes());
    let digest = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(&digest[..16]);
    Stored {
        revision: digest.parse().expect("a revision"),
        contents: SlotContents::new(format!("v1.{digest}.{json}")),
    }
}

/// A machine finds this record in its slot.
pub fn at_record(json: String, _: usize) -> Work {
    let now = mcp_auth_testing::moment(1_800_000_000_000, 1_000);
    let mut machine = AuthMachine::new(config().build().expect("a configuration"), "alice", now);
    let Some(Action::LoadSlot(load)) = machine.poll_action() else {
        panic!("it loads the account")
    };
    let event = load.found(Some(sealed(&json)));
    Box::new(move || {
        machine.handle(now, event);
        Box::new(move || machine.grant().is_some())
    })
}

/// A token lacks these scopes, beside others that it has.
pub fn at_step_up(scopes: String, _: usize) -> Work {
    let held: Vec<String> = (0..100).map(|i| format!("held{i}")).collect();
    let answer = renewable("ACCESS", "REFRESH");
    let answer = answer.replace('}', &format!(",\"scope\":\"{}\"}}", held.join(" ")));
    let mut host = Host::signed_in(config(), &answer);
    host.store.mode = StoreMode::Manual;
    let line = format!("Bearer error=\"insufficient_scope\", scope=\"{scopes}\"");
    let sent = host.token().expect(MCP);
    host.challenged_for("tools/call x", 403, &[&line], Some(&sent));
    let Action::LoadSlot(load) = host.next() else {
        panic!("{AS}: the account is read again")
    };
    let found = host.store.slots.get(&load.slot().to_string()).cloned();
    let event = load.found(found);
    happens(host, event, |action| matches!(action, Action::NeedUser(_)))
}
