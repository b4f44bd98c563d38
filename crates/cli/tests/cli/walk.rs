//! A random walk of `login`, `token`, `status`, `list` and `logout` with failing servers, wrong options,
//! kills, full disks and locks that another program holds, compared with a model. No step loses an account or a secret that worked before,
//! and no secret is left after a logout.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;

use crate::fake::{Fake, Mode};
use crate::support::{Desk, text};

const ACCOUNTS: [&str; 2] = ["default", "work"];

/// The end of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Itself,
    /// A signal once the URL is printed, or after this many milliseconds.
    Signal(&'static str, u64),
}

#[derive(Clone, Debug)]
struct Step {
    account: usize,
    arguments: Vec<String>,
    /// The line on standard input.
    typed: Option<String>,
    /// Whether a user follows the URL.
    attended: bool,
    full_disk: bool,
    /// Another program locks this file after so many milliseconds, for so many.
    lock: Option<(&'static str, u64, u64)>,
    end: End,
    /// The servers during this step.
    mcp: Mode,
    token: Mode,
    register: Mode,
    revoke: Mode,
}

/// The tokens of an account, as the servers know them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Held {
    access: Option<String>,
    refresh: Option<String>,
    works: bool,
    lease: bool,
}

struct Walk {
    fake: Fake,
    desk: Desk,
    random: SmallRng,
    kills: u32,
    windows: u32,
    full: u32,
    locks: u32,
    ends: BTreeMap<String, u32>,
}

impl Walk {
    fn new(seed: u64) -> Self {
        let fake = Fake::start();
        for account in ACCOUNTS {
            fake.state()
                .clients
                .insert(format!("client of {account}"), Some(secret(account)));
        }
        Self {
            fake,
            desk: Desk::new(),
            random: SmallRng::seed_from_u64(seed),
            kills: 0,
            windows: 0,
            full: 0,
            locks: 0,
            ends: BTreeMap::new(),
        }
    }

    fn one_in(&mut self, of: u32) -> bool {
        self.random.random_range(0..of) == 0
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.random.random_range(0..of.len())].clone()
    }

    fn step(&mut self) -> Step {
        let account = self.random.random_range(0..ACCOUNTS.len());
        let name = ACCOUNTS[account];
        let kind = self.pick(&[
            "login", "login", "login", "token", "token", "token", "headers", "status", "list",
            "doctor", "logout",
        ]);
        let mut arguments = vec![kind.to_owned()];
        let mut typed = None;
        let mut attended = false;
        if kind != "list" {
            arguments.extend([self.fake.url(), "--account".to_owned(), name.to_owned()]);
        }
        match kind {
            "login" => {
                arguments.extend(["--no-browser", "--timeout", "20"].map(str::to_owned));
                attended = true;
                match self.random.random_range(0..10) {
                    0 | 1 => {
                        let id = format!("client of {name}");
                        arguments.extend(["--client-id".to_owned(), id]);
                        arguments.push("--client-secret-prompt".to_owned());
                        typed = Some(secret(name));
                    }
                    2 => arguments.extend(["--client-id", "nobody"].map(str::to_owned)),
                    3 => arguments.extend(["--scope", "base more"].map(str::to_owned)),
                    4 => arguments.extend(
                        ["--client-id", "nobody", "--client-secret-file", "/nowhere"]
                            .map(str::to_owned),
                    ),
                    5 => arguments.push("--new-client".to_owned()),
                    6 => arguments.extend(["--issuer", "https://as.example"].map(str::to_owned)),
                    _ => {}
                }
                for _ in 0..self.random.random_range(0..3) {
                    arguments.extend(self.option());
                }
            }
            "token" => {
                arguments.extend(["--timeout", "2"].map(str::to_owned));
                arguments.extend(self.of_token());
            }
            "headers" => {
                arguments.extend(["--within", "2"].map(str::to_owned));
                if self.one_in(3) {
                    arguments.push("--refused".to_owned());
                }
            }
            "doctor" => {
                arguments.extend(["--timeout", "2"].map(str::to_owned));
                arguments.extend(self.of_network());
            }
            "logout" => {
                arguments.extend(["--timeout", "1"].map(str::to_owned));
                if self.one_in(3) {
                    arguments.push("--forget-client".to_owned());
                }
            }
            _ => {}
        }
        let end = if self.one_in(4) {
            let signal = self.pick(&["KILL", "KILL", "INT", "TERM", "HUP"]);
            End::Signal(signal, self.random.random_range(0..60))
        } else {
            End::Itself
        };
        let fails = [
            // A token that was just issued is refused, too.
            Mode::Answers(401, "text/plain", "no"),
            Mode::Answers(403, "text/plain", "no"),
            Mode::Answers(404, "text/plain", "no"),
            Mode::Answers(500, "text/plain", "no"),
            Mode::Answers(200, "text/html", "<h1>"),
            Mode::Answers(400, "application/json", "{\"error\":\"invalid_request\"}"),
            Mode::Redirects(302, "/elsewhere"),
            Mode::Closes,
        ];
        let mut mode = || {
            if self.one_in(10) {
                self.pick(&fails)
            } else {
                Mode::Works
            }
        };
        let (mcp, token, register, revoke) = (mode(), mode(), mode(), mode());
        // With these responses a server reports an invalid refresh token.
        let token = if matches!(token, Mode::Answers(400..=404, ..)) {
            Mode::Answers(503, "text/plain", "no")
        } else {
            token
        };
        Step {
            account,
            arguments,
            typed,
            attended,
            full_disk: self.one_in(12),
            lock: self.one_in(15).then(|| {
                let name = self.pick(&["lock", "slots/lock"]);
                let after = self.random.random_range(0..60);
                (name, after, self.pick(&[50, 300, 3_500]))
            }),
            end,
            mcp,
            token,
            register,
            revoke,
        }
    }

    /// Returns an option of `login`, right or wrong.
    fn option(&mut self) -> Vec<String> {
        if self.one_in(2) {
            return self.of_network();
        }
        let key = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keys/p256.pem");
        let of: [&[&str]; 12] = [
            &["--auth-method", "client_secret_post"],
            &["--auth-method", "client_secret_basic"],
            &["--client-key", key],
            &[
                "--client-metadata-url",
                "https://client.example/client.json",
            ],
            &["--dpop-key", key],
            &["--port", "7"],
            &["--redirect-host", "localhost"],
            &["--also-scope", "more"],
            &["--scope", ""],
            &["--client-secret-file", "/nowhere"],
            &["--account", "another"],
            &["--client-credentials"],
        ];
        // The account that the step names is the one that it may change.
        let chosen = self.pick(&of[..11]);
        let chosen = if chosen[0] == "--account" {
            of[7]
        } else {
            chosen
        };
        chosen.iter().map(|&word| word.to_owned()).collect()
    }

    /// Returns an option of `login` and `doctor` for the network and the authorization server.
    fn of_network(&mut self) -> Vec<String> {
        let issuer = self.fake.issuer();
        let resource = format!("{issuer}/.well-known/oauth-protected-resource/mcp");
        let dead = "http://127.0.0.1:9";
        let of: [&[&str]; 14] = [
            &["--prefer-issuer", &issuer],
            &["--prefer-issuer", "https://as.example"],
            &["--allow-host", "10.1.2.3"],
            &["--allow-host", "not/a/host"],
            &["--client-cert-host", "127.0.0.1"],
            &["--authorization-server", &issuer],
            &["--authorization-server", dead],
            &["--resource-metadata", &resource],
            &["--resource-metadata", dead],
            &["--server-metadata", "/nowhere"],
            &["--issuer-settings", "/nowhere"],
            &["--ca-file", "/nowhere"],
            &["--client-cert", "/nowhere", "--client-cert-key", "/nowhere"],
            &["--legacy"],
        ];
        let chosen = self.pick(&of);
        chosen.iter().map(|&word| word.to_owned()).collect()
    }

    /// Returns an option of `token`.
    fn of_token(&mut self) -> Vec<String> {
        let of: [&[&str]; 5] = [
            &[],
            &["--refused"],
            &["--min-ttl", "5"],
            &["--header", "--method", "GET"],
            &["--json"],
        ];
        let chosen = self.pick(&of);
        chosen.iter().map(|&word| word.to_owned()).collect()
    }

    /// Returns the tokens in an account's record.
    fn held(&self, account: usize) -> Held {
        let Some((_, record)) = self
            .records("account")
            .into_iter()
            .find(|(_, record)| record["principal"] == ACCOUNTS[account])
        else {
            return Held::default();
        };
        let token = |name: &str| record["tokens"][name].as_str().map(str::to_owned);
        let (access, refresh) = (token("access"), token("refresh"));
        let state = self.fake.state();
        let works = access
            .as_deref()
            .is_some_and(|token| state.knows_access(token))
            || refresh
                .as_deref()
                .is_some_and(|token| state.knows_refresh(token));
        Held {
            access,
            refresh,
            works,
            lease: !record["lease"].is_null(),
        }
    }

    fn records(&self, kind: &str) -> Vec<(PathBuf, Value)> {
        let folder = self.desk.path().join("slots").join(kind);
        let files = fs::read_dir(folder).into_iter().flatten().flatten();
        files
            .filter_map(|file| {
                let text = fs::read_to_string(file.path()).ok()?;
                let (_, contents) = text.split_once('\n')?;
                let json = mcp_auth_testing::spelled_out(contents);
                Some((file.path(), serde_json::from_str(&json).ok()?))
            })
            .collect()
    }

    fn run(&mut self, step: &Step) -> Output {
        {
            let mut state = self.fake.state();
            state.mcp = step.mcp.clone();
            state.token = step.token.clone();
            state.register = step.register.clone();
            state.revoke = step.revoke.clone();
        }
        let plain = self.desk.command(&[]);
        let mut command = if step.full_disk {
            self.full += 1;
            let mut command = Command::new("sh");
            command
                .args(["-c", "trap '' XFSZ; ulimit -f 0; exec \"$@\"", "sh"])
                .arg(plain.get_program())
                .env("MCP_AUTH_STORE", self.desk.path())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped());
            command
        } else {
            plain
        };
        let mut process = command
            .args(&step.arguments)
            .stdin(Stdio::piped())
            .spawn()
            .expect("it starts");
        let over = Arc::new(AtomicBool::new(false));
        let locker = step.lock.map(|lock| {
            self.locks += 1;
            held_by_another(self.desk.path().join(lock.0), lock, Arc::clone(&over))
        });
        if let Some(typed) = &step.typed {
            let stdin = process.stdin.as_mut().expect("a pipe");
            let _gone = writeln!(stdin, "{typed}");
        }
        if step.attended {
            let killer = match step.end {
                End::Signal(signal, after) if after >= 30 => Some((signal, after - 30)),
                End::Signal(..) | End::Itself => None,
            };
            let stderr = process.stderr.take().expect("a pipe");
            let mut seen = false;
            let mut timer = killer.map(|(signal, after)| late(&process, signal, after));
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if !line.starts_with("http://127.0.0.1") || seen {
                    continue;
                }
                seen = true;
                match step.end {
                    // Once the URL is printed.
                    End::Signal(signal, after) if after < 30 => kill(&process, signal),
                    // Without a redirect back, the user cancels.
                    End::Signal(..) | End::Itself => {
                        if !visit(&line) {
                            kill(&process, "TERM");
                        }
                    }
                }
            }
            if let Some(timer) = timer.take() {
                timer.join().expect("it ends");
            }
        } else if let End::Signal(signal, after) = step.end {
            late(&process, signal, after).join().expect("it ends");
        }
        let output = process.wait_with_output().expect("it ends");
        over.store(true, Ordering::Relaxed);
        if let Some(locker) = locker {
            locker.join().expect("it ends");
        }
        {
            let mut state = self.fake.state();
            state.mcp = Mode::Works;
            state.token = Mode::Works;
            state.register = Mode::Works;
            state.revoke = Mode::Works;
        }
        output
    }

    /// Runs one step, and checks the model.
    fn walk(&mut self) {
        // Tokens are short-lived or long-lived; sometimes the server has forgotten them.
        self.fake.state().token_seconds = self.pick(&[1, 3_600, 3_600]);
        if self.one_in(20) {
            self.fake.state().forget_access();
        }
        let step = self.step();
        let before: Vec<Held> = (0..ACCOUNTS.len())
            .map(|account| self.held(account))
            .collect();
        let secrets_before = self.typed_secrets();
        let tokens = self.fake.state().requests.len();
        let output = self.run(&step);
        let killed = output.status.code().is_none();
        self.kills += u32::from(killed);
        let said = format!("{step:?}: {:?} {}", output.status, text(&output.stderr));
        assert!(!said.contains("panicked"), "{said}");
        *self
            .ends
            .entry(format!("{} {:?}", step.arguments[0], output.status.code()))
            .or_default() += 1;
        let logs_out = step.arguments[0] == "logout";
        // The next command completes or undoes the work of a killed command, or of a failed logout, and stores the tokens that
        // a lock kept out of the store.
        if killed || step.lock.is_some() || logs_out && !output.status.success() {
            let list = self.desk.run(&["list"]);
            assert!(list.status.success(), "{said}: {}", text(&list.stderr));
        }
        let asked = self.fake.state().requests[tokens..]
            .iter()
            .any(|request| request == "POST /token");
        for (account, before) in before.iter().enumerate() {
            let after = self.held(account);
            if logs_out && account == step.account {
                if output.status.success() || finished(before, &after) {
                    self.nothing_is_left(account, before, &said);
                }
                continue;
            }
            let lost = before.works && !after.works;
            if lost && account == step.account && killed && asked {
                // The window of `renewal.md`: the server had responded, and the process was killed before
                // the write.
                self.windows += 1;
                continue;
            }
            assert!(
                !lost,
                "lost {}: {before:?} {after:?} {said}",
                ACCOUNTS[account]
            );
            if before.works && secrets_before[account] {
                let kept =
                    self.typed_secrets()[account] || account == step.account && changed(&step);
                assert!(kept, "the secret of {} is lost: {said}", ACCOUNTS[account]);
            }
        }
        let stuck = self.held(step.account).lease;
        if stuck {
            // A lease of a killed process expires after 35 seconds, too long for this walk.
            let url = self.fake.url();
            let name = ACCOUNTS[step.account];
            let _out = self
                .desk
                .run(&["logout", &url, "--account", name, "--timeout", "1"]);
        }
    }

    /// Returns for each account whether its typed secret is stored.
    fn typed_secrets(&self) -> Vec<bool> {
        let folder = self.desk.path().join("secrets");
        let files = fs::read_dir(folder).into_iter().flatten().flatten();
        let found: Vec<String> = files
            .map(|file| fs::read_to_string(file.path()).unwrap_or_default())
            .collect();
        ACCOUNTS
            .iter()
            .map(|account| found.contains(&secret(account)))
            .collect()
    }

    /// Checks that no secret of an account is in the store.
    fn nothing_is_left(&self, account: usize, before: &Held, said: &str) {
        let files = crate::transactions::files(&self.desk);
        let secrets = [
            before.access.clone(),
            before.refresh.clone(),
            Some(secret(ACCOUNTS[account])),
        ];
        for secret in secrets.iter().flatten() {
            for (name, text) in &files {
                assert!(
                    !text.contains(secret.as_str()),
                    "{secret} in {name}: {said}"
                );
            }
        }
        for (path, record) in self.records("pending") {
            assert_ne!(
                record["principal"],
                ACCOUNTS[account],
                "{}: {said}",
                path.display()
            );
        }
        assert!(
            !files.keys().any(|name| name.contains(".writing-")),
            "{said}"
        );
    }
}

/// Returns true if the next command completed an interrupted logout.
fn finished(before: &Held, after: &Held) -> bool {
    before.access.is_some() && after.access.is_none()
}

/// Returns true if a step gives the account another client, whose secret replaces the former one.
fn changed(step: &Step) -> bool {
    let options = [
        "--client-id",
        "--new-client",
        "--client-metadata-url",
        "--client-key",
    ];
    step.arguments
        .iter()
        .any(|argument| options.contains(&argument.as_str()))
}

/// Locks a file, as another program does, for a while or until the command has ended.
fn held_by_another(
    file: PathBuf,
    (_, after, time): (&'static str, u64, u64),
    over: Arc<AtomicBool>,
) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        sleep(Duration::from_millis(after));
        let Ok(lock) = fs::File::options().write(true).open(file) else {
            return;
        };
        let begun = Instant::now();
        let is_over = || over.load(Ordering::Relaxed) || begun.elapsed().as_millis() > time.into();
        while lock.try_lock().is_err() && !is_over() {
            sleep(Duration::from_millis(1));
        }
        while !is_over() {
            sleep(Duration::from_millis(1));
        }
    })
}

/// Follows the URL like a browser; returns true if it was redirected back.
fn visit(url: &str) -> bool {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .build()
        .into();
    let answer = agent.get(url).call().expect("an answer");
    let location = answer
        .headers()
        .get("location")
        .map(|to| to.to_str().expect("a URL"));
    location.is_some_and(|to| agent.get(to).call().is_ok())
}

fn secret(account: &str) -> String {
    format!("the typed secret of {account}")
}

fn kill(process: &Child, signal: &str) {
    kill_id(process.id(), signal);
}

fn kill_id(id: u32, signal: &str) {
    // The process may have ended already.
    let _killed = Command::new("kill")
        .args(["-s", signal, &id.to_string()])
        .stderr(Stdio::null())
        .status();
}

/// Sends the signal after a delay.
fn late(process: &Child, signal: &'static str, after: u64) -> std::thread::JoinHandle<()> {
    let id = process.id();
    std::thread::spawn(move || {
        sleep(Duration::from_millis(after));
        kill_id(id, signal);
    })
}

/// Takes 150 steps, or as many as `MCP_AUTH_WALK` says, from the seed `MCP_AUTH_SEED`.
#[cfg(unix)]
#[test]
fn no_step_loses_what_worked_and_no_logout_leaves_a_secret() {
    let number = |name: &str, otherwise: u64| {
        std::env::var(name).map_or(otherwise, |text| text.parse().expect("a number"))
    };
    let steps = number("MCP_AUTH_WALK", 150);
    let mut walk = Walk::new(number("MCP_AUTH_SEED", 1));
    for _ in 0..steps {
        walk.walk();
    }
    println!(
        "{steps} steps, {} kills, {} with a full disk, {} with a lock, {} windows",
        walk.kills, walk.full, walk.locks, walk.windows
    );
    for (end, count) in &walk.ends {
        println!("  {count:>5}  {end}");
    }
}
