//! The Redis store, with a server and processes of its own. Requires `redis-server` (`apt-get install
//! redis-server`).

mod race;
mod store;
