//! The deviations of the servers, by name.

use super::program::Place;

macro_rules! deviations {
    ($($name:ident: $place:ident, $source:literal, $about:literal;)*) => {
        /// A deviation of a server from its specification, or from what most servers do. Each has a test in which a
        /// client notices it; `docs/testing.md` has them as a table.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Deviation {
            $(#[doc = $about] $name,)*
        }

        impl Deviation {
            /// All deviations.
            pub const ALL: [Self; [$($about),*].len()] = [$(Self::$name),*];

            /// Returns the place at which the server deviates.
            pub const fn place(self) -> Place {
                match self {
                    $(Self::$name => Place::$place,)*
                }
            }

            /// Returns the rules of `docs/requirements.md` that are about it, and in backticks the settings that help.
            pub const fn rules(self) -> &'static str {
                match self {
                    $(Self::$name => $source,)*
                }
            }

            /// Returns what the server does.
            pub const fn about(self) -> &'static str {
                match self {
                    $(Self::$name => $about,)*
                }
            }
        }
    };
}

deviations! {
    NoChallenge: Mcp, "CHAL-01", "The 401 has no `WWW-Authenticate`, and so no reference to the metadata.";
    RepeatedResourceMetadata: Mcp, "CHAL-08, QUIRK-29", "The challenge has `resource_metadata` twice: first a URL without a document.";
    UnquotedChallenge: Mcp, "CHAL-09, QUIRK-29", "The values of the challenge have no quotes.";
    SingleQuotedChallenge: Mcp, "CHAL-09, QUIRK-29", "The values of the challenge are in single quotes.";
    RelativeResourceMetadata: Mcp, "CHAL-13, QUIRK-29", "The challenge has a relative URL as `resource_metadata`.";
    ForwardedHost: Mcp, "DISC-12, QUIRK-29", "The challenge names a foreign host, as after a request with `X-Forwarded-Host`.";
    RefusesEveryToken: Mcp, "USE-09", "Every token is refused as invalid.";
    WantsMoreScopes: Mcp, "STEP-01, `step_up`", "Every token is answered with 403 `insufficient_scope`.";
    MissingScopeIs401: Mcp, "QUIRK-22", "Every token is answered with 401 `insufficient_scope`.";
    Forbids: Mcp, "QUIRK-23", "Every token is answered with 403 and no challenge.";
    FailsOnToken: Mcp, "QUIRK-33", "Every token is answered with 500.";
    RedirectsMcp: Mcp, "QUIRK-33", "Requests are redirected to another origin.";
    NoResourceMetadata: ResourceMetadata, "DISC-20, `issuer`", "The resource metadata is answered with 404.";
    ResourceMetadataIsPage: ResourceMetadata, "QUIRK-15", "The resource metadata is a web page with status 200.";
    ForeignResource: ResourceMetadata, "DISC-12", "The resource metadata is that of another resource.";
    ResourceIsOrigin: ResourceMetadata, "QUIRK-20", "The resource is the origin, and not the endpoint.";
    NoAuthorizationServers: ResourceMetadata, "DISC-11, `issuer`", "The resource metadata names no authorization server.";
    AnotherServerFirst: ResourceMetadata, "DISC-16, `preferred_issuers`", "The resource metadata names another authorization server first.";
    IssuerSlash: ResourceMetadata, "QUIRK-01, `strictness`", "The issuer in the resource metadata has a slash at its end.";
    IssuerIsMcpUrl: ResourceMetadata, "QUIRK-21", "The resource metadata names the MCP server as its authorization server.";
    NoMetadata: ServerMetadata, "META-02, `server_metadata`", "The authorization server metadata is answered with 404.";
    OpenIdMetadataOnly: ServerMetadata, "QUIRK-12", "The metadata is at the location of OpenID Connect alone.";
    MetadataIsPage: ServerMetadata, "QUIRK-15", "The metadata is a web page with status 200.";
    MetadataRedirects: ServerMetadata, "SEC-08", "The metadata is at another origin, by a redirect.";
    ForeignIssuer: ServerMetadata, "QUIRK-02, `pins`", "The metadata names another issuer.";
    NoPkce: ServerMetadata, "QUIRK-03, `pkce`", "The metadata does not announce PKCE.";
    PlainPkce: ServerMetadata, "PKCE-05", "The metadata announces the method `plain` alone.";
    NoRegistration: ServerMetadata, "QUIRK-06, `clients`", "The metadata has no registration endpoint.";
    NoDeviceEndpoint: ServerMetadata, "DEV-02", "The metadata has no device authorization endpoint.";
    InsecureEndpoint: ServerMetadata, "QUIRK-28", "The token endpoint has an `http` URL with an internal host name.";
    RelativeEndpoint: ServerMetadata, "META-12", "The token endpoint is a relative URL.";
    TokenEndpointElsewhere: ServerMetadata, "QUIRK-32", "The token endpoint is at another origin.";
    AuthorizationEndpointElsewhere: ServerMetadata, "QUIRK-32, `authorization_origin`", "The authorization endpoint is at another origin.";
    EndpointHasQuery: ServerMetadata, "QUIRK-16", "The authorization endpoint has a query of its own.";
    RegistrationRefused: Registration, "REG-29, `clients`", "Registrations are refused with `invalid_redirect_uri`.";
    RegistrationClosed: Registration, "QUIRK-24, `initial_access`", "Registrations without an initial access token are answered with 401.";
    RegistrationRefusesScope: Registration, "QUIRK-25", "Registrations with `scope` are refused.";
    RegistrationWithSecret: Registration, "QUIRK-13", "A public client receives a secret and another method.";
    RegistrationWithoutId: Registration, "QUIRK-13", "The registration response has an empty `client_id`.";
    RefusesResource: Authorization, "QUIRK-04, `resource_parameter`", "Requests with `resource` are refused.";
    WantsAudience: Authorization, "QUIRK-05, `authorization_parameters`", "Requests without `audience` are refused.";
    RefusesOfflineAccess: Authorization, "QUIRK-30", "Requests for `offline_access` are refused as `invalid_scope`.";
    ErrorPage: Authorization, "QUIRK-14", "The user sees a page with an error, and no callback comes.";
    NoIss: Authorization, "QUIRK-11, `iss_parameter`", "The callback has no `iss`, which the metadata announces.";
    WrongIss: Authorization, "ISS-04", "The callback has the `iss` of another server, as in a mix-up attack.";
    SlashedIss: Authorization, "ISS-07", "The `iss` of the callback has a slash at its end.";
    TwoIss: Authorization, "CB-03", "The callback has `iss` twice.";
    WrongState: Authorization, "CB-05", "The callback has another `state`.";
    CodeAndError: Authorization, "CB-08", "The callback has a code and an error.";
    Declines: Authorization, "CB-10", "The user declines.";
    ClientForgotten: Token, "QUIRK-14", "The client is unknown.";
    UnauthorizedClient: Token, "TOK-19", "The client is refused as `unauthorized_client`.";
    ErrorsHaveStatus200: Token, "QUIRK-27", "The client is unknown, with status 200.";
    TokenWantsAudience: Token, "TOK-10, `token_parameters`", "Requests without `audience` are refused.";
    BasicNeedsClientId: Token, "TOK-04, `token_endpoint_auth_method`", "Basic is refused without `client_id` in the form.";
    RawBasic: Token, "TOK-04, `basic_encoding`", "Basic is read without the form encoding of RFC 6749.";
    AssertionNeedsClientId: Token, "TOK-05, QUIRK-31, `client_id_with_assertion`", "A client assertion is refused without `client_id` in the form.";
    AssertionForTokenEndpoint: Token, "DIS-05, QUIRK-31, `client_assertion_audience`", "A client assertion is accepted with the token endpoint as audience alone.";
    NoTokenType: Token, "QUIRK-26, `strictness`", "Token responses have no `token_type`.";
    ForeignTokenType: Token, "TOK-12", "Token responses have the type `mac`.";
    TokenIsForm: Token, "QUIRK-06, `token_answers`", "Token responses are forms.";
    NestedToken: Token, "QUIRK-07", "The token is in a member of the response.";
    CommaScopes: Token, "QUIRK-07", "The granted scopes are separated by commas.";
    LessScope: Token, "SCOPE-12", "No scope is granted that the MCP server needs.";
    NoExpiry: Token, "QUIRK-10", "Token responses have no `expires_in`.";
    ExpiresAtOnce: Token, "QUIRK-10", "Token responses have `expires_in` 0.";
    UnreadableExpiry: Token, "QUIRK-10", "Token responses have a word as `expires_in`.";
    NoRefreshToken: Token, "QUIRK-08, `authorization_parameters`", "Token responses have no refresh token.";
    RefreshRefused: Token, "REFR-06", "Refresh requests are refused with `invalid_grant`.";
    RefreshNeedsUser: Token, "REFR-06", "Refresh requests are refused with `interaction_required`.";
    RefreshErrorHasStatus200: Token, "QUIRK-06", "Refresh requests are refused with `bad_refresh_token` and status 200.";
    RefreshIsPage: Token, "TOK-18", "Refresh requests are answered with 400 and a web page.";
    RefreshIsBusy: Token, "REFR-07", "Refresh requests are answered with 429 and `Retry-After`.";
    RefreshNeedsScope: Token, "REFR-03, `refresh_scopes`", "Refresh requests without `scope` are refused.";
    RefreshAddsScope: Token, "REFR-04", "Refresh responses grant a scope that was never requested.";
    RevocationRefused: Revocation, "REV-04", "Revocations are refused with `invalid_request`.";
    VerificationElsewhere: Device, "DEV-05, `verification_origin`", "The page for the code is at another origin.";
}
