//! The sign-out, and the end of a registration (REV, TOK-19).

pub(crate) mod after;
pub(crate) mod erase;
pub(crate) mod forget;
pub(crate) mod revoke;
