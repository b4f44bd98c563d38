//! Each failure leads a reader of its message to a sign-in, where one is possible: the failing command, its
//! message, the command that the message proposes, and its outcome, kept as a snapshot.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::bridge::Bridge;
use crate::fake::{Answer, Fake, Mode, Request, object};
use crate::support::{Desk, check_options, follow, text};

/// A command and what it said, in words that are the same at every run.
pub(crate) struct Transcript<'a> {
    desk: &'a Desk,
    names: Vec<(String, &'static str)>,
    pub(crate) written: String,
}

impl<'a> Transcript<'a> {
    pub(crate) fn new(desk: &'a Desk, fakes: &[(&Fake, &'static str)]) -> Self {
        let mut names: Vec<_> = fakes
            .iter()
            .map(|(fake, name)| (fake.issuer(), *name))
            .collect();
        let hosts: Vec<_> = names
            .iter()
            .filter_map(|(url, name)| {
                Some((
                    url.strip_prefix("http://")?.to_owned(),
                    name.strip_prefix("https://")?,
                ))
            })
            .collect();
        let local_hosts = hosts.iter().map(|(host, _)| {
            let host = host.replace("127.0.0.1", "localhost");
            (format!(" {host},"), " elsewhere.example,")
        });
        let local_hosts: Vec<_> = local_hosts.collect();
        names.extend(hosts);
        names.extend(local_hosts);
        let local: Vec<_> = fakes
            .iter()
            .map(|(fake, _)| fake.issuer().replace("127.0.0.1", "localhost"))
            .map(|url| (url, "https://elsewhere.example"))
            .collect();
        names.extend(local);
        names.push((desk.path().display().to_string(), "STORE"));
        Self {
            desk,
            names,
            written: String::new(),
        }
    }

    /// Runs the command, follows the URLs that it prints, and writes both down; the status and what it said.
    pub(crate) fn run(&mut self, arguments: &[&str]) -> (Option<i32>, String) {
        let login = arguments.first() == Some(&"login");
        let more: &[&str] = if login { &["--no-browser"] } else { &[] };
        let mut command = self.desk.command(&[arguments, more].concat());
        let mut process = command.stdin(Stdio::null()).spawn().expect("it starts");
        let mut said = String::new();
        let stderr = process.stderr.take().expect("a pipe");
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            if line.starts_with("http") && line.contains("response_type=") {
                let _ended = std::panic::catch_unwind(|| follow(&line, true));
            }
            said.push_str(&line);
            said.push('\n');
        }
        let output = process.wait_with_output().expect("it ends");
        said.push_str(&text(&output.stdout));
        check_options(arguments[0], &said);
        let shown: Vec<_> = arguments.iter().map(|word| self.plain(word)).collect();
        let _infallible = writeln!(self.written, "$ mcp-auth {}", shown.join(" "));
        let plain = self.plain(said.trim_end());
        let status = output.status.code();
        let _infallible = writeln!(self.written, "{plain}\nstatus {}\n", status.unwrap_or(-1));
        (status, said)
    }

    /// Replaces ports, places and times.
    fn plain(&self, said: &str) -> String {
        let mut said = said.to_owned();
        for (value, name) in &self.names {
            said = said.replace(value, name);
        }
        let mut lines = Vec::new();
        for line in said.lines() {
            let line = match line.split_once("/authorize?") {
                Some((before, _)) => format!("{before}/authorize?…"),
                None => line.to_owned(),
            };
            let line = match line.split_once("Waiting for it at ") {
                Some(_) => "Waiting for it at REDIRECT-URI".to_owned(),
                None => line,
            };
            let line = match line.split_once(", token valid for ") {
                Some((before, _)) => format!("{before}, token valid for TIME"),
                None => line,
            };
            lines.push(line);
        }
        lines.join("\n")
    }
}

/// The document of the authorization server with these members; null removes one.
pub(crate) fn metadata(issuer: &str, changes: &Value) -> Value {
    let mut document = json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
        "registration_endpoint": format!("{issuer}/register"),
        "response_types_supported": ["code"],
        "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials"],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": true,
        "token_endpoint_auth_methods_supported": ["none", "client_secret_post"],
    });
    let members = document.as_object_mut().expect("an object");
    for (name, value) in changes.as_object().expect("an object") {
        if value.is_null() {
            members.remove(name);
        } else {
            members.insert(name.clone(), value.clone());
        }
    }
    document
}

pub(crate) const RESOURCE: &str = "/.well-known/oauth-protected-resource/mcp";
pub(crate) const SERVER: &str = "/.well-known/oauth-authorization-server";

pub(crate) type Behaviour = fn(&Request, &str) -> Option<Answer>;

/// A server that fails in one way.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) behaves: Behaviour,
    /// The exit status of a login without options.
    pub(crate) status: i32,
    /// The part of the message that says what to do.
    pub(crate) proposes: &'static str,
    /// The options that the message proposes, with the issuer.
    pub(crate) then: fn(&Desk, &str) -> Vec<String>,
}

pub(crate) fn page(status: u16) -> Answer {
    (
        status,
        "content-type: text/html\r\n".to_owned(),
        "<h1>no</h1>".to_owned(),
    )
}

/// A file for an option.
pub(crate) fn file(desk: &Desk, name: &str, content: &Value) -> String {
    let path = desk.path().join(name);
    std::fs::write(&path, content.to_string()).expect("written");
    path.display().to_string()
}

pub(crate) fn words(options: &[&str]) -> Vec<String> {
    options.iter().map(|&word| word.to_owned()).collect()
}

/// The callback with an error of the authorization server.
pub(crate) fn returned(request: &Request, issuer: &str, error: &str, description: &str) -> Answer {
    let get = |name: &str| request.query.get(name).cloned().unwrap_or_default();
    let mut back = url::Url::parse(&get("redirect_uri")).expect("a redirect URI");
    back.query_pairs_mut()
        .append_pair("error", error)
        .append_pair("error_description", description)
        .append_pair("state", &get("state"))
        .append_pair("iss", issuer);
    (302, format!("location: {back}\r\n"), String::new())
}

const CASES: &[Case] = &[
    Case {
        name: "no_resource_metadata",
        behaves: |request, _| request.path.contains("/.well-known/").then(|| page(404)),
        status: 1,
        proposes: "--server-metadata",
        then: |desk, issuer| {
            let document = metadata(issuer, &json!({}));
            vec![
                "--server-metadata".into(),
                file(desk, "metadata.json", &document),
            ]
        },
    },
    Case {
        name: "legacy_server",
        behaves: |request, _| match request.path.as_str() {
            "/mcp" if request.authorization.is_none() => Some(page(401)),
            path => path.contains("/.well-known/").then(|| page(404)),
        },
        status: 1,
        proposes: "--legacy",
        then: |_, _| words(&["--legacy"]),
    },
    Case {
        name: "no_server_metadata",
        behaves: |request, _| request.path.contains(SERVER).then(|| page(403)),
        status: 1,
        proposes: "--server-metadata FILE",
        then: |desk, issuer| {
            let document = metadata(issuer, &json!({}));
            vec![
                "--server-metadata".into(),
                file(desk, "metadata.json", &document),
            ]
        },
    },
    Case {
        name: "no_pkce",
        behaves: |request, issuer| {
            let changes = json!({ "code_challenge_methods_supported": null });
            (request.path == SERVER).then(|| object(200, &metadata(issuer, &changes)))
        },
        status: 1,
        proposes: "--assume-pkce",
        then: |_, _| words(&["--assume-pkce"]),
    },
    Case {
        name: "registration_refused",
        behaves: |request, _| {
            let refusal =
                json!({ "error": "access_denied", "error_description": "ask the help desk" });
            (request.path == "/register").then(|| object(403, &refusal))
        },
        status: 1,
        proposes: "--client-id ID --issuer",
        then: |_, issuer| words(&["--client-id", "by-hand", "--issuer", issuer]),
    },
    Case {
        name: "registration_refused_by_a_firewall",
        behaves: |request, _| {
            let mut words = request.form.iter().flat_map(|(name, value)| [name, value]);
            let attack =
                request.path == "/register" && words.any(|text| text.contains("127.0.0.1"));
            attack.then(|| page(403))
        },
        status: 1,
        proposes: "--redirect-host localhost",
        then: |_, _| words(&["--redirect-host", "localhost"]),
    },
    Case {
        name: "no_registration",
        behaves: |request, issuer| {
            let changes = json!({ "registration_endpoint": null });
            (request.path == SERVER).then(|| object(200, &metadata(issuer, &changes)))
        },
        status: 1,
        proposes: "--client-id ID --issuer",
        then: |_, issuer| words(&["--client-id", "by-hand", "--issuer", issuer]),
    },
    Case {
        name: "scopes_refused",
        behaves: |request, issuer| {
            let scope = request.query.get("scope").map(String::as_str);
            (request.path == "/authorize" && scope != Some("files")).then(|| {
                returned(
                    request,
                    issuer,
                    "invalid_scope",
                    "this client may ask for files only",
                )
            })
        },
        status: 1,
        proposes: "--scope",
        then: |_, _| words(&["--scope", "files"]),
    },
    Case {
        name: "resource_parameter_refused",
        behaves: |request, _| {
            let refusal = json!({
                "error": "invalid_request",
                "error_description": "AADSTS9010010: the resource parameter does not match the scopes",
            });
            let refused = request.path == "/token" && request.form.contains_key("resource");
            refused.then(|| object(400, &refusal))
        },
        status: 1,
        proposes: "--no-resource",
        then: |_, _| words(&["--no-resource"]),
    },
    Case {
        name: "redirect_uri_changed",
        behaves: |request, _| {
            let asked = request.form.keys().next().cloned().unwrap_or_default();
            let local = asked.contains("http://localhost:");
            let answer = json!({
                "client_id": "by-hand", "redirect_uris": ["http://localhost/callback"],
                "token_endpoint_auth_method": "none",
            });
            (request.path == "/register" && !local).then(|| object(201, &answer))
        },
        status: 5,
        proposes: "--redirect-host localhost",
        then: |_, _| words(&["--redirect-host", "localhost"]),
    },
    Case {
        name: "metadata_elsewhere",
        behaves: |request, issuer| {
            let answer = format!(
                "location: {}{RESOURCE}\r\n",
                issuer.replace("127.0.0.1", "localhost")
            );
            (request.path == RESOURCE && !request.is_for("localhost"))
                .then(|| (302, answer, String::new()))
        },
        status: 1,
        proposes: "--resource-metadata",
        then: |_, issuer| {
            let place = issuer.replace("127.0.0.1", "localhost");
            words(&["--resource-metadata", &format!("{place}{RESOURCE}")])
        },
    },
];

#[test]
fn each_message_leads_to_a_sign_in() {
    CASES.iter().for_each(leads_to_a_sign_in);
}

/// The bridge and the other commands lack most options of `login`: their messages name the complete command.
#[test]
fn each_message_names_options_with_the_command_that_has_them() {
    CASES.iter().for_each(names_complete_commands);
}

/// Fails in each command, and checks the options in its message.
pub(crate) fn names_complete_commands(case: &Case) {
    let (fake, desk) = (Fake::start(), Desk::new());
    let url = fake.url();
    fake.state().hook = Some(Box::new(case.behaves));
    let mut bridge = Bridge::start(&desk, &url);
    let mut answer = bridge.ask("tools/list", 1);
    if let Some(page) = answer["error"]["data"]["url"].as_str() {
        let _ended = std::panic::catch_unwind(|| follow(page, true));
        std::thread::sleep(std::time::Duration::from_millis(300));
        answer = bridge.ask("tools/list", 2);
    }
    let said = answer["error"]["message"].as_str().expect("a failure");
    assert!(check_options("proxy", said) > 0, "{}: {said}", case.name);
    assert!(
        said.contains("mcp-auth login http://127.0.0.1"),
        "{}: {said}",
        case.name
    );
    bridge.end();
    let output = desk.run(&["doctor", &url]);
    check_options("doctor", &text(&output.stdout));
    check_options("doctor", &text(&output.stderr));
}

/// Fails, and signs in with what the message proposes; keeps the transcript as a snapshot.
pub(crate) fn leads_to_a_sign_in(case: &Case) {
    let (fake, desk) = (Fake::start(), Desk::new());
    let (url, issuer) = (fake.url(), fake.issuer());
    {
        let mut state = fake.state();
        state.hook = Some(Box::new(case.behaves));
        state.clients.insert("by-hand".to_owned(), None);
    }
    let mut transcript = Transcript::new(&desk, &[(&fake, "https://mcp.example")]);
    let (status, said) = transcript.run(&["login", &url]);
    assert_eq!(status, Some(case.status), "{}: {said}", case.name);
    assert!(said.contains(case.proposes), "{}: {said}", case.name);
    let options = (case.then)(&desk, &issuer);
    let login: Vec<&str> = ["login", &url]
        .into_iter()
        .chain(options.iter().map(String::as_str))
        .collect();
    let (status, said) = transcript.run(&login);
    assert_eq!(status, Some(0), "{}: {said}", case.name);
    insta::assert_snapshot!(case.name, transcript.written);
}

#[test]
fn of_several_authorization_servers_one_is_chosen() {
    let (mcp, first, second) = (Fake::start(), Fake::start(), Fake::start());
    let servers = [
        (&mcp, "https://mcp.example"),
        (&first, "https://first.example"),
        (&second, "https://second.example"),
    ];
    let (listed, url) = ([first.issuer(), second.issuer()], mcp.url());
    mcp.state().hook = Some(Box::new(move |request, issuer| {
        let document =
            json!({ "resource": format!("{issuer}/mcp"), "authorization_servers": listed });
        (request.path == RESOURCE).then(|| object(200, &document))
    }));
    let closed: Behaviour = |request, issuer| {
        let changes = json!({ "registration_endpoint": null });
        (request.path == SERVER).then(|| object(200, &metadata(issuer, &changes)))
    };
    // The MCP server takes the tokens of the second one.
    mcp.state().trusts = Some(second.share());
    let desk = Desk::new();
    let mut transcript = Transcript::new(&desk, &servers);
    // Both can be used, and the MCP server does not take the tokens of the first.
    let (status, said) = transcript.run(&["login", &url]);
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains(&second.issuer()), "{said}");
    let issuer = second.issuer();
    let prefer = ["login", &url, "--prefer-issuer", &issuer];
    let (status, said) = transcript.run(&prefer);
    assert_eq!(status, Some(0), "{said}");
    insta::assert_snapshot!("several_servers", transcript.written);

    // Without a registration at the first, the second is used, and the command says so.
    first.state().hook = Some(Box::new(closed));
    let desk = Desk::new();
    let mut transcript = Transcript::new(&desk, &servers);
    let (status, said) = transcript.run(&["login", &url]);
    assert_eq!(status, Some(0), "{said}");
    insta::assert_snapshot!("first_without_registration", transcript.written);

    // With no registration at both, the message names both.
    second.state().hook = Some(Box::new(closed));
    second.state().clients.insert("by-hand".to_owned(), None);
    let desk = Desk::new();
    let mut transcript = Transcript::new(&desk, &servers);
    let (status, said) = transcript.run(&["login", &url]);
    assert_eq!(status, Some(1), "{said}");
    for server in [&first, &second] {
        assert!(said.contains(&server.issuer()), "{said}");
    }
    let by_hand = [&prefer[..], &["--client-id", "by-hand"]].concat();
    let by_hand = [&by_hand[..], &["--issuer", &issuer]].concat();
    let (status, said) = transcript.run(&by_hand);
    assert_eq!(status, Some(0), "{said}");
    insta::assert_snapshot!("none_with_registration", transcript.written);
}

#[test]
fn an_entry_that_is_not_used_is_named_with_the_option_for_it() {
    let (fake, desk) = (Fake::start(), Desk::new());
    fake.state().announces = Some("https://10.1.2.3".to_owned());
    let mut transcript = Transcript::new(&desk, &[(&fake, "https://mcp.example")]);
    let (status, said) = transcript.run(&["login", &fake.url()]);
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("--allow-host 10.1.2.3"), "{said}");
}

#[test]
fn the_url_leads_to_the_server() {
    // A redirect.
    let (fake, desk) = (Fake::start(), Desk::new());
    let url = fake.url();
    let typed = format!("{}/old", fake.issuer());
    let to = url.clone();
    fake.state().hook = Some(Box::new(move |request, _| {
        let there = format!("location: {to}\r\n");
        (request.path == "/old").then(|| (307, there, String::new()))
    }));
    let mut transcript = Transcript::new(&desk, &[(&fake, "https://mcp.example")]);
    let (status, said) = transcript.run(&["login", &typed]);
    assert_eq!((status, said.contains(&url)), (Some(1), true), "{said}");
    assert_eq!(transcript.run(&["login", &url]).0, Some(0));
    insta::assert_snapshot!("mcp_url_redirects", transcript.written);

    // The metadata has another path on the same host.
    let desk = Desk::new();
    let place = fake.issuer();
    fake.state().hook = Some(Box::new(move |request, _| {
        let place = format!("www-authenticate: Bearer resource_metadata=\"{place}{RESOURCE}\"\r\n");
        (request.path == "/other").then(|| (401, place, String::new()))
    }));
    let typed = format!("{}/other", fake.issuer());
    let mut transcript = Transcript::new(&desk, &[(&fake, "https://mcp.example")]);
    let (status, said) = transcript.run(&["login", &typed]);
    assert_eq!(status, Some(5), "{said}");
    assert!(
        said.contains(&format!("{url} in place of the URL")),
        "{said}"
    );
    assert_eq!(transcript.run(&["login", &url]).0, Some(0));
    insta::assert_snapshot!("resource_mismatch", transcript.written);

    // A password in it.
    let desk = Desk::new();
    let typed = url.replace("http://", "http://user:pw@");
    let mut transcript = Transcript::new(&desk, &[(&fake, "https://mcp.example")]);
    let (status, said) = transcript.run(&["login", &typed]);
    assert_eq!(status, Some(2), "{said}");
    assert!(!said.contains("user:pw"), "{said}");
    assert_eq!(transcript.run(&["login", &url]).0, Some(0));
}

#[test]
fn a_client_that_the_server_forgot_is_replaced_by_the_next_login() {
    let (fake, desk) = (Fake::start(), Desk::new());
    let url = fake.url();
    let mut transcript = Transcript::new(&desk, &[(&fake, "https://mcp.example")]);
    assert_eq!(transcript.run(&["login", &url]).0, Some(0));
    assert_eq!(transcript.run(&["logout", &url]).0, Some(0));
    fake.state().clients.clear();
    transcript.written.clear();
    let (status, said) = transcript.run(&["login", &url, "--timeout", "3"]);
    assert_eq!(status, Some(3), "{said}");
    assert!(
        said.contains("the next login registers a new one"),
        "{said}"
    );
    assert_eq!(transcript.run(&["login", &url]).0, Some(0));
    insta::assert_snapshot!("forgotten_client", transcript.written);
}

#[test]
fn a_denial_and_a_busy_server_lead_to_the_same_command_again() {
    let (fake, desk) = (Fake::start(), Desk::new());
    let url = fake.url();
    let mut denied = false;
    fake.state().hook = Some(Box::new(move |request, issuer| {
        (request.path == "/authorize" && !std::mem::replace(&mut denied, true))
            .then(|| returned(request, issuer, "access_denied", "not today"))
    }));
    let mut transcript = Transcript::new(&desk, &[(&fake, "https://mcp.example")]);
    let (status, said) = transcript.run(&["login", &url]);
    assert_eq!(status, Some(3), "{said}");
    assert!(said.contains("\"not today\""), "{said}");
    assert_eq!(transcript.run(&["login", &url]).0, Some(0));
    let desk = Desk::new();
    transcript.desk = &desk;
    fake.state().mcp = Mode::Answers(503, "text/plain", "later");
    let (status, said) = transcript.run(&["login", &url]);
    assert_eq!(status, Some(4), "{said}");
    fake.state().mcp = Mode::Works;
    assert_eq!(transcript.run(&["login", &url]).0, Some(0));
    insta::assert_snapshot!("denied_and_busy", transcript.written);
}

#[test]
fn a_published_document_is_the_client() {
    let (fake, desk) = (Fake::start(), Desk::new());
    let document = "https://client.example/client.json";
    {
        let mut state = fake.state();
        state.clients.insert(document.to_owned(), None);
        state.hook = Some(Box::new(|request, issuer| {
            let changes = json!({ "client_id_metadata_document_supported": true });
            (request.path == SERVER).then(|| object(200, &metadata(issuer, &changes)))
        }));
    }
    let mut transcript = Transcript::new(&desk, &[]);
    let login = ["login", &fake.url(), "--client-metadata-url", document];
    let (status, said) = transcript.run(&login);
    assert_eq!(status, Some(0), "{said}");
    assert!(
        said.contains("client_id=https%3A%2F%2Fclient.example%2Fclient.json"),
        "{said}"
    );
    assert_eq!(fake.state().registrations, 0);
}
