//! The gateway as a program: its settings, a store that is away, and its end.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use http::StatusCode;
use http::header::{CONTENT_TYPE, HOST, LOCATION, ORIGIN, RETRY_AFTER};
use mcp_auth_testing::{RedisServer, free_port};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::block_in_place;
use tokio::time::{sleep, timeout};

use crate::browser::Browser;

/// 32 bytes, used in these tests only.
const KEY: &str = "dGVzdHMgdGVzdHMgdGVzdHMgdGVzdHMgdGVzdHMgdGU";

/// No request is sent there.
const MCP: &str = "http://127.0.0.1:9/mcp";

fn program(options: &[&str], environment: &[(&str, &str)]) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_gateway"));
    program
        .args(options)
        .env_remove("REDIS_URL")
        .env_remove("GATEWAY_KEY")
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    program
}

/// Runs the program to its end, which is an error; what it said.
fn error(options: &[&str], environment: &[(&str, &str)]) -> String {
    let ended = program(options, environment).output().unwrap();
    assert!(!ended.status.success());
    String::from_utf8(ended.stderr).unwrap()
}

/// A gateway that runs. Killed on drop.
struct Running {
    process: Child,
    origin: String,
    port: u16,
}

impl Running {
    /// Starts it, and waits until it listens.
    fn start(options: &[&str], environment: &[(&str, &str)]) -> Self {
        let port = free_port().unwrap();
        let listen = format!("127.0.0.1:{port}");
        let all = [&["--mcp", MCP, "--listen", &listen], options].concat();
        let mut process = program(&all, environment).spawn().unwrap();
        let mut line = String::new();
        let said = process.stdout.take().unwrap();
        BufReader::new(said).read_line(&mut line).unwrap();
        assert!(line.starts_with("listening on "), "{line}");
        Self {
            process,
            origin: format!("http://{listen}"),
            port,
        }
    }

    /// Asks it to end.
    fn terminate(&self) {
        let id = self.process.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &id]).status();
        assert!(sent.unwrap().success());
    }

    /// Returns what it said, once it has ended.
    fn said(mut self) -> String {
        let mut said = String::new();
        let errors = self.process.stderr.take().unwrap();
        BufReader::new(errors).read_to_string(&mut said).unwrap();
        assert!(self.process.wait().unwrap().success());
        said
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _reaped = self.process.wait();
    }
}

#[test]
fn errors_of_settings_are_sentences_with_the_next_step() {
    let listen = ["--listen", "127.0.0.1:0"];
    let with = |options: &[&'static str]| [options, &listen].concat();
    for (options, environment, words) in [
        (
            with(&["--mcp", "mcp.example"]),
            vec![],
            "gateway: --mcp mcp.example: the MCP URL is not an absolute URL",
        ),
        (
            with(&["--mcp", MCP]),
            vec![("GATEWAY_KEY", "abc")],
            "GATEWAY_KEY: the secret has 2 bytes; 32 random bytes in base64url",
        ),
        (
            with(&["--mcp", MCP]),
            vec![("GATEWAY_KEY", "a+b/")],
            "characters other than A-Z, a-z, 0-9, - and _",
        ),
        (
            with(&["--mcp", MCP]),
            vec![("REDIS_URL", "redis://127.0.0.1")],
            "Next: export GATEWAY_KEY=$(openssl rand",
        ),
        (
            with(&["--mcp", MCP]),
            vec![
                ("REDIS_URL", "http://:hidden@127.0.0.1"),
                ("GATEWAY_KEY", KEY),
            ],
            "a URL such as redis://127.0.0.1:6379 is expected",
        ),
        (
            with(&["--mcp", MCP, "--public", "https://gateway.example/below"]),
            vec![],
            "--public https://gateway.example/below: an origin is expected",
        ),
        (
            with(&["--mcp", MCP, "--public", "http://gateway.example"]),
            vec![],
            "--public: the callback http://gateway.example/callback: the redirect URI must be https",
        ),
        (
            vec!["--mcp", MCP, "--listen", "localhost:8080"],
            vec![],
            "such as 127.0.0.1:8080",
        ),
    ] {
        let said = error(&options, &environment);
        assert!(said.contains(words), "{words}: {said}");
        assert!(
            !said.contains("hidden") && !said.contains("NoKey"),
            "{said}"
        );
    }
    let help = program(&["--help"], &[]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    assert!(help.starts_with("A gateway: "), "{help}");
    assert!(help.contains("43 characters") && !help.contains("[default: \"\"]"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_away_is_named_with_its_reason_and_answers_503_until_it_returns() {
    let mut redis = block_in_place(RedisServer::start).unwrap();
    block_in_place(|| redis.stop());
    let url = redis.url().replace("redis://", "redis://:hidden@");
    let settings = [("REDIS_URL", url.as_str()), ("GATEWAY_KEY", KEY)];
    let gateway = block_in_place(|| Running::start(&[], &settings));
    let origin = gateway.origin.clone();
    let alice = Browser::of("alice", &origin).await;
    for path in ["status", "connect"] {
        let since = Instant::now();
        let (status, headers, text) = alice.get(&format!("{origin}/{path}")).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(headers[RETRY_AFTER], "5");
        assert!(text.contains("cannot read its store"), "{text}");
        assert!(since.elapsed() < Duration::from_secs(15));
    }
    let (status, headers, _) = alice.post(&origin, "call", "tool=echo&text=x").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(headers[RETRY_AFTER], "5");

    // The password that the gateway has is unknown to the new server, which needs none: an error of its own.
    block_in_place(|| redis.start_again().unwrap());
    let open = redis::Client::open(redis.url()).unwrap();
    let mut connection = block_in_place(|| open.get_connection().unwrap());
    let mut set = redis::cmd("CONFIG");
    set.arg("SET").arg("requirepass").arg("hidden");
    block_in_place(|| set.exec(&mut connection).unwrap());
    let since = Instant::now();
    while alice.get(&format!("{origin}/status")).await.0 != StatusCode::OK {
        assert!(since.elapsed() < Duration::from_secs(60));
        sleep(Duration::from_millis(50)).await;
    }
    sleep(Duration::from_millis(1_500)).await;
    // While the gateway runs, an outage has its reason too.
    block_in_place(|| redis.stop());
    for _ in 0..2 {
        let (status, ..) = alice.get(&format!("{origin}/status")).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    }
    gateway.terminate();
    let said = block_in_place(|| gateway.said());
    let place = format!("Redis at 127.0.0.1:{}", redis.port());
    let fails = format!("{place} fails: ");
    assert!(said.starts_with(&fails), "{said}");
    assert_eq!(said.matches(&fails).count(), 2, "{said}");
    assert!(said.contains("Connection refused"), "{said}");
    assert_eq!(
        said.matches(&format!("{place} answers.")).count(),
        1,
        "{said}"
    );
    assert!(!said.contains("hidden"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_without_an_end_does_not_keep_the_process() {
    let gateway = block_in_place(|| Running::start(&["--grace", "1"], &[]));
    let mut half = TcpStream::connect(("127.0.0.1", gateway.port))
        .await
        .unwrap();
    let text = b"POST /call HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Le";
    half.write_all(text).await.unwrap();
    sleep(Duration::from_millis(200)).await;
    gateway.terminate();
    let ended = tokio::task::spawn_blocking(|| gateway.said());
    let said = timeout(Duration::from_secs(15), ended)
        .await
        .unwrap()
        .unwrap();
    assert!(
        said.contains("under way still after 1 s (--grace)"),
        "{said}"
    );
    drop(half);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_says_what_was_seen_and_what_is_expected() {
    let gateway = block_in_place(|| Running::start(&[], &[]));
    let (origin, port) = (gateway.origin.clone(), gateway.port);
    let http = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap();
    let login = |to: &str| {
        let request = http.post(format!("{to}/login"));
        let form = "application/x-www-form-urlencoded";
        request.header(CONTENT_TYPE, form).body("user=alice")
    };
    let local = format!("http://localhost:{port}");
    let expected = format!("Expected: {origin}.");
    for (request, words) in [
        (login(&origin), vec!["Header Origin: none.", &expected]),
        (
            login(&origin).header(ORIGIN, "null"),
            vec!["Header Origin: `null`.", &expected],
        ),
        // `localhost` counts where the request goes there.
        (
            login(&origin).header(ORIGIN, &local),
            vec!["localhost", &expected],
        ),
        (
            login(&origin)
                .header(ORIGIN, &origin)
                .header(HOST, "evil.example"),
            vec!["Header Host: `evil.example`.", &origin],
        ),
        (
            http.get(format!("{origin}/connect"))
                .header("sec-fetch-site", "cross-site"),
            vec!["Header Sec-Fetch-Site: `cross-site`."],
        ),
    ] {
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::FORBIDDEN);
        let kind = answer.headers()[CONTENT_TYPE].to_str().unwrap();
        assert!(kind.starts_with("text/plain"), "{kind}");
        let text = answer.text().await.unwrap();
        for words in words {
            assert!(text.contains(words), "{words}: {text}");
        }
    }

    // The other name of the loopback address: its forms work, its pages lead to the name that has the cookies.
    let answer = login(&local)
        .header(ORIGIN, &local)
        .header(HOST, format!("localhost:{port}"));
    let answer = answer.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
    let page = http.get(format!("{origin}/status?x=1"));
    let page = page
        .header(HOST, format!("LocalHost:{port}"))
        .send()
        .await
        .unwrap();
    assert_eq!(page.status(), StatusCode::TEMPORARY_REDIRECT);
    assert_eq!(page.headers()[LOCATION], format!("{origin}/status?x=1"));

    gateway.terminate();
    let said = block_in_place(|| gateway.said());
    let logged = format!("403 for POST /login: Origin: `null`, expected: {origin}, {local}");
    assert!(said.contains(&logged), "{said}");
    assert_eq!(said.lines().count(), 5, "{said}");
}

#[test]
fn a_load_test_refreshes_and_leaves_nothing_in_redis() {
    let redis = RedisServer::start().unwrap();
    let url = redis.url();
    let client = redis::Client::open(url.as_str()).unwrap();
    let mut connection = client.get_connection().unwrap();
    let mut set = redis::cmd("SET");
    set.arg("mcp-gateway:other").arg("kept");
    set.exec(&mut connection).unwrap();
    let done = program(&["--load", "2"], &[("REDIS_URL", &url)])
        .output()
        .unwrap();
    let said = String::from_utf8(done.stdout).unwrap();
    assert!(done.status.success(), "{said}");
    let number = |name: &str| -> usize {
        let line = said
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap();
        line.trim().parse().unwrap()
    };
    // Two users, three servers, three rounds with expired tokens.
    assert_eq!(number("refreshes"), 18);
    assert_eq!(number("refresh tokens reused"), 0);
    assert!(number("keys removed from Redis") >= 6);
    let keys = || -> Vec<String> {
        let mut connection = client.get_connection().unwrap();
        redis::cmd("KEYS").arg("*").query(&mut connection).unwrap()
    };
    assert_eq!(keys(), ["mcp-gateway:other"]);

    // Interrupted while users are at work.
    let mut process = program(&["--load", "50"], &[("REDIS_URL", &url)])
        .spawn()
        .unwrap();
    let since = Instant::now();
    while keys().len() < 10 {
        assert!(since.elapsed() < Duration::from_secs(30));
        std::thread::sleep(Duration::from_millis(50));
    }
    let id = process.id().to_string();
    let sent = Command::new("kill").args(["-INT", &id]).status();
    assert!(sent.unwrap().success());
    assert!(!process.wait().unwrap().success());
    assert_eq!(keys(), ["mcp-gateway:other"]);
}
