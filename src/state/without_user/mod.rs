//! Tokens without a user: client credentials, workload assertions, enterprise-managed authorization (M2M, WIF, EMA).

pub(crate) mod assertion;
pub(crate) mod ends;
pub(crate) mod exchange_subject;
pub(crate) mod find_provider;
pub(crate) mod obtain;
pub(crate) mod request;
