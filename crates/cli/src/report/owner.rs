//! The party that must mend a failure, in the words of the page.

use mcp_auth_machine::error::Party;

use crate::account::KeyringError;
use crate::problem::Problem;

const USER: &str = "the user";
const OF_THE_MCP_SERVER: &str = "the operator of the MCP server";
const NETWORK: &str =
    "the network between this machine and the server, or the operator of the server, which is down";
const STORE: &str = "the client: its store";
const COMMAND: &str = "the user of this command: its options and files";
const SCOPES: &str = "the user of this command, who names the scopes; or the operator of the authorization server, who permits \
                      them to a client";

pub(super) const OF_AN_ANSWER: &str =
    "the operator of the server that answered, or of the gateway before it";

/// Returns the party of a failure of the machine. `error`: the code of a refusal.
pub(super) fn of_party(party: Party, error: &str) -> &'static str {
    match party {
        // The server does as it should: what is asked for is not permitted there.
        Party::AuthorizationServer if error == "invalid_scope" => SCOPES,
        Party::McpServer => OF_THE_MCP_SERVER,
        Party::AuthorizationServer => "the operator of the authorization server",
        Party::Host => "the client: its configuration or its HTTP stack",
        Party::Store => STORE,
        Party::Network => NETWORK,
        Party::User => USER,
    }
}

/// Returns the party of a failure of the command.
pub(super) fn of(problem: &Problem) -> &'static str {
    match problem {
        Problem::Failed { failure, .. } => {
            let error = failure.details().error;
            of_party(
                failure.party(),
                error.as_ref().map_or("", |error| error.as_plain()),
            )
        }
        Problem::SignInNeeded { .. } | Problem::Unknown | Problem::Interrupted { .. } => USER,
        Problem::TimedOut { .. } => {
            "the user, who was waited for; or the operator of the authorization server, if the browser ended at its error page"
        }
        Problem::Declined { .. } => {
            "the operator of the MCP server, who says whether the other authorization server is meant"
        }
        Problem::OutOfTime { lease: Some(_), .. } => {
            "another process of this user, which refreshes the tokens"
        }
        Problem::OutOfTime { lease: None, .. } | Problem::NoAnswer { .. } => NETWORK,
        Problem::NotMcp(other) if other.is_temporary() => OF_THE_MCP_SERVER,
        Problem::NotMcp(_) => {
            "the user, if the URL is not the one of the MCP server; otherwise its operator"
        }
        Problem::ScopesRefused { .. } => SCOPES,
        Problem::Store(..) => STORE,
        Problem::Keyring(KeyringError::Lost | KeyringError::Altered) => USER,
        Problem::Keyring(_) => "the user of this machine: its keyring",
        Problem::Usage(_)
        | Problem::ClientLost { .. }
        | Problem::Output(_)
        | Problem::Differs(_)
        | Problem::Other(_) => COMMAND,
        Problem::Examined => "the party that each finding names",
    }
}
