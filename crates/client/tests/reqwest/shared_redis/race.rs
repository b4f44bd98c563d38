//! Many processes with a token that is refused at the same time.

use std::io::Write;

use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use mcp_auth_client::{Driver, Pause, RedisStore};
use mcp_auth_machine::event::{Challenge, Operation};
use mcp_auth_machine::{Config, Event};
use tokio::task::block_in_place;

use crate::processes::Part;
use crate::support::{Agreeing, World};
use mcp_auth_testing::RedisServer;

const PREFIX: &str = "race:";

const PROCESSES: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_processes_one_refresh() {
    let world = World::start().await;
    let redis = block_in_place(RedisServer::start).unwrap();
    let store = RedisStore::open(&redis.url(), PREFIX).unwrap();
    let user = Agreeing::new();
    let client = world.on(store).user(user.clone()).start().unwrap();
    let old = world.call(&client, "read").await.unwrap();
    client.close().await.unwrap();
    world.revoke(&old, &user.client_id()).await;

    let url = redis.url();
    let settings = [
        ("RACE_REDIS", url.as_str()),
        ("RACE_MCP", world.url.as_str()),
    ];
    let mut tokens = block_in_place(|| {
        let mut racers: Vec<_> = (0..PROCESSES)
            .map(|_| Part::start("shared_redis::race::racer", &settings))
            .collect();
        for racer in &mut racers {
            assert_eq!(racer.says("refused "), old);
        }
        for racer in &mut racers {
            racer.go_on();
        }
        let tokens: Vec<String> = racers
            .iter_mut()
            .map(|racer| racer.says("token "))
            .collect();
        for racer in racers {
            racer.ends_well();
        }
        tokens
    });
    tokens.dedup();
    let [token] = tokens.as_slice() else {
        panic!("one refresh, one token: {}", tokens.len());
    };
    assert_ne!(*token, old);
    assert_eq!(world.server.refreshes(), 1);
    assert_eq!(user.trips(), 1, "nobody had to sign in again");
}

fn post(url: &str, header: &HeaderValue) -> (u16, HeaderMap) {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .build()
        .into();
    let body = r#"{"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}"#;
    let request = agent.post(url).header(CONTENT_TYPE, "application/json");
    let answer = request.header(AUTHORIZATION, header).send(body).unwrap();
    (answer.status().as_u16(), answer.headers().clone())
}

fn bare(header: &HeaderValue) -> &str {
    header.to_str().unwrap().strip_prefix("Bearer ").unwrap()
}

fn say(line: &str) {
    println!("{line}");
    std::io::stdout().flush().unwrap();
}

#[test]
#[ignore = "a process of another test"]
fn racer() {
    let Ok(redis) = std::env::var("RACE_REDIS") else {
        return;
    };
    let url = std::env::var("RACE_MCP").unwrap();
    let store = RedisStore::open(&redis, PREFIX).unwrap();
    let config = Config::builder(&url, "http://127.0.0.1:9/callback");
    let config = config.client_name("async tests").build().unwrap();
    let mut driver = Driver::new(config, "alice", store);
    let operation = Operation::new("tools/list");
    let pause = driver.handle(Event::Wanted(operation.clone()));
    assert!(matches!(pause, Pause::Ready(_)), "{pause:?}");
    let old = driver.bearer(&url).unwrap();
    let (status, headers) = post(&url, &old);
    assert_eq!(status, 401);
    say(&format!("refused {}", bare(&old)));
    // By now all of them have received the refusal.
    std::io::stdin().read_line(&mut String::new()).unwrap();
    let challenge = Challenge::new(operation, status, headers).sent(old.to_str().unwrap());
    let pause = driver.handle(Event::Challenged(challenge));
    assert!(matches!(pause, Pause::Ready(_)), "{pause:?}");
    let new = driver.bearer(&url).unwrap();
    assert_eq!(post(&url, &new).0, 200);
    say(&format!("token {}", bare(&new)));
}
