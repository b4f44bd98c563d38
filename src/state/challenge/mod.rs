//! What the MCP server refuses: the challenge, its reaction, and the question to the user.

pub(crate) mod ask;
pub(crate) mod decide;
pub(crate) mod judge;
pub(crate) mod question;
