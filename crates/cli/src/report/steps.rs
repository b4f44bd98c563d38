//! A transcript as the messages between six parties.

use serde_json::Value;

use super::decisions::{decision, purpose};
use super::parts::{id, server_of, value_in};
use super::shown::{Redactor, Shown};
use super::{Advice, Entry};
use crate::lines::record::text_of;

/// A party of the diagram, from left to right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lane {
    Browser,
    Host,
    Machine,
    Store,
    McpServer,
    AuthorizationServer,
}

/// How a step is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Decision,
    Good,
    Bad,
}

/// One message, or one decision of the machine.
pub(super) struct Step {
    /// Milliseconds since the first step.
    pub(super) at: u64,
    pub(super) from: Lane,
    pub(super) to: Lane,
    pub(super) tone: Tone,
    pub(super) title: Shown,
    pub(super) parts: Vec<Part>,
}

/// A block of an opened step.
pub(super) enum Part {
    Rows(&'static str, Vec<(Shown, Shown)>),
    Text(&'static str, Shown),
}

/// How the transcript ended.
pub(super) struct Outcome {
    pub(super) tone: Tone,
    pub(super) title: Shown,
    pub(super) rows: Vec<(Shown, Shown)>,
}

/// The whole page, as facts.
pub(super) struct Story {
    pub(super) settings: Vec<(Shown, Shown)>,
    pub(super) outcomes: Vec<Outcome>,
    pub(super) steps: Vec<Step>,
}

impl Story {
    pub(super) fn of(entries: &[Entry], redactor: &Redactor) -> Self {
        let mut teller = Teller {
            redactor,
            start: None,
            now: 0,
            requests: Vec::new(),
            loads: Vec::new(),
            iss: None,
            signs_out: false,
            revokes: false,
            story: Self {
                settings: Vec::new(),
                outcomes: Vec::new(),
                steps: Vec::new(),
            },
        };
        for entry in entries {
            teller.take(entry);
        }
        if teller.signs_out {
            teller.end_of_sign_out();
        }
        teller.story
    }

    /// Replaces the outcome by that of an examination, in which the machine always stops before a registration.
    pub(super) fn examined(&mut self, usable: bool, rows: Vec<(Shown, Shown)>) {
        let (tone, title) = if usable {
            (Tone::Good, "A sign-in can use this server")
        } else {
            (Tone::Bad, "A sign-in cannot use this server")
        };
        let last = self.steps.last_mut().filter(|_| usable);
        if let Some(last) = last.filter(|last| last.tone == Tone::Bad) {
            last.tone = Tone::Plain;
            last.title = Shown::fixed("The examination ends before a registration");
            last.parts.clear();
        }
        let title = Shown::fixed(title);
        self.outcomes = vec![Outcome { tone, title, rows }];
    }

    /// Adds the failure of the command, with the party that must mend it. `is_known`: it is that of the machine, which may
    /// stand at the end already.
    pub(super) fn fail(&mut self, words: Shown, owner: &'static str, is_known: bool) {
        let last = self.outcomes.last();
        if is_known && last.is_some_and(|last| last.tone == Tone::Bad) {
            return;
        }
        self.outcomes.push(Outcome {
            tone: Tone::Bad,
            title: Shown::fixed("The command failed"),
            rows: vec![
                (Shown::fixed("what happened"), words),
                (Shown::fixed("who must mend it"), Shown::fixed(owner)),
            ],
        });
    }
}

pub(super) struct Teller<'a> {
    pub(super) redactor: &'a Redactor,
    start: Option<u64>,
    now: u64,
    /// Requests by number: the purpose and the URL.
    pub(super) requests: Vec<(u64, String, Shown)>,
    /// Slots by number.
    pub(super) loads: Vec<(u64, Shown)>,
    /// The issuer that the last callback names.
    pub(super) iss: Option<Shown>,
    /// The account is erased, and tokens of it are revoked.
    signs_out: bool,
    pub(super) revokes: bool,
    pub(super) story: Story,
}

impl Teller<'_> {
    fn take(&mut self, entry: &Entry) {
        let line = &entry.line;
        if let Some(now) = line.get("now").and_then(Value::as_u64) {
            self.now = now.saturating_sub(*self.start.get_or_insert(now));
        }
        if let Some(config) = line.get("config") {
            self.settings(config);
        }
        self.event(line, text_of(line, "event"));
        self.action(line, text_of(line, "action"), entry.advice.as_ref());
    }

    fn settings(&mut self, config: &Value) {
        for name in ["mcp_url", "redirect_uri", "client_name", "revision"] {
            let text = text_of(config, name);
            if !text.is_empty() {
                let row = (self.redactor.show(name), self.redactor.url(text));
                self.story.settings.push(row);
            }
        }
    }

    fn event(&mut self, line: &Value, event: &str) {
        use Lane::{Browser, Host, Machine, McpServer, Store};
        let operation = || self.redactor.show(text_of(line, "operation"));
        let fixed = Shown::fixed;
        let (from, tone, title, parts) = match event {
            "" => return,
            "challenged" => {
                let title = Shown::join([
                    self.number(line, "status"),
                    fixed(" for the operation "),
                    operation(),
                ]);
                (McpServer, Tone::Plain, title, vec![self.headers(line)])
            }
            "wanted" => {
                let title = Shown::join([fixed("A token is needed for "), operation()]);
                (Host, Tone::Plain, title, Vec::new())
            }
            "accepted" => {
                let title = Shown::join([fixed("The MCP server accepted "), operation()]);
                (McpServer, Tone::Good, title, Vec::new())
            }
            "authorize" => (
                Host,
                Tone::Plain,
                fixed("The user agreed to sign in"),
                Vec::new(),
            ),
            "callback_params" => {
                let parameters = self.callback(line);
                self.iss = value_in(&parameters, "iss");
                let title = fixed("The browser returned to the redirect URI");
                (Browser, Tone::Plain, title, vec![parameters])
            }
            "http_response" => {
                let (request, url) = self.request(line);
                let (name, public) = purpose(&request);
                let status = line.get("status").and_then(Value::as_u64);
                let tone = match status {
                    Some(200..=299) => Tone::Plain,
                    Some(_) | None => Tone::Bad,
                };
                let title =
                    Shown::join([self.number(line, "status"), fixed(" for the "), fixed(name)]);
                let parts = vec![
                    Part::Text("URL", url),
                    self.headers(line),
                    self.body(line, public),
                ];
                (server_of(&request), tone, title, parts)
            }
            "http_failed" => {
                let (request, url) = self.request(line);
                let failure = self.redactor.show(text_of(line, "failure"));
                let title = Shown::join([
                    fixed("No response for the "),
                    fixed(purpose(&request).0),
                    fixed(": "),
                    failure,
                ]);
                let parts = vec![Part::Text("URL", url)];
                (server_of(&request), Tone::Bad, title, parts)
            }
            "slot_loaded" => {
                let found = match text_of(line, "contents").len() {
                    0 => fixed(" is empty"),
                    size => Shown::join([
                        fixed(" found, "),
                        Shown::number(u64::try_from(size).unwrap_or(u64::MAX)),
                        fixed(" bytes"),
                    ]),
                };
                let title = Shown::join([fixed("Record "), self.slot(line), found]);
                (Store, Tone::Plain, title, Vec::new())
            }
            "slot_load_failed" => {
                let title = Shown::join([fixed("The store could not load "), self.slot(line)]);
                (Store, Tone::Bad, title, Vec::new())
            }
            "slot_persisted" => {
                let outcome = text_of(line, "outcome");
                let tone = if outcome == "done" {
                    Tone::Plain
                } else {
                    Tone::Bad
                };
                let title = Shown::join([
                    fixed("Write of "),
                    self.slot(line),
                    fixed(": "),
                    self.redactor.show(outcome),
                ]);
                (Store, tone, title, Vec::new())
            }
            "timer" => (Host, Tone::Plain, fixed("The timer went off"), Vec::new()),
            "abandoned" => (
                Host,
                Tone::Plain,
                fixed("The authorization was cancelled"),
                Vec::new(),
            ),
            "signed_out" => {
                self.signs_out = true;
                (Host, Tone::Plain, fixed("Sign-out"), Vec::new())
            }
            other => (Host, Tone::Plain, self.redactor.show(other), Vec::new()),
        };
        self.push(from, Machine, tone, title, parts);
    }

    fn action(&mut self, line: &Value, action: &str, advice: Option<&Advice>) {
        use Lane::{Browser, Host, Machine, Store};
        let fixed = Shown::fixed;
        match action {
            "" | "idle" => {}
            "send_request" => {
                let request = text_of(line, "purpose");
                let url = self.redactor.url(text_of(line, "url"));
                let title = Shown::join([
                    self.redactor.show(text_of(line, "method")),
                    fixed(" "),
                    url.clone(),
                ]);
                let mut parts = vec![
                    Part::Text("Purpose", fixed(purpose(request).0)),
                    self.headers(line),
                ];
                if !text_of(line, "body").is_empty() {
                    parts.push(self.body(line, false));
                }
                self.requests.push((id(line), request.to_owned(), url));
                self.revokes |= request == "revocation";
                let to = server_of(request);
                self.push(Machine, to, Tone::Plain, title, parts);
            }
            "redirect" => {
                let title = Shown::join([fixed("Sign in at "), self.text(line, "issuer")]);
                let parts = vec![self.query("Authorization request", text_of(line, "url"))];
                self.push(Machine, Browser, Tone::Plain, title.clone(), parts);
                self.end(
                    Tone::Plain,
                    Shown::join([fixed("Waits for the browser. "), title]),
                    Vec::new(),
                );
            }
            "show_code" => {
                let title = Shown::join([
                    fixed("Enter a code in a browser of any device, at "),
                    self.text(line, "verification_uri"),
                ]);
                let parts = self.members(line, &["issuer", "scopes"]);
                self.push(Machine, Browser, Tone::Plain, title.clone(), parts);
                let waits = Shown::join([fixed("Waits for the user. "), title]);
                self.end(Tone::Plain, waits, Vec::new());
            }
            "load_slot" => {
                let slot = self.text(line, "slot");
                self.loads.push((id(line), slot.clone()));
                let title = Shown::join([fixed("Load "), slot]);
                self.push(Machine, Store, Tone::Plain, title, Vec::new());
            }
            "persist_slot" => {
                let slot = self.text(line, "slot");
                self.loads.push((id(line), slot.clone()));
                let verb = match text_of(line, "contents") {
                    "" => "Erase ",
                    _ => "Save ",
                };
                let title = Shown::join([fixed(verb), slot]);
                self.push(Machine, Store, Tone::Plain, title, Vec::new());
            }
            "need_user" => {
                let title = Shown::join([fixed("The user must sign in: "), self.text(line, "why")]);
                let parts = self.members(
                    line,
                    &[
                        "scopes",
                        "description",
                        "from",
                        "to",
                        "cause",
                        "error",
                        "refused",
                        "next",
                    ],
                );
                self.push(Machine, Host, Tone::Plain, title.clone(), parts);
                self.end(Tone::Plain, title, Vec::new());
            }
            "ready" => {
                let title = Shown::join([fixed("Signed in at "), self.text(line, "issuer")]);
                let parts = self.members(line, &["scopes", "scheme", "iss_binding"]);
                self.push(Machine, Host, Tone::Good, title.clone(), parts);
                self.end(Tone::Good, title, Vec::new());
            }
            "error" => self.failure(line, advice),
            "report" => {
                let code = text_of(line, "code");
                let (words, rules) = decision(code);
                let main = [
                    "verdict", "issuer", "url", "place", "entry", "names", "scopes", "reason",
                    "status",
                ];
                let main = main.iter().find_map(|name| line.get(*name));
                let mut title = vec![fixed(words)];
                if let Some(value) = main {
                    title.extend([fixed(": "), self.value(value)]);
                }
                let mut rows = self.rows(line, &["action", "code"]);
                if !rules.is_empty() {
                    rows.push((fixed("rule"), fixed(rules)));
                }
                let parts = vec![Part::Rows("Decision", rows)];
                self.push(Machine, Machine, Tone::Decision, Shown::join(title), parts);
            }
            other => {
                let title = self.redactor.show(other);
                let tone = if other == "protocol_error" {
                    Tone::Bad
                } else {
                    Tone::Plain
                };
                let parts = self.members(
                    line,
                    &["message", "kind", "algorithm", "audience", "issuer"],
                );
                self.push(Machine, Host, tone, title, parts);
            }
        }
    }

    pub(super) fn push(
        &mut self,
        from: Lane,
        to: Lane,
        tone: Tone,
        title: Shown,
        parts: Vec<Part>,
    ) {
        self.story.steps.push(Step {
            at: self.now,
            from,
            to,
            tone,
            title,
            parts,
        });
    }

    pub(super) fn end(&mut self, tone: Tone, title: Shown, rows: Vec<(Shown, Shown)>) {
        self.story.outcomes.push(Outcome { tone, title, rows });
    }
}
