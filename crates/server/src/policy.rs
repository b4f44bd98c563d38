//! Which scopes an MCP request needs: by method and by the name of a tool, prompt or resource, read from
//! the body and closed by default (RS-05, RS-06).

use std::collections::HashMap;

use super::message::{McpMessage, McpMessages};
use super::rejection::Rejection;
use super::scopes::RequiredScopes;
use super::uri::spellings;

/// The requirements of an operation in addition to those of every request.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Rule {
    Base,
    Needs(RequiredScopes),
    Forbidden,
}

/// Methods of the protocol without a named target.
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

/// The scopes that each request requires. Unnamed tools, and methods outside the protocol, are rejected.
#[derive(Clone, Debug)]
pub struct ScopePolicy {
    base: Option<RequiredScopes>,
    methods: HashMap<Box<str>, Rule>,
    named: HashMap<(Box<str>, Box<str>), Rule>,
    unnamed_tools: Rule,
    other_methods: Rule,
}

impl ScopePolicy {
    /// Creates a policy with scopes that every request requires.
    pub fn new(base: RequiredScopes) -> Self {
        Self::with(Some(base))
    }

    /// Creates a policy that accepts every token of the issuer for this server, for issuers without scopes.
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
            other_methods: Rule::Forbidden,
        }
    }

    /// Requires additional scopes for calls of this tool.
    #[must_use]
    pub fn tool(self, name: &str, scopes: RequiredScopes) -> Self {
        self.named("tools/call", name, scopes)
    }

    /// Requires no additional scopes for calls of this tool.
    #[must_use]
    pub fn open_tool(mut self, name: &str) -> Self {
        let key = ("tools/call".into(), name.into());
        self.named.insert(key, Rule::Base);
        self
    }

    /// Requires additional scopes for calls of unnamed tools, instead of rejecting them.
    #[must_use]
    pub fn other_tools(mut self, scopes: RequiredScopes) -> Self {
        self.unnamed_tools = Rule::Needs(scopes);
        self
    }

    /// Requires no additional scopes for calls of unnamed tools. Tools that are added later are then open.
    #[must_use]
    pub fn open_other_tools(mut self) -> Self {
        self.unnamed_tools = Rule::Base;
        self
    }

    /// Requires no additional scopes for methods outside the protocol, instead of rejecting them. The MCP server then
    /// answers the methods that it does not know, with the JSON-RPC error -32601; methods that it gains later are open.
    #[must_use]
    pub fn open_other_methods(mut self) -> Self {
        self.other_methods = Rule::Base;
        self
    }

    /// Requires additional scopes for requests with this method, which may belong to an extension.
    #[must_use]
    pub fn method(mut self, method: &str, scopes: RequiredScopes) -> Self {
        self.methods.insert(method.into(), Rule::Needs(scopes));
        self
    }

    /// Requires additional scopes for requests with this method and this name or resource URI.
    ///
    /// A URI stands for all its spellings: with escapes, dot segments, a fragment, other capitals, and, where
    /// the rule has no query, any query. Two rules for one resource both hold. URIs that no rule names need
    /// what [`ScopePolicy::method`] says, so where a scheme has secrets, demand a scope for the method.
    ///
    /// ```
    /// # use mcp_auth_server::{RequiredScopes, ScopePolicy};
    /// # fn main() -> Result<(), mcp_auth_server::ScopeError> {
    /// let policy = ScopePolicy::new(RequiredScopes::parse("files:read")?)
    ///     .method("resources/read", RequiredScopes::parse("files:content")?)
    ///     .named("resources/read", "file:///etc/payroll", RequiredScopes::parse("hr")?);
    /// # Ok(()) }
    /// ```
    ///
    /// With a rule for a URI of `resources/subscribe`, `subscriptions/listen` is rejected unless
    /// [`ScopePolicy::method`] names its scopes: one such request subscribes to any number of resources.
    #[must_use]
    pub fn named(mut self, method: &str, name: &str, scopes: RequiredScopes) -> Self {
        let Some([uri, _bare]) = is_uri(method).then(|| spellings(name)) else {
            let key = (method.into(), name.into());
            self.named.insert(key, Rule::Needs(scopes));
            return self;
        };
        let rule = self.named.entry((method.into(), uri));
        rule.and_modify(|known| {
            *known = match known {
                Rule::Base => Rule::Needs(scopes.clone()),
                // More alternatives than can be told apart: closed.
                Rule::Needs(first) => first.and(&scopes).map_or(Rule::Forbidden, Rule::Needs),
                Rule::Forbidden => Rule::Forbidden,
            };
        })
        .or_insert(Rule::Needs(scopes));
        self
    }

    /// Returns the scopes for a request without a body, such as one that opens a stream or ends a session.
    pub fn base(&self) -> Option<&RequiredScopes> {
        self.base.as_ref()
    }

    /// Returns the scopes that these messages require together; `None` when any token suffices.
    ///
    /// # Errors
    /// [`Rejection::Forbidden`] for an unnamed operation, and [`Rejection::Malformed`].
    pub fn needed(&self, messages: &McpMessages) -> Result<Option<RequiredScopes>, Rejection> {
        let mut needed = self.base.clone();
        for message in messages.iter() {
            for rule in self.rules(message)? {
                needed = match (rule, needed) {
                    (Rule::Base, needed) => needed,
                    (Rule::Needs(scopes), None) => Some(scopes.clone()),
                    // Too many alternatives to combine: rejected.
                    (Rule::Needs(scopes), Some(needed)) => {
                        Some(needed.and(scopes).map_err(|_| Rejection::Forbidden)?)
                    }
                    (Rule::Forbidden, _) => return Err(Rejection::Forbidden),
                };
            }
        }
        Ok(needed)
    }

    /// Returns the rule of the method and the rules of the name.
    fn rules(&self, message: &McpMessage) -> Result<[&Rule; 4], Rejection> {
        let base = &Rule::Base;
        let Some(method) = message.method() else {
            // A response to a request of the server.
            return Ok([base; 4]);
        };
        let named = |name: &str| self.named.get(&(method.into(), name.into()));
        if method == "tools/call" {
            let name = message.name().ok_or(Rejection::Malformed)?;
            let method = self.methods.get(method).unwrap_or(base);
            return Ok([
                method,
                named(name).unwrap_or(&self.unnamed_tools),
                base,
                base,
            ]);
        }
        let mut rule = self.methods.get(method).unwrap_or(&self.other_methods);
        // It subscribes to resources whose URIs are not read here.
        if method == "subscriptions/listen"
            && matches!(rule, Rule::Base)
            && self
                .named
                .keys()
                .any(|(method, _)| &**method == "resources/subscribe")
        {
            rule = &Rule::Forbidden;
        }
        // A method outside the protocol may use either parameter.
        let by_name = message.name().and_then(named).unwrap_or(base);
        let [first, second] = match message.uri() {
            None => [None, None],
            Some(uri) if is_uri(method) => spellings(uri).map(|uri| named(&uri)),
            Some(uri) => [named(uri), None],
        };
        Ok([rule, by_name, first.unwrap_or(base), second.unwrap_or(base)])
    }
}

/// Returns true if the target of the method is the URI of a resource.
fn is_uri(method: &str) -> bool {
    method.starts_with("resources/")
}
