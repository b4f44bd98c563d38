//! Which scopes an MCP request needs: by method and by the name of a tool, prompt or resource, read from
//! the body and closed by default (RS-05, RS-06).

use std::collections::HashMap;

use super::message::{McpMessage, McpMessages};
use super::rejection::Rejection;
use super::scopes::RequiredScopes;

/// The needs of an operation beside the scopes that every request needs.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Rule {
    Base,
    Needs(RequiredScopes),
    Forbidden,
}

/// Methods of the protocol's revisions that act on nothing named.
const PROTOCOL: &[&str] = &[
    "completion/complete",
    "initialize",
    "logging/setLevel",
    "notifications/cancelled",
    "notifications/initialized",
    "notifications/progress",
    "notifications/roots/list_changed",
    "notifications/tasks/status",
    "ping",
    "prompts/get",
    "prompts/list",
    "resources/list",
    "resources/read",
    "resources/subscribe",
    "resources/templates/list",
    "resources/unsubscribe",
    "server/discover",
    "subscriptions/listen",
    "tasks/cancel",
    "tasks/get",
    "tasks/list",
    "tasks/result",
    "tasks/update",
    "tools/list",
];

/// The scopes that each request needs. A tool that is not named, and a method that the protocol does
/// not have, is refused.
#[derive(Clone, Debug)]
pub struct ScopePolicy {
    base: Option<RequiredScopes>,
    methods: HashMap<Box<str>, Rule>,
    named: HashMap<(Box<str>, Box<str>), Rule>,
    unnamed_tools: Rule,
}

impl ScopePolicy {
    /// Every request needs at least these scopes.
    pub fn new(base: RequiredScopes) -> Self {
        Self::with(Some(base))
    }

    /// Every token of the issuer for this server is enough for a request that needs nothing more: for
    /// issuers that know no scopes.
    pub fn any_token() -> Self {
        Self::with(None)
    }

    fn with(base: Option<RequiredScopes>) -> Self {
        let methods = PROTOCOL.iter().map(|method| ((*method).into(), Rule::Base));
        Self {
            base,
            methods: methods.collect(),
            named: HashMap::new(),
            unnamed_tools: Rule::Forbidden,
        }
    }

    /// Calls of this tool need these scopes as well.
    #[must_use]
    pub fn tool(self, name: &str, scopes: RequiredScopes) -> Self {
        self.named("tools/call", name, scopes)
    }

    /// Calls of this tool need nothing more.
    #[must_use]
    pub fn open_tool(mut self, name: &str) -> Self {
        let key = ("tools/call".into(), name.into());
        self.named.insert(key, Rule::Base);
        self
    }

    /// Calls of tools that are not named need these scopes as well, instead of being refused.
    #[must_use]
    pub fn other_tools(mut self, scopes: RequiredScopes) -> Self {
        self.unnamed_tools = Rule::Needs(scopes);
        self
    }

    /// Calls of tools that are not named need nothing more. A tool that is added later is open then.
    #[must_use]
    pub fn open_other_tools(mut self) -> Self {
        self.unnamed_tools = Rule::Base;
        self
    }

    /// Requests with this method need these scopes as well; the method may be one of an extension.
    #[must_use]
    pub fn method(mut self, method: &str, scopes: RequiredScopes) -> Self {
        self.methods.insert(method.into(), Rule::Needs(scopes));
        self
    }

    /// Requests with this method and this name, or URI of a resource, need these scopes as well.
    #[must_use]
    pub fn named(mut self, method: &str, name: &str, scopes: RequiredScopes) -> Self {
        let key = (method.into(), name.into());
        self.named.insert(key, Rule::Needs(scopes));
        self
    }

    /// The scopes of a request without a body: a stream that is opened, a session that is ended.
    pub fn base(&self) -> Option<&RequiredScopes> {
        self.base.as_ref()
    }

    /// The scopes that these messages need together; `None` when any token does.
    ///
    /// # Errors
    /// [`Rejection::Forbidden`] for what is not named, and [`Rejection::Malformed`].
    pub fn needed(&self, messages: &McpMessages) -> Result<Option<RequiredScopes>, Rejection> {
        let mut needed = self.base.clone();
        for message in messages.iter() {
            for rule in self.rules(message)? {
                needed = match (rule, needed) {
                    (Rule::Base, needed) => needed,
                    (Rule::Needs(scopes), None) => Some(scopes.clone()),
                    // More alternatives than can be told apart are no reason to let one through.
                    (Rule::Needs(scopes), Some(needed)) => {
                        Some(needed.and(scopes).map_err(|_| Rejection::Forbidden)?)
                    }
                    (Rule::Forbidden, _) => return Err(Rejection::Forbidden),
                };
            }
        }
        Ok(needed)
    }

    /// The rule of the method, and the rule of the name.
    fn rules(&self, message: &McpMessage) -> Result<[&Rule; 2], Rejection> {
        let Some(method) = message.method() else {
            // The answer to a request of the server.
            return Ok([&Rule::Base; 2]);
        };
        let target = message.target();
        let named = target.and_then(|name| self.named.get(&(method.into(), name.into())));
        if method == "tools/call" {
            if target.is_none() {
                return Err(Rejection::Malformed);
            }
            let method = self.methods.get(method).unwrap_or(&Rule::Base);
            return Ok([method, named.unwrap_or(&self.unnamed_tools)]);
        }
        let rule = self.methods.get(method).unwrap_or(&Rule::Forbidden);
        Ok([rule, named.unwrap_or(&Rule::Base)])
    }
}
