//! `kill -9` at any time: stored tokens stay valid, except in the one window of `docs/renewal.md`.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Output};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;

use crate::accounts::call;
use crate::support::{Desk, Servers, follow, text};

/// Short enough that the token expires at once, long enough to try a refreshed one.
const TOKEN_SECONDS: &str = "5";

/// The command to kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Victim {
    /// `token` with an expired access token.
    Token,
    /// `login` with an expired access token.
    Login,
    /// `login` before any sign-in.
    FirstLogin,
}

impl Victim {
    const ALL: [Self; 3] = [Self::Token, Self::Login, Self::FirstLogin];

    /// Of ten kills, six hit `token`.
    fn of(number: usize) -> Self {
        match number % 10 {
            0..6 => Self::Token,
            6..8 => Self::Login,
            _ => Self::FirstLogin,
        }
    }

    fn start(self, desk: &Desk, url: &str) -> Child {
        let command = match self {
            Self::Token => desk.command(&["token", url]).spawn(),
            Self::Login | Self::FirstLogin => desk.command(&["login", "--no-browser", url]).spawn(),
        };
        let mut process = command.expect("it starts");
        if self == Self::FirstLogin {
            let messages = BufReader::new(process.stderr.take().expect("a pipe"));
            thread::spawn(move || {
                let lines = messages.lines().map_while(Result::ok);
                for url in lines.filter(|line| line.starts_with("http://127.0.0.1")) {
                    follow(&url, true);
                }
            });
        }
        process
    }

    /// Returns the command's duration without a kill.
    fn span(self, desks: &[Desk], url: &str) -> Duration {
        let mut longest = Duration::ZERO;
        for desk in desks {
            let begun = Instant::now();
            let process = self.start(desk, url);
            let output = process.wait_with_output().expect("it ends");
            longest = longest.max(begun.elapsed());
            assert!(
                output.status.success(),
                "{self:?}: {}",
                text(&output.stderr)
            );
        }
        longest
    }
}

/// One kill.
struct Trial {
    victim: Victim,
    desk: Desk,
    /// The account before and after.
    before: Option<Value>,
    after: Option<Value>,
    /// Whether the command was still running.
    hit: bool,
}

impl Trial {
    fn kill(victim: Victim, desk: Desk, url: &str, after: Duration) -> Self {
        let before = account(&desk);
        let mut process = victim.start(&desk, url);
        sleep(after);
        let _ended = process.kill();
        let status = process.wait().expect("it is gone");
        Self {
            victim,
            before,
            after: account(&desk),
            hit: status.code().is_none(),
            desk,
        }
    }

    /// Returns true if the command held the lease and stored nothing after it.
    fn in_the_middle(&self) -> bool {
        self.after
            .as_ref()
            .is_some_and(|account| !account["lease"].is_null())
    }

    /// Runs the next command after a kill. A lease expires after at most 35 seconds, for all of them
    /// together.
    fn recover(&self, url: &str) -> Child {
        let listed = self.desk.json(&["list"]);
        assert_eq!(listed.0, Some(0), "{}", listed.1);
        let process = self.desk.command(&["token", url]).spawn();
        process.expect("it starts")
    }

    /// Returns true if a signed-in user had to sign in again.
    fn judge(&self, output: &Output, servers: &Servers) -> bool {
        let url = servers.mcp.as_str();
        let said = || format!("{:?}: {}", self.victim, text(&output.stderr));
        let refreshes = |account: &Value| {
            let client = account["client"]["id"].as_str().expect("a client");
            servers.outcomes("refresh_token", client)
        };
        let mut window = false;
        match (output.status.code(), &self.before) {
            (Some(0), None) => {}
            (Some(0), Some(before)) => {
                let outcomes = refreshes(before);
                assert!(!outcomes.is_empty());
                assert!(outcomes.iter().all(|outcome| outcome == "granted"));
            }
            (Some(3), Some(before)) => {
                window = true;
                let outcomes = refreshes(before);
                assert_eq!(outcomes, ["granted", "invalid_grant"], "{}", said());
                let after = self.after.as_ref().expect("an account");
                assert_eq!(before["tokens"], after["tokens"], "it was not saved");
                assert!(self.in_the_middle());
            }
            (Some(3), None) => assert!(self.after.is_none(), "{}", said()),
            (other, _) => panic!("{other:?}: {}", said()),
        }
        if output.status.code() == Some(3) {
            let again = self.desk.sign_in(&[url], false);
            assert!(again.status.success(), "{}", text(&again.stderr));
        }
        // Each of these tokens is valid for seconds only, and this machine may be slow.
        let accepted = (0..10).any(|_| {
            let header = self.desk.run(&["token", url, "--header"]);
            assert!(header.status.success(), "{}", text(&header.stderr));
            call(servers, &text(&header.stdout)) == 200
        });
        assert!(accepted, "{}", said());
        // A command that writes also removes leftovers.
        let login = self.desk.sign_in(&[url], false);
        assert!(login.status.success(), "{}", text(&login.stderr));
        self.look_for_left_overs();
        window
    }

    fn look_for_left_overs(&self) {
        let root = self.desk.path();
        let names = |folder: &str| -> Vec<String> {
            let entries = fs::read_dir(root.join(folder)).into_iter().flatten();
            entries
                .map(|entry| entry.expect("an entry").file_name())
                .map(|name| name.to_string_lossy().into_owned())
                .collect()
        };
        for folder in ["profiles", "slots", "slots/account", "slots/registration"] {
            let names = names(folder);
            assert!(
                names.iter().all(|name| !name.starts_with('.')),
                "{folder}: {names:?}"
            );
        }
        assert_eq!(names("slots/account").len(), 1);
        // Two if another process took the first one's port meanwhile.
        assert!(names("slots/registration").len() <= 2);
        // An interrupted sign-in, which a later login removes.
        assert!(names("slots/pending").len() <= usize::from(self.victim == Victim::FirstLogin));
    }
}

/// Returns the stored account, which must be readable.
fn account(desk: &Desk) -> Option<Value> {
    let folder = desk.path().join("slots/account");
    let complete = |path: &Path| !path.to_string_lossy().contains("/.");
    let files = fs::read_dir(folder).ok()?;
    let path = files
        .map(|entry| entry.expect("an entry").path())
        .find(|path| complete(path.strip_prefix(desk.path()).expect("inside")))?;
    let record = fs::read_to_string(path).expect("text");
    let json = mcp_auth_testing::spelled_out(&record);
    Some(serde_json::from_str(&json).expect("a whole record"))
}

/// Kills 30 times, or as often as `MCP_AUTH_CRASHES` says; a hundred take a few seconds more. Most of the
/// time is one wait of 35 seconds until the leases of killed processes expire. The times are drawn from a
/// fixed seed, over the duration of the command just before.
#[test]
fn a_kill_costs_at_most_the_one_window() {
    let kills: usize =
        std::env::var("MCP_AUTH_CRASHES").map_or(30, |text| text.parse().expect("a number"));
    let servers = Servers::start(&["--token-seconds", TOKEN_SECONDS, "--log"]);
    let url = servers.mcp.as_str();
    let desks = |count: usize, victim: Victim| -> Vec<Desk> {
        let desks: Vec<Desk> = (0..count).map(|_| Desk::new()).collect();
        for desk in desks.iter().filter(|_| victim != Victim::FirstLogin) {
            let output = desk.sign_in(&[url], false);
            assert!(output.status.success(), "{}", text(&output.stderr));
        }
        desks
    };
    let tried = Victim::ALL.map(|victim| (victim, desks(3, victim)));
    let mut stages: BTreeMap<Victim, Vec<Desk>> = BTreeMap::new();
    for number in 0..kills {
        let victim = Victim::of(number);
        stages.entry(victim).or_default().extend(desks(1, victim));
    }
    let seconds: u64 = TOKEN_SECONDS.parse().expect("a number");
    sleep(Duration::from_secs(seconds + 1));

    let spans = BTreeMap::from(tried.map(|(victim, desks)| (victim, victim.span(&desks, url))));
    let mut random = SmallRng::seed_from_u64(9);
    let mut trials = Vec::new();
    for (victim, desks) in stages {
        let parts = u32::try_from(desks.len()).expect("few");
        for (part, desk) in (0..parts).zip(desks) {
            let within = spans[&victim] / parts;
            let after = within * part + within.mul_f64(random.random::<f64>());
            trials.push(Trial::kill(victim, desk, url, after));
        }
    }

    let recovering: Vec<Child> = trials.iter().map(|trial| trial.recover(url)).collect();
    let mut windows = 0;
    for (trial, process) in trials.iter().zip(recovering) {
        let output = process.wait_with_output().expect("it ends");
        windows += usize::from(trial.judge(&output, &servers));
    }
    let hit = trials.iter().filter(|trial| trial.hit).count();
    let middle = trials.iter().filter(|trial| trial.in_the_middle()).count();
    println!(
        "{kills} kills, {hit} before the end, {middle} while renewing, {windows} new sign-ins"
    );
    println!("{spans:?}");
    assert!(middle > 0, "no kill came while a token was renewed");
    assert!(windows <= middle);
}

/// Six processes need the next token, and three are killed: the others all receive it, or all have to sign
/// in. Waits for a lease to expire, as above.
#[test]
fn who_is_left_agrees() {
    let servers = Servers::start(&["--token-seconds", TOKEN_SECONDS, "--log"]);
    let url = servers.mcp.as_str();
    let desks: Vec<Desk> = (0..8).map(|_| Desk::new()).collect();
    for desk in &desks {
        let output = desk.sign_in(&[url], false);
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    let seconds: u64 = TOKEN_SECONDS.parse().expect("a number");
    sleep(Duration::from_secs(seconds + 1));

    let mut random = SmallRng::seed_from_u64(10);
    let left: Vec<Vec<Child>> = desks
        .iter()
        .map(|desk| {
            let start = |_| Victim::Token.start(desk, url);
            let mut processes: Vec<Child> = (0..6).map(start).collect();
            let left = processes.split_off(3);
            for mut victim in processes {
                sleep(Duration::from_millis(20).mul_f64(random.random::<f64>()));
                let _ended = victim.kill();
                let _reaped = victim.wait();
            }
            left
        })
        .collect();
    for (desk, processes) in desks.iter().zip(left) {
        let outputs: Vec<Output> = processes
            .into_iter()
            .map(|process| process.wait_with_output().expect("it ends"))
            .collect();
        let account = account(desk).expect("an account");
        let client = account["client"]["id"].as_str().expect("a client");
        let outcomes = servers.outcomes("refresh_token", client);
        let statuses: Vec<Option<i32>> = outputs.iter().map(|out| out.status.code()).collect();
        match statuses.as_slice() {
            [Some(0), Some(0), Some(0)] => {
                assert!(!outcomes.is_empty());
                assert!(outcomes.iter().all(|outcome| outcome == "granted"));
            }
            [Some(3), Some(3), Some(3)] => assert_eq!(outcomes, ["granted", "invalid_grant"]),
            _ => {
                let said: Vec<String> = outputs.iter().map(|out| text(&out.stderr)).collect();
                panic!("{statuses:?}, {outcomes:?}: {said:?}");
            }
        }
        println!("{outcomes:?}");
    }
}
