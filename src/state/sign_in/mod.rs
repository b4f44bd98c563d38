//! Authorization by a user, from the redirect or the device code to the tokens (AUTHZ, CB, TOK, DEV).

pub(crate) mod beside;
pub(crate) mod come_back;
pub(crate) mod device;
pub(crate) mod elsewhere;
pub(crate) mod exchange;
pub(crate) mod pushed;
pub(crate) mod redirect;
pub(crate) mod repeat;
pub(crate) mod scopes;
pub(crate) mod send;
pub(crate) mod waiting;
