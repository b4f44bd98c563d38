//! Simulated users of a gateway, and the built-in servers behind it.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, COOKIE, LOCATION, ORIGIN, SET_COOKIE};
use mcp_auth_testing::authorization::{self, Iss, Options};
use mcp_auth_testing::resource::{Tool, start_mcp};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;

use crate::{Failed, Settings, serve_until};

/// The number of MCP servers.
const SERVERS: usize = 3;
/// How many users act at the same moment.
const AT_ONCE: usize = 32;
/// How many tools each user calls at each server.
const CALLS: usize = 5;

/// The lifetime of access tokens in seconds: some are refreshed meanwhile.
const TOKEN_SECONDS: u64 = 30;

struct Load {
    gateway: String,
    http: reqwest::Client,
}

/// The times of one kind of request.
struct Times(Vec<Duration>);

impl Times {
    fn print(mut self, name: &str, whole: Duration) {
        self.0.sort();
        let count = self.0.len();
        let at = |part: usize| {
            let place = count.saturating_mul(part) / 100;
            self.0.get(place.min(count.saturating_sub(1))).copied()
        };
        let (half, most) = (at(50).unwrap_or_default(), at(99).unwrap_or_default());
        let rate = f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / whole.as_secs_f64();
        println!(
            "{name:<24} {count:>8}   {rate:>8.0}/s   median {half:>10.1?}   99 % {most:>10.1?}"
        );
    }
}

/// Starts everything, lets the users act, and prints how long that took.
pub(crate) async fn run(users: usize, settings: Settings) -> Result<(), Failed> {
    let server = authorization::start(Options {
        iss: Iss::Honest,
        access_token_seconds: TOKEN_SECONDS,
        ..Options::default()
    });
    let server = server.await?;
    let tool = Tool {
        name: "echo",
        description: "Echoes.",
    };
    let (mut mcp, mut running) = (Vec::new(), Vec::new());
    for _ in 0..SERVERS {
        let one = start_mcp(std::slice::from_ref(&tool)).await?;
        server.allow_resource(one.url());
        one.trust(server.issuer(), server.tokens())?;
        mcp.push(one.url());
        running.push(one);
    }
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port();
    let gateway = format!("http://127.0.0.1:{port}");
    let settings = Settings {
        mcp,
        public: gateway.clone(),
        listen: vec![([127, 0, 0, 1], port).into()],
        load: None,
        ..settings
    };
    let (end, ended) = oneshot::channel::<()>();
    let serving = tokio::spawn(serve_until(settings, async { drop(ended.await) }));
    let load = Arc::new(Load {
        gateway,
        http: reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()?,
    });
    while load.http.get(&load.gateway).send().await.is_err() {
        if serving.is_finished() {
            return serving.await?;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!(
        "{users} users, {SERVERS} MCP servers, {AT_ONCE} users at once, tokens of {TOKEN_SECONDS} s"
    );
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    let since = Instant::now();
    let mut tasks = JoinSet::new();
    for number in 0..users {
        let (load, turns) = (Arc::clone(&load), Arc::clone(&turns));
        tasks.spawn(async move {
            let _turn = turns.acquire().await?;
            load.user(&format!("user-{number}")).await
        });
    }
    let (mut sign_ins, mut calls) = (Times(Vec::new()), Times(Vec::new()));
    while let Some(told) = tasks.join_next().await {
        let (signed_in, called) = told??;
        sign_ins.0.extend(signed_in);
        calls.0.extend(called);
    }
    let whole = since.elapsed();
    sign_ins.print("sign-ins", whole);
    calls.print("tool calls", whole);
    println!("{:<24} {:>8}", "refreshes", server.refreshes());
    println!("{:<24} {:>8}", "refresh tokens reused", server.reuses());
    println!("{:<24} {:>10.1?}", "altogether", whole);
    drop(end);
    serving.await?
}

impl Load {
    /// One user: signs in everywhere and calls tools. Returns how long each took.
    async fn user(&self, name: &str) -> Result<(Vec<Duration>, Vec<Duration>), Failed> {
        let (mut sign_ins, mut calls) = (Vec::new(), Vec::new());
        let (_, headers, _) = self.post("login", "", &format!("user={name}")).await?;
        let mut cookie = cookie(&headers)?;
        for server in 0..SERVERS {
            let since = Instant::now();
            let to = format!("{}/connect?server={server}", self.gateway);
            let answer = self.http.get(to).header(COOKIE, &cookie).send().await?;
            if server == 0 {
                let browser = self::cookie(answer.headers())?;
                cookie = format!("{cookie}; {browser}");
            }
            // The consent page of the built-in server agrees by itself.
            let answer = self.http.get(location(answer.headers())?).send().await?;
            let callback = self.http.get(location(answer.headers())?);
            callback.header(COOKIE, &cookie).send().await?;
            sign_ins.push(since.elapsed());
        }
        for number in 0..CALLS {
            for server in 0..SERVERS {
                let since = Instant::now();
                let text = format!("{name}-{number}-{server}");
                let form = format!("server={server}&tool=echo&text={text}");
                let (status, _, answer) = self.post("call", &cookie, &form).await?;
                // Each user gets the answer to the own question.
                if status != StatusCode::OK || !answer.contains(&text) {
                    return Err(format!("{name}: {status}: {answer}").into());
                }
                calls.push(since.elapsed());
            }
        }
        Ok((sign_ins, calls))
    }

    async fn post(
        &self,
        to: &str,
        cookie: &str,
        form: &str,
    ) -> Result<(StatusCode, axum::http::HeaderMap, String), Failed> {
        let request = self.http.post(format!("{}/{to}", self.gateway));
        let request = request
            .header(COOKIE, cookie)
            .header(ORIGIN, &self.gateway)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        let answer = request.body(form.to_owned()).send().await?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        Ok((status, headers, answer.text().await?))
    }
}

fn location(headers: &axum::http::HeaderMap) -> Result<String, Failed> {
    let place = headers.get(LOCATION).ok_or("not redirected")?;
    Ok(place.to_str()?.to_owned())
}

fn cookie(headers: &axum::http::HeaderMap) -> Result<String, Failed> {
    let cookie = headers.get(SET_COOKIE).ok_or("no cookie")?.to_str()?;
    let (pair, _) = cookie.split_once(';').unwrap_or((cookie, ""));
    Ok(pair.to_owned())
}
