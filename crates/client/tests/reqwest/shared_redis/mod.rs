//! The Redis store, with a server and processes of its own. Requires `redis-server` (`apt-get install
//! redis-server`).

// The example is a program, which no test can depend on.
#[path = "../../../examples/gateway/main.rs"]
#[allow(dead_code, unreachable_pub)]
mod gateway;

mod instances;
mod race;
mod store;
