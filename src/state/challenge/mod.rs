//! Refused requests: the challenge of the MCP server, the reaction to it, and the question to the user.

pub(crate) mod ask;
pub(crate) mod question;
pub(crate) mod react;
pub(crate) mod read;
