//! The client at an authorization server (REG): configured, by its metadata document, or registered.

pub(crate) mod binding;
pub(crate) mod choose;
pub(crate) mod early;
pub(crate) mod flow;
pub(crate) mod known_client;
pub(crate) mod new_registration;
pub(crate) mod register;
