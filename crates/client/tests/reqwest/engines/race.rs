//! Eight processes, one store, and many accounts whose token is refused at the same moment.

use std::io::Write;

use http::{Method, StatusCode};
use mcp_auth_client::asynchronous::{Accounts, Network, Returned, Server};
use mcp_auth_client::{AsyncRedisStore, PostgresStore, SharedStore, seed};
use mcp_auth_machine::Config;
use mcp_auth_machine::config::RegistrationSharing;
use mcp_auth_machine::wire::callback::Callback;
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, block_in_place};

use crate::engines::servers::Postgres;
use crate::processes::Part;
use crate::support::{World, http, token};
use mcp_auth_testing::RedisServer;

const PROCESSES: usize = 8;

static TURNS: Semaphore = Semaphore::const_new(64);

/// How many accounts race: `RACE_ACCOUNTS` says otherwise.
fn accounts_to_race() -> usize {
    let said = std::env::var("RACE_ACCOUNTS").ok();
    said.map_or(25, |text| text.parse().unwrap())
}

async fn store(url: &str) -> SharedStore {
    if url.starts_with("redis") {
        return SharedStore::new(AsyncRedisStore::open(url, "race:").unwrap());
    }
    let postgres = PostgresStore::open(url).unwrap();
    postgres.migrate().await.unwrap();
    SharedStore::new(postgres)
}

pub(crate) async fn open(url: &str, mcp: &str) -> (Accounts, Server) {
    let network = Network::builder().http(|| reqwest::ClientBuilder::new().no_proxy());
    let accounts = Accounts::builder(store(url).await)
        .network(&network.build().unwrap())
        // All processes together have as much under way as one server bears.
        .machines(64)
        .start()
        .unwrap();
    let config = Config::builder(mcp, "http://127.0.0.1:9/callback")
        .client_name("race")
        .registration_sharing(RegistrationSharing::AcrossPrincipals);
    let server = accounts.add_server(config.build().unwrap());
    (accounts, server)
}

pub(crate) async fn post(
    http: &reqwest::Client,
    url: &str,
    headers: http::HeaderMap,
) -> reqwest::Response {
    let body = r#"{"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}"#;
    let request = http.post(url).headers(headers);
    let request = request
        .header("content-type", "application/json")
        .body(body);
    // The requests of this client, which are not the driver's, take their turn as well.
    let _turn = TURNS.acquire().await.unwrap();
    request.send().await.unwrap()
}

async fn call(http: &reqwest::Client, accounts: &Accounts, server: &Server, user: &str) -> String {
    let mut call = accounts.call(server, user, "tools/list", Method::POST);
    loop {
        let headers = call.headers().await.unwrap();
        let answer = post(http, server.url(), headers.clone()).await;
        if !call.again(answer.status(), answer.headers()).await.unwrap() {
            assert_eq!(answer.status(), StatusCode::OK, "{user}");
            return token(&headers);
        }
    }
}

pub(crate) async fn sign_in(
    world: &World,
    accounts: &Accounts,
    server: &Server,
    user: &str,
) -> String {
    let redirect = accounts.begin(server, user, seed().unwrap()).await;
    let redirect = redirect.unwrap().unwrap();
    let callback = Callback::from_url(world.follow(&redirect).await);
    let told = accounts.came_back(callback).await.unwrap();
    assert!(matches!(told, Returned::SignedIn { .. }));
    redirect.client_id.to_string()
}

/// Signs users in, has their tokens refused, and lets all processes find that out at once.
async fn race(url: String) {
    let world = World::start().await;
    let (accounts, server) = open(&url, &world.url).await;
    let users: Vec<String> = (0..accounts_to_race())
        .map(|user| format!("user {user}"))
        .collect();
    let mut old = Vec::new();
    for user in &users {
        let client = sign_in(&world, &accounts, &server, user).await;
        let token = call(&world.http, &accounts, &server, user).await;
        world.revoke(&token, &client).await;
        old.push(token);
    }
    accounts.close().await.unwrap();
    let number = users.len().to_string();
    let settings = [
        ("RACE_STORE", url.as_str()),
        ("RACE_MCP", world.url.as_str()),
        ("RACE_USERS", number.as_str()),
    ];
    let told: Vec<Vec<String>> = block_in_place(|| {
        let start = |_| Part::start("engines::race::racer", &settings);
        let mut racers: Vec<_> = (0..PROCESSES).map(start).collect();
        for racer in &mut racers {
            racer.says("ready");
        }
        for racer in &mut racers {
            racer.go_on();
        }
        let told = racers.iter_mut().map(|racer| {
            let tokens = racer.says("tokens ");
            tokens.split(' ').map(str::to_owned).collect()
        });
        let told = told.collect();
        for racer in racers {
            racer.ends_well();
        }
        told
    });
    for tokens in &told {
        assert_eq!(
            *tokens, told[0],
            "every process has the one new token of each"
        );
        assert_eq!(tokens.len(), users.len());
        assert!(tokens.iter().zip(&old).all(|(new, old)| new != old));
    }
    assert_eq!(
        world.server.refreshes(),
        u64::try_from(users.len()).unwrap()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refr01_many_processes_refresh_each_account_once_on_redis() {
    let redis = block_in_place(RedisServer::start).unwrap();
    race(redis.url()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refr01_many_processes_refresh_each_account_once_on_postgres() {
    let postgres = block_in_place(Postgres::start);
    race(postgres.url()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a process of another test"]
async fn racer() {
    let Ok(url) = std::env::var("RACE_STORE") else {
        return;
    };
    let setting = |name: &str| std::env::var(name).unwrap();
    let (accounts, server) = open(&url, &setting("RACE_MCP")).await;
    let users: usize = setting("RACE_USERS").parse().unwrap();
    println!("ready");
    std::io::stdout().flush().unwrap();
    block_in_place(|| std::io::stdin().read_line(&mut String::new()).unwrap());
    let http = http();
    let mut calls = JoinSet::new();
    for user in 0..users {
        let (http, accounts, server) = (http.clone(), accounts.clone(), server.clone());
        calls.spawn(async move {
            let name = format!("user {user}");
            (user, call(&http, &accounts, &server, &name).await)
        });
    }
    let mut tokens = calls.join_all().await;
    tokens.sort();
    let tokens: Vec<_> = tokens.into_iter().map(|(_, token)| token).collect();
    println!("tokens {}", tokens.join(" "));
    std::io::stdout().flush().unwrap();
    accounts.close().await.unwrap();
}
