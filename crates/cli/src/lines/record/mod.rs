//! `--record`: writes a transcript of a command for `replay`, without secrets.
//!
//! The transcript contains the input of the machine, with every secret replaced, and the output of a second
//! machine that processed this input. It is written only if the second machine requested the same actions,
//! and if the text contains no observed secret in any encoding.

mod cover;
mod destination;
pub(crate) mod documents;
pub(crate) mod secrets;
mod store;
mod tape;

use std::sync::{Arc, Mutex, PoisonError};

use http::HeaderMap;
use mcp_auth_client::{Note, Store, now};
use mcp_auth_machine::key::SigningKey;
use serde_json::{Value, json};

pub(crate) use self::destination::Destination;
use self::store::Watched;
pub(crate) use self::tape::text_of;
use self::tape::{Happened, Tape};
use crate::problem::Problem;
use crate::report::{Ending, Examination};

/// The destination of the transcript, if one was requested. Shared by its clones.
#[derive(Clone, Default)]
pub(crate) struct Recorder(Option<Arc<Shared>>);

struct Shared {
    /// The name of the command, for the title of the page.
    command: &'static str,
    /// The file of the transcript.
    path: Option<Destination>,
    /// The file of the HTML page.
    html: Option<Destination>,
    tape: Mutex<Tape>,
    /// The result of `doctor`.
    examination: Mutex<Option<Examination>>,
}

impl Recorder {
    /// `command`: its name, if it can be recorded.
    pub(crate) fn new(
        command: Option<&'static str>,
        path: Option<Destination>,
        html: Option<Destination>,
    ) -> Self {
        let Some(command) = command.filter(|_| path.is_some() || html.is_some()) else {
            return Self(None);
        };
        Self(Some(Arc::new(Shared {
            command,
            path,
            html,
            tape: Mutex::default(),
            examination: Mutex::default(),
        })))
    }

    pub(crate) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    fn with(&self, note: impl FnOnce(&mut Tape)) {
        if let Some(shared) = &self.0 {
            note(&mut shared.tape.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// Records the configuration as a line. Its secrets are replaced when the file is written.
    pub(crate) fn start(&self, config: impl FnOnce() -> Value) {
        self.with(|tape| tape.start(config(), now()));
    }

    pub(crate) fn see(&self, note: &Note<'_>) {
        self.with(|tape| tape.see(note, now()));
    }

    pub(crate) fn store<S: Store + 'static>(&self, store: S) -> Box<dyn Store> {
        if self.is_on() {
            Box::new(Watched::new(store, self.clone()))
        } else {
            Box::new(store)
        }
    }

    fn say(&self, happened: Happened) {
        self.with(|tape| tape.push(happened, now()));
    }

    pub(crate) fn challenged(
        &self,
        operation: &str,
        status: u16,
        headers: &HeaderMap,
        sent: Option<&str>,
    ) {
        self.say(Happened::Challenged {
            operation: operation.to_owned(),
            status,
            headers: headers.clone(),
            sent: sent.map(str::to_owned),
        });
    }

    /// Records an authorization without its seed: the transcript has its own.
    pub(crate) fn authorize(&self, on_other_device: bool) {
        self.say(Happened::Authorize(on_other_device));
    }

    pub(crate) fn callback(&self, url: &str) {
        self.say(Happened::CameBack(url.to_owned()));
    }

    /// Records a `wanted` or `accepted` event.
    pub(crate) fn operation(&self, event: &'static str, operation: &str) {
        self.say(Happened::Operation(event, operation.to_owned()));
    }

    /// Records a `signed_out` or `abandoned` event.
    pub(crate) fn plain(&self, event: &'static str) {
        self.say(Happened::Plain(event));
    }

    /// Records the result of `doctor`, for the page.
    pub(crate) fn examined(&self, examination: impl FnOnce() -> Examination) {
        if let Some(shared) = &self.0 {
            let held = shared.examination.lock();
            *held.unwrap_or_else(PoisonError::into_inner) = Some(examination());
        }
    }

    /// Writes the transcript, and a page with the failure of the command itself, if it has one; or returns the reason why
    /// that cannot be written.
    pub(crate) fn finish(&self, failure: Option<&Problem>) -> Result<(), Problem> {
        let Some(shared) = &self.0 else {
            return Ok(());
        };
        let tape = std::mem::take(&mut *shared.tape.lock().unwrap_or_else(PoisonError::into_inner));
        // The page of a command that ended before its machine began has the failure alone.
        if let (Some(html), Some(_), None, false) =
            (&shared.html, failure, &shared.path, tape.has_begun())
        {
            let ending = Ending {
                failure,
                examination: None,
            };
            return crate::report::write(html, shared.command, std::iter::empty(), ending);
        }
        let text = tape
            .transcript()
            .map_err(|flaw| format!("nothing was recorded: {flaw}"))?;
        if let Some(path) = &shared.path {
            path.write(&text)?;
        }
        let Some(html) = &shared.html else {
            return Ok(());
        };
        let ins = text
            .lines()
            .filter(|line| !line.starts_with(r#"{"action":"#));
        let examination = shared.examination.lock();
        let examination = examination.unwrap_or_else(PoisonError::into_inner).take();
        let ending = Ending {
            failure,
            examination,
        };
        crate::report::write(html, shared.command, ins, ending)
    }
}

/// Returns a key as in a configuration line.
pub(crate) fn key_json(key: &SigningKey) -> Value {
    let public = key.public_key().map(|public| public.as_jwk());
    let public: Option<Value> = public.and_then(|jwk| serde_json::from_str(jwk).ok());
    json!({ "name": key.name(), "algorithms": key.algorithms(), "public": public })
}
