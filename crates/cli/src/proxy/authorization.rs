//! The account of the bridge: tokens by the asynchronous driver, sign-ins by the command `login` in a
//! process of its own, which stores all or nothing.

use std::collections::VecDeque;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::{HeaderMap, Method, StatusCode};
use mcp_auth_client::Trust;
use mcp_auth_client::asynchronous::{Call, Client, Stopped};
use mcp_auth_machine::NoBearer;
use mcp_auth_machine::action::{NeedUser, Why};
use mcp_auth_machine::wire::scopes::Scopes;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use url::Url;

use crate::account::Place;
use crate::account::bridge::{Bridge, open};
use crate::account::person::has_display;
use crate::problem::Problem;
use crate::speaker;

/// The number of sign-ins per request: the first, and one for further scopes.
const SIGN_INS: u8 = 2;
/// The number of sign-ins in [`PERIOD`], as many as one machine allows.
const MAX_SIGN_INS: usize = 12;
const PERIOD: Duration = Duration::from_secs(600);
/// The time of a sign-in for its end, when the bridge ends.
const CLOSING: Duration = Duration::from_secs(5);

/// The authorization of one account at one MCP server.
pub(super) struct Authorization {
    client: Client,
    bridge: Bridge,
    browser: bool,
    timeout: Duration,
    /// The running sign-in.
    running: Mutex<Option<watch::Receiver<Stage>>>,
    sign_ins: Arc<Mutex<SignIns>>,
    /// True when the bridge ends.
    ends: watch::Sender<bool>,
}

/// The sign-ins of the last ten minutes. Each runs in a process of its own, so the machine of this one cannot
/// count them (STEP-07, STEP-11).
#[derive(Default)]
struct SignIns {
    begun: VecDeque<Instant>,
    /// The last one failed, as these words say, or the user declined it.
    failed: Option<(Instant, String)>,
}

impl SignIns {
    /// Returns the reason why no further sign-in may begin.
    fn refusal(&mut self) -> Option<String> {
        let recent = |begun: &Instant| begun.elapsed() < PERIOD;
        self.begun.retain(recent);
        self.failed = self.failed.take().filter(|(at, _)| recent(at));
        let words = match &self.failed {
            Some((_, words)) => words.clone(),
            None if self.begun.len() >= MAX_SIGN_INS => {
                "there were too many sign-ins in ten minutes".to_owned()
            }
            None => return None,
        };
        Some(format!(
            "{words}; to sign in now, run: {}",
            speaker::login("")
        ))
    }
}

/// The reason why a request cannot be authorized.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error(
        "sign in first: open {url} in a browser on this machine, then try again. With a browser on another machine, run in \
         a terminal of this one: {login}. If the URL leads to an error page of the authorization server, run in a terminal: \
         {anew}",
        login = speaker::login("--no-browser"),
        anew = speaker::login("--new-client")
    )]
    SignIn { url: String },
    #[error("the sign-in did not succeed: {0}")]
    Failed(String),
    /// The URL is outside of the token's resource (USE-04).
    #[error("the token may not be sent to that URL")]
    Outside,
    #[error("{0}")]
    Stopped(String),
}

impl From<Stopped> for Refused {
    fn from(stopped: Stopped) -> Self {
        if matches!(stopped, Stopped::NotPresented(NoBearer::OutsideResource)) {
            Self::Outside
        } else {
            Self::Stopped(words(stopped))
        }
    }
}

/// Returns the reason with the next step, in the words of the command.
fn words(stopped: Stopped) -> String {
    let told = stopped.to_string();
    if let Stopped::Failed(failure) = stopped {
        let (detail, others) = (None, Vec::new());
        Problem::Failed {
            failure,
            detail,
            others,
        }
        .words()
    } else if let Stopped::NeedUser(need) = stopped {
        Problem::SignInNeeded { why: need.why }.words()
    } else if matches!(stopped, Stopped::Ended) {
        "the bridge was ended before the token was here: start it again".to_owned()
    } else if matches!(stopped, Stopped::SignedOut) {
        format!(
            "the account was signed out meanwhile; {}",
            speaker::sign_in()
        )
    } else {
        told
    }
}

/// The progress of a sign-in.
#[derive(Clone, Debug)]
enum Stage {
    Starting,
    /// The user must open this URL.
    Waiting(String),
    Ended(Result<(), String>),
}

impl Authorization {
    /// Starts the driver on the stored account.
    pub(super) fn start(
        place: &Place,
        (url, account): (&str, &str),
        browser: bool,
        timeout: Duration,
    ) -> Result<Self, Problem> {
        let (client, bridge) = open(place, url, account)?;
        Ok(Self {
            client,
            bridge,
            browser: browser && has_display(),
            timeout,
            running: Mutex::default(),
            sign_ins: Arc::default(),
            ends: watch::Sender::new(false),
        })
    }

    /// Has a running sign-in remove what it began, and waits for its end.
    pub(super) async fn close(&self) {
        self.ends.send_replace(true);
        let running = {
            let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            running.clone()
        };
        let Some(mut stage) = running else {
            return;
        };
        let ended = stage.wait_for(|stage| matches!(stage, Stage::Ended(_)));
        let _late = tokio::time::timeout(CLOSING, ended).await;
    }

    /// Returns a handle of the driver.
    pub(super) fn client(&self) -> Client {
        self.client.clone()
    }

    /// The certificates that the account trusts.
    pub(super) fn trust(&self) -> &Trust {
        &self.bridge.trust
    }

    /// Starts one request, with its retries.
    pub(super) fn call(&self, operation: &str, method: &Method, url: &Url) -> Attempts<'_> {
        Attempts {
            authorization: self,
            call: self.client.call(operation, method.clone(), url.as_str()),
            sign_ins: SIGN_INS,
        }
    }

    /// Has the user sign in. Requests that need the same wait for one sign-in; without a visible browser,
    /// each returns the URL to open instead.
    async fn sign_in(&self, need: &NeedUser) -> Result<(), Refused> {
        let mut stage = {
            let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            let under_way = running
                .clone()
                .filter(|stage| !matches!(*stage.borrow(), Stage::Ended(_)));
            match under_way {
                Some(stage) => stage,
                None => {
                    let stage = self.begin(need)?;
                    *running = Some(stage.clone());
                    stage
                }
            }
        };
        loop {
            let now = stage.borrow_and_update().clone();
            match now {
                Stage::Ended(Ok(())) => return Ok(()),
                Stage::Ended(Err(words)) => return Err(Refused::Failed(words)),
                Stage::Waiting(url) if !self.browser => return Err(Refused::SignIn { url }),
                Stage::Starting | Stage::Waiting(_) => {}
            }
            if stage.changed().await.is_err() {
                return Err(Refused::Failed("it was interrupted".to_owned()));
            }
        }
    }

    /// Starts `login`.
    fn begin(&self, need: &NeedUser) -> Result<watch::Receiver<Stage>, Refused> {
        let scopes = if let Why::ScopeMissing { scopes, .. } = &need.why {
            Some(scopes)
        } else {
            None
        };
        {
            let mut sign_ins = self.sign_ins.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(words) = sign_ins.refusal() {
                return Err(Refused::Failed(words));
            }
            sign_ins.begun.push_back(Instant::now());
        }
        let mut command = self.login(scopes);
        let child = command
            .spawn()
            .map_err(|error| Refused::Failed(error.to_string()))?;
        let (sender, stage) = watch::channel(Stage::Starting);
        let sign_ins = Arc::clone(&self.sign_ins);
        let ends = self.ends.subscribe();
        tokio::spawn(async move {
            let ended = follow(child, &sender, ends).await;
            let ended = ended.map_err(|(words, passes)| {
                if !passes {
                    let mut sign_ins = sign_ins.lock().unwrap_or_else(PoisonError::into_inner);
                    sign_ins.failed = Some((Instant::now(), words.clone()));
                }
                words
            });
            sender.send_replace(Stage::Ended(ended));
        });
        Ok(stage)
    }

    fn login(&self, scopes: Option<&Scopes>) -> Command {
        let mut command = Command::new(&self.bridge.program);
        command.arg("login").args(&self.bridge.arguments);
        command
            .args(["--until-closed", "--timeout"])
            .arg(self.timeout.as_secs().to_string());
        if !self.browser {
            command.arg("--no-browser");
        }
        if let Some(scopes) = scopes {
            let scopes: Vec<&str> = scopes.iter().collect();
            command.args(["--also-scope", &scopes.join(" ")]);
        }
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }
}

/// Waits for a `login` to end, and forwards its messages. The error is its last message, and whether the
/// failure passes.
async fn follow(
    mut child: Child,
    stage: &watch::Sender<Stage>,
    mut ends: watch::Receiver<bool>,
) -> Result<(), (String, bool)> {
    // `login` ends when this end of its input is closed, with the bridge at the latest.
    let open = child.stdin.take();
    let keeps = tokio::spawn(async move {
        let _ended = ends.wait_for(|ends| *ends).await;
        drop(open);
    });
    let mut last = String::new();
    if let Some(messages) = child.stderr.take() {
        let mut lines = BufReader::new(messages).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            eprintln!("{line}");
            let line = line.trim();
            if line.starts_with("http://") || line.starts_with("https://") {
                stage.send_replace(Stage::Waiting(line.to_owned()));
            } else if !line.is_empty() {
                line.clone_into(&mut last);
            }
        }
    }
    let ended = child.wait().await;
    keeps.abort();
    match ended {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => {
            let words = last.trim_start_matches("mcp-auth: ").to_owned();
            Err((words, status.code() == Some(4)))
        }
        Err(error) => Err((error.to_string(), true)),
    }
}

/// One request, with its retries.
pub(super) struct Attempts<'a> {
    authorization: &'a Authorization,
    call: Call,
    sign_ins: u8,
}

impl Attempts<'_> {
    /// The headers of the next attempt.
    pub(super) async fn headers(&mut self) -> Result<HeaderMap, Refused> {
        Ok(self.call.headers().await?)
    }

    /// Handles a response; returns true if the request must be sent again.
    pub(super) async fn again(
        &mut self,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Result<bool, Refused> {
        match self.call.again(status, headers).await {
            Err(Stopped::NeedUser(need)) if self.sign_ins > 0 => {
                self.sign_ins = self.sign_ins.saturating_sub(1);
                self.authorization.sign_in(&need).await?;
                // The machine takes up the tokens that `login` has stored.
                match self.call.again(status, headers).await {
                    Ok(_) | Err(Stopped::NeedUser(_)) => Ok(true),
                    Err(stopped) => Err(stopped.into()),
                }
            }
            other => Ok(other?),
        }
    }
}
