//! Tokens without a user: client credentials, workload assertions, enterprise-managed authorization (M2M, WIF, EMA).

pub(crate) mod assertion;
pub(crate) mod ends;
pub(crate) mod obtain;
pub(crate) mod provider;
pub(crate) mod request;
pub(crate) mod subject;
