//! A machine behind the line protocol: input lines and their output lines.

use std::collections::BTreeMap;

use http::Method;
use mcp_auth_machine::action::{
    AssertionKind, Grant, LoadSlot, ObtainAssertion, PersistSlot, Prepared, SendRequest, Sign,
};
use mcp_auth_machine::present::{Presentation, UnsignedProof};
use mcp_auth_machine::time::{MonoMillis, UnixMillis};
use mcp_auth_machine::{Action, AuthMachine, Event, Moment, NoBearer};
use serde_json::Value;

use super::actions::{Line, Presented, Proof, Ready};
use super::entropy::Entropy;
use super::events::{Answer, Happening, Persisted, Times, Undelivered, happening, head, times};
use super::{Members, Misunderstood, config, members};

/// Starts empty; the first input line is the configuration.
#[derive(Default)]
pub(crate) struct Session {
    running: Option<Running>,
}

struct Running {
    machine: AuthMachine,
    mcp_url: String,
    entropy: Option<Entropy>,
    /// The actions without a result, by number.
    asked: BTreeMap<u64, Asked>,
    clocks: Clocks,
}

/// The clocks of the input lines. The first value of the monotonic one counts as 0, so that a configuration without times
/// begins at 0 too.
struct Clocks {
    now: Moment,
    origin: Option<u64>,
}

impl Clocks {
    fn new(times: Times) -> Self {
        let mut clocks = Self {
            now: Moment {
                wall: UnixMillis(0),
                mono: MonoMillis(0),
            },
            origin: None,
        };
        clocks.look(times);
        clocks
    }

    fn look(&mut self, times: Times) {
        if let Some(now) = times.now {
            let mono = times.mono.unwrap_or(now);
            let origin = *self.origin.get_or_insert(mono);
            self.now = Moment {
                wall: UnixMillis(now),
                mono: MonoMillis(mono.saturating_sub(origin)),
            };
        }
    }
}

enum Asked {
    Send(SendRequest),
    Load(LoadSlot),
    Persist(PersistSlot),
    Sign(Prepared),
    Obtain(ObtainAssertion),
}

impl Session {
    /// Processes an input line; returns the resulting actions and `idle`.
    pub(crate) fn take(&mut self, line: &[u8]) -> Vec<Line> {
        let mut out = Vec::new();
        if let Err(flaw) = self.understand(line, &mut out) {
            out.push(Line::ProtocolError {
                message: flaw.to_string(),
            });
        }
        let deadline = self.running.as_ref().and_then(Running::deadline);
        out.push(Line::Idle { deadline });
        out
    }

    fn understand(&mut self, line: &[u8], out: &mut Vec<Line>) -> Result<(), Misunderstood> {
        let mut members = members(line)?;
        match (&mut self.running, members.contains_key("config")) {
            (Some(_), true) => Err(Misunderstood::new("the configuration was given already")),
            (None, false) => Err(Misunderstood::new("the first line is the configuration")),
            (None, true) => {
                let mut running = Running::start(&mut members)?;
                running.act(out);
                self.running = Some(running);
                Ok(())
            }
            (Some(running), false) => running.take(members, out),
        }
    }
}

impl Running {
    fn start(line: &mut Members) -> Result<Self, Misunderstood> {
        let times = times(line)?;
        let config = match (line.remove("config"), line.keys().next()) {
            (Some(Value::Object(config)), None) => config,
            (_, Some(more)) => {
                return Err(Misunderstood::new(format!("unknown member `{more}`")));
            }
            (_, None) => return Err(Misunderstood::new("`config` must be an object")),
        };
        let start = config::start(config)?;
        let clocks = Clocks::new(times);
        Ok(Self {
            mcp_url: start.config.mcp_url().as_str().to_owned(),
            machine: AuthMachine::new(start.config, start.principal, clocks.now),
            entropy: start.entropy,
            asked: BTreeMap::new(),
            clocks,
        })
    }

    fn deadline(&self) -> Option<u64> {
        let deadline = self.machine.deadline()?;
        Some(deadline.0.saturating_add(self.clocks.origin?))
    }

    fn take(&mut self, mut line: Members, out: &mut Vec<Line>) -> Result<(), Misunderstood> {
        let (times, name) = head(&mut line)?;
        match happening(&name, line)? {
            Happening::Event(event) => {
                self.clocks.look(times);
                self.machine.handle(self.clocks.now, event);
            }
            Happening::Answer(id, answer) => {
                if let Some(event) = self.answer(id, answer)? {
                    self.clocks.look(times);
                    self.machine.handle(self.clocks.now, event);
                }
            }
            Happening::Present(method, url) => {
                self.clocks.look(times);
                out.push(Line::Present(self.present(&method, &url)));
            }
        }
        self.act(out);
        Ok(())
    }

    /// Returns the event for the result of an action, if the kinds match.
    fn answer(&mut self, id: u64, answer: Answer) -> Result<Option<Event>, Misunderstood> {
        if let (Some(Asked::Obtain(obtain)), Answer::Obtained(Some((_, kind)))) =
            (self.asked.get(&id), &answer)
        {
            let subject = matches!(obtain.kind(), AssertionKind::Subject { .. });
            if subject != kind.is_some() {
                return Err(Misunderstood::new(
                    "`kind` says which subject token it is, and is for those alone",
                ));
            }
        }
        let Some(asked) = self.asked.remove(&id) else {
            return Ok(None);
        };
        Ok(Some(match (asked, answer) {
            (Asked::Send(send), Answer::Response(response, None)) => send.response(response),
            (Asked::Send(send), Answer::Response(response, Some(url))) => {
                send.response_from(response, url)
            }
            (Asked::Send(send), Answer::Undelivered(how)) => match how {
                Undelivered::NeverSent => send.never_sent(),
                Undelivered::MaybeSent => send.maybe_sent(),
                Undelivered::TooLarge => send.too_large(),
                Undelivered::Blocked => send.blocked(),
            },
            (Asked::Load(load), Answer::Loaded(found)) => load.found(found),
            (Asked::Load(load), Answer::LoadFailed) => load.failed(),
            (Asked::Persist(persist), Answer::Persisted(outcome)) => match outcome {
                Persisted::Done => persist.done(),
                Persisted::Failed => persist.failed(),
                Persisted::Conflict(current) => persist.conflict(current),
            },
            (Asked::Sign(prepared), Answer::Signed(Some(signature))) => {
                prepared.signature(&signature)
            }
            (Asked::Sign(prepared), Answer::Signed(None)) => prepared.failed(),
            (Asked::Obtain(obtain), Answer::Obtained(Some((token, Some(kind))))) => {
                obtain.subject(token, kind)
            }
            (Asked::Obtain(obtain), Answer::Obtained(Some((token, None)))) => {
                obtain.workload(token)
            }
            (Asked::Obtain(obtain), Answer::Obtained(None)) => obtain.failed(),
            // A result of another kind: the action stays open.
            (asked, _) => {
                self.asked.insert(id, asked);
                return Ok(None);
            }
        }))
    }

    /// Appends the machine's actions.
    fn act(&mut self, out: &mut Vec<Line>) {
        while let Some(action) = self.machine.poll_action() {
            out.push(match action {
                Action::SendRequest(send) => {
                    let line = Line::SendRequest(Box::new((&send).into()));
                    self.asked.insert(send.id(), Asked::Send(send));
                    line
                }
                Action::LoadSlot(load) => {
                    let line = Line::from(&load);
                    self.asked.insert(load.id(), Asked::Load(load));
                    line
                }
                Action::PersistSlot(persist) => {
                    let line = Line::PersistSlot(Box::new((&persist).into()));
                    self.asked.insert(persist.id(), Asked::Persist(persist));
                    line
                }
                Action::Sign(sign) => match self.sign(sign) {
                    Some(line) => line,
                    None => continue,
                },
                Action::ObtainAssertion(obtain) => {
                    let line = Line::ObtainAssertion(Box::new((&obtain).into()));
                    self.asked.insert(obtain.id(), Asked::Obtain(obtain));
                    line
                }
                Action::Redirect(redirect) => Line::Redirect(Box::new((&redirect).into())),
                Action::ShowCode(shown) => Line::ShowCode(Box::new(shown.as_ref().into())),
                Action::NeedUser(need) => Line::NeedUser(Box::new((&need).into())),
                Action::Ready(grant) => self.ready(&grant),
                Action::Error(failure) => Line::Error(Box::new(failure.as_ref().into())),
                Action::Report(decision) => Line::Report(decision),
            });
        }
    }

    /// Returns `None` without random bytes; then no key is configured either.
    fn sign(&mut self, sign: Sign) -> Option<Line> {
        let (id, algorithm, key) = (sign.id(), sign.algorithm(), sign.key().to_owned());
        let Some(entropy) = &mut self.entropy else {
            self.machine.handle(self.clocks.now, sign.failed());
            return None;
        };
        let prepared = sign.prepare(entropy.draw());
        let input = text(prepared.input());
        self.asked.insert(id, Asked::Sign(prepared));
        Some(Line::Sign {
            id,
            algorithm: algorithm.as_str(),
            key,
            input,
        })
    }

    fn ready(&mut self, grant: &Grant) -> Line {
        let (scheme, token) = match self.machine.bearer(self.clocks.now, &self.mcp_url) {
            Ok(header) => {
                let header = text(header.as_bytes());
                let token = header.strip_prefix("Bearer ").map(str::to_owned);
                ("Bearer", token)
            }
            Err(
                NoBearer::Bound | NoBearer::KeyMissing | NoBearer::NotSigned | NoBearer::NoEntropy,
            ) => ("DPoP", None),
            Err(NoBearer::NotHeld | NoBearer::Over | NoBearer::OutsideResource) => ("Bearer", None),
        };
        Line::Ready(Box::new(Ready::new(grant, scheme, token)))
    }

    fn present(&mut self, method: &Method, url: &str) -> Presented {
        let refused = |why| Presented {
            refused: Some(why),
            ..Presented::default()
        };
        match self.machine.present(self.clocks.now, method, url) {
            Ok(Presentation::Bearer(value)) => Presented {
                authorization: Some(text(value.as_bytes())),
                ..Presented::default()
            },
            Ok(Presentation::Bound(proof)) => {
                self.prove(*proof).unwrap_or_else(|| refused("key_missing"))
            }
            Err(NoBearer::NotHeld) => refused("not_held"),
            Err(NoBearer::Over) => refused("over"),
            Err(NoBearer::OutsideResource) => refused("outside_resource"),
            Err(NoBearer::Bound) => refused("bound"),
            Err(NoBearer::KeyMissing) => refused("key_missing"),
            Err(NoBearer::NotSigned) => refused("not_signed"),
            Err(NoBearer::NoEntropy) => refused("no_entropy"),
        }
    }

    fn prove(&mut self, proof: UnsignedProof) -> Option<Presented> {
        let entropy = self.entropy.as_mut()?;
        let (algorithm, key) = (proof.algorithm(), proof.key().to_owned());
        let prepared = proof.prepare(entropy.draw());
        let input = text(prepared.input());
        // `Authorization` does not depend on the signature, which the host makes.
        let headers = prepared.signature(&[0; 64])?;
        Some(Presented {
            authorization: Some(text(headers.authorization.as_bytes())),
            proof: Some(Proof {
                algorithm: algorithm.as_str(),
                key,
                input,
            }),
            refused: None,
        })
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
