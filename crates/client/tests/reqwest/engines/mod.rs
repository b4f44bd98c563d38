//! The asynchronous stores on real servers: Redis, a small cluster of it, a failover, and PostgreSQL. Needs
//! `redis-server` and `postgres` (`apt-get install redis-server postgresql`).

mod away;
mod killed;
mod postgres;
mod race;
mod redis_server;
mod sentinel;
mod servers;
