//! Simulated users of a gateway, and the built-in servers behind it.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, COOKIE, LOCATION, ORIGIN, SET_COOKIE};
use mcp_auth_testing::authorization::{self, AuthorizationServer, Iss, Options};
use mcp_auth_testing::resource::{Tool, start_mcp};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;

use crate::serve::{asked_to_end, serve_until};
use crate::{Failed, Settings, store};

/// The number of MCP servers.
const SERVERS: usize = 3;
/// How many users act at the same moment.
const AT_ONCE: usize = 32;
/// How many times each user calls a tool at each server.
const ROUNDS: usize = 4;

/// The lifetime of access tokens, which is that of a pause between two rounds too: all tokens are refreshed in each round
/// but the first.
const TOKEN: Duration = Duration::from_secs(3);

struct Load {
    gateway: String,
    http: reqwest::Client,
    turns: Semaphore,
}

/// A signed-in user.
struct User {
    name: String,
    cookie: String,
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

/// Drives a gateway, until that ends or the process is asked to end; its records in Redis are removed in either case.
pub(crate) async fn run(users: usize, settings: Settings) -> Result<(), Failed> {
    let mut unique = [0; 8];
    let random = SystemRandom::new().fill(&mut unique);
    random.map_err(|_| "the operating system has no random bytes")?;
    let prefix = format!("mcp-gateway-load-{:016x}:", u64::from_be_bytes(unique));
    let redis = settings.redis.clone();
    if redis.is_some() {
        println!("its keys in Redis begin with {prefix}, and are removed at the end");
    }
    let told = drive(users, settings, &prefix).await;
    if let Some(redis) = redis {
        match store::empty(&redis, &prefix).await {
            Ok(removed) => println!("{:<24} {removed:>8}", "keys removed from Redis"),
            Err(error) => eprintln!(
                "keys that begin with {prefix} stay in Redis: {error}. Next: redis-cli --scan --pattern '{prefix}*' | \
                 xargs redis-cli unlink"
            ),
        }
    }
    told
}

/// Starts everything, lets the users act, and prints how long that took.
async fn drive(users: usize, settings: Settings, prefix: &str) -> Result<(), Failed> {
    let server = authorization::start(Options {
        iss: Iss::Honest,
        access_token_seconds: TOKEN.as_secs(),
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
        public: None,
        listen: vec![([127, 0, 0, 1], port).into()],
        ..settings
    };
    let load = Arc::new(Load {
        gateway,
        http: reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()?,
        turns: Semaphore::new(AT_ONCE),
    });
    let (end, ended) = oneshot::channel::<()>();
    let serving = serve_until(settings, prefix, async { drop(ended.await) });
    tokio::pin!(serving);
    let acting = async {
        while load.http.get(&load.gateway).send().await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        load.act(users, &server).await
    };
    let told = tokio::select! {
        served = &mut serving => return served,
        told = acting => told,
        () = asked_to_end() => Err("interrupted".into()),
    };
    // The gateway ends gracefully: after that it writes nothing to the store.
    drop(end);
    told.and(serving.await)
}

impl Load {
    /// All users sign in, and call tools in several rounds.
    async fn act(
        self: &Arc<Self>,
        users: usize,
        server: &AuthorizationServer,
    ) -> Result<(), Failed> {
        println!(
            "{users} users, {SERVERS} MCP servers, {AT_ONCE} users at once, {ROUNDS} rounds of tool calls, tokens of {} s",
            TOKEN.as_secs()
        );
        let since = Instant::now();
        let (mut sign_ins, mut calls) = (Times(Vec::new()), Times(Vec::new()));
        let mut tasks = JoinSet::new();
        for number in 0..users {
            let load = Arc::clone(self);
            tasks.spawn(async move {
                let _turn = load.turns.acquire().await?;
                load.sign_in(format!("user-{number}")).await
            });
        }
        let mut present = Vec::new();
        while let Some(told) = tasks.join_next().await {
            let (user, times) = told??;
            sign_ins.0.extend(times);
            present.push(Arc::new(user));
        }
        sign_ins.print("sign-ins", since.elapsed());
        let mut calling = Duration::ZERO;
        for round in 0..ROUNDS {
            if round > 0 {
                tokio::time::sleep(TOKEN).await;
            }
            let since = Instant::now();
            let mut tasks = JoinSet::new();
            for user in &present {
                let (load, user) = (Arc::clone(self), Arc::clone(user));
                tasks.spawn(async move {
                    let _turn = load.turns.acquire().await?;
                    load.calls(&user, round).await
                });
            }
            while let Some(told) = tasks.join_next().await {
                calls.0.extend(told??);
            }
            calling = calling.saturating_add(since.elapsed());
        }
        calls.print("tool calls", calling);
        let (refreshes, reuses) = (server.refreshes(), server.reuses());
        println!("{:<24} {refreshes:>8}", "refreshes");
        println!("{:<24} {reuses:>8}", "refresh tokens reused");
        println!("{:<24} {:>10.1?}", "altogether", since.elapsed());
        if refreshes == 0 {
            return Err("no token was refreshed: that none was reused shows nothing".into());
        }
        if reuses > 0 {
            return Err(format!("{reuses} refresh tokens were used twice, expected: none").into());
        }
        Ok(())
    }

    /// Signs a user in everywhere. Returns how long each sign-in took.
    async fn sign_in(&self, name: String) -> Result<(User, Vec<Duration>), Failed> {
        let mut sign_ins = Vec::new();
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
        Ok((User { name, cookie }, sign_ins))
    }

    /// Calls a tool at each server. Returns how long each call took.
    async fn calls(&self, user: &User, round: usize) -> Result<Vec<Duration>, Failed> {
        let mut calls = Vec::new();
        for server in 0..SERVERS {
            let since = Instant::now();
            let text = format!("{}-{round}-{server}", user.name);
            let form = format!("server={server}&tool=echo&text={text}");
            let (status, _, answer) = self.post("call", &user.cookie, &form).await?;
            // Each user gets the answer to the own question.
            if status != StatusCode::OK || !answer.contains(&text) {
                return Err(format!("{}: {status}: {answer}", user.name).into());
            }
            calls.push(since.elapsed());
        }
        Ok(calls)
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
