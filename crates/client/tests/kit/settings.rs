//! The settings of a host that help at a server that deviates.

use mcp_auth_machine::config::{
    AssertionAudience, BasicEncoding, ConfigBuilder, IssParameter, IssuerSettings, PkceSupport,
    RefreshScopes, ResourceParameter, TokenAnswers,
};
use mcp_auth_testing::servers::Deviation;

use crate::deviations::{Kind, Program};

/// Sets a setting.
type Setting = fn(ConfigBuilder) -> ConfigBuilder;

const ISSUER: &str = "https://as.example";

fn with(config: ConfigBuilder, settings: IssuerSettings) -> ConfigBuilder {
    config.issuer_settings(ISSUER, settings)
}

/// Returns the client that the deviation concerns, and its configuration with the setting that helps.
fn helped(deviation: Deviation) -> Option<(Kind, Setting)> {
    fn set() -> IssuerSettings {
        IssuerSettings::new()
    }
    let found: (Kind, Setting) = match deviation {
        Deviation::NoPkce => (Kind::User, |config| {
            with(config, set().pkce(PkceSupport::S256Asserted))
        }),
        Deviation::RefusesResource => (Kind::User, |config| {
            with(config, set().resource_parameter(ResourceParameter::Omit))
        }),
        Deviation::WantsAudience => (Kind::User, |config| {
            let settings = set().authorization_parameter("audience", "https://mcp.example/mcp");
            with(config, settings.unwrap())
        }),
        Deviation::NoIss => (Kind::User, |config| {
            with(config, set().iss_parameter(IssParameter::NotSent))
        }),
        Deviation::TokenWantsAudience => (Kind::User, |config| {
            let settings = set().token_parameter("audience", "https://mcp.example/mcp");
            with(config, settings.unwrap())
        }),
        Deviation::RawBasic => (Kind::Service, |config| {
            with(config, set().basic_encoding(BasicEncoding::Raw))
        }),
        Deviation::TokenIsForm => (Kind::User, |config| {
            with(config, set().token_answers(TokenAnswers::JsonOrForm))
        }),
        Deviation::RefreshNeedsScope => (Kind::User, |config| {
            with(config, set().refresh_scopes(RefreshScopes::Requested))
        }),
        Deviation::AssertionNeedsClientId => (Kind::Keyed, |config| {
            with(config, set().client_id_with_assertion())
        }),
        Deviation::AssertionForTokenEndpoint => (Kind::Keyed, |config| {
            let audience = AssertionAudience::TokenEndpoint;
            with(config, set().client_assertion_audience(audience))
        }),
        _ => return None,
    };
    Some(found)
}

/// With the setting, a client at the deviating server does what it does at an ordinary one; without it, not.
///
/// TOK-05, TOK-08, DIS-05
#[test]
fn a_setting_helps_at_the_server_that_needs_it() {
    let mut table = String::new();
    for deviation in Deviation::ALL {
        let Some((kind, config)) = helped(deviation) else {
            continue;
        };
        let site = kind.site();
        let ordinary = Program::of(kind, &site).run();
        site.servers.deviate(deviation);
        let helped = Program::with(kind, &site, config).run();
        assert_eq!(helped.short, ordinary.short, "{deviation:?}");
        if deviation != Deviation::RefreshNeedsScope {
            let without = Program::of(kind, &site).run();
            assert_ne!(without.short, ordinary.short, "{deviation:?}");
        }
        table.push_str(&format!("{deviation:?}: {}\n", helped.short));
    }
    assert!(table.contains("AssertionForTokenEndpoint"), "{table}");
}
