//! Where hosts may be that the configuration names, and where those that servers announce (SEC-06, SEC-07).

use mcp_auth_machine::Config;
use mcp_auth_machine::config::{
    ConfigError, IssuerSettings, NamedHosts, PreRegistered, WorkloadIdentity,
};
use mcp_auth_machine::wire::address::AddressClass;
use mcp_auth_machine::wire::url::UrlFlaw;

use crate::support::*;

#[test]
fn sec_06_what_the_configuration_names_may_be_inside_each_at_its_own_port() {
    let permits = |config: &Config, url: &str, class| {
        let to = url.parse().unwrap();
        config.url_policy().addresses(&to).permits(class)
    };
    let inside = [AddressClass::Private, AddressClass::Loopback];
    let named = || {
        Config::builder("https://mcp.example/mcp", REDIRECT)
            .pre_registered("https://as.example/t", PreRegistered::new("c"))
            .resource_metadata_url("https://meta.example:8443/prm")
            .prefer_issuer("https://second.example")
            .pin("https://entry.example", "https://pinned.example")
            .issuer_settings("https://known.example", IssuerSettings::default())
    };
    let config = named().build().unwrap();
    for own in [
        "https://mcp.example/.well-known/oauth-protected-resource",
        "https://mcp.example:443/register",
        "https://as.example/token",
        "https://meta.example:8443/prm",
        "https://second.example/.well-known/openid-configuration",
        "https://pinned.example/",
        "https://known.example/",
    ] {
        for class in inside {
            assert!(permits(&config, own, class), "{own} {class:?}");
        }
        for never in [
            AddressClass::LinkLocal,
            AddressClass::CloudMetadata,
            AddressClass::Reserved,
        ] {
            assert!(!permits(&config, own, never), "{own} {never:?}");
        }
    }
    // Servers can announce these.
    for other in [
        "https://mcp.example:8443/",
        "https://as.example:22/",
        "https://meta.example/prm",
        "https://entry.example/",
        "https://login.example/",
        "https://sub.mcp.example/",
    ] {
        for class in inside {
            assert!(!permits(&config, other, class), "{other} {class:?}");
        }
    }
    // Issuers in numbers, which the user typed.
    let literal = Config::builder("https://mcp.example/mcp", REDIRECT);
    let literal = literal.issuer("https://10.0.0.7").build().unwrap();
    let check = |url| literal.url_policy().check(url);
    assert!(check("https://10.0.0.7/token").is_ok());
    for other in ["https://10.0.0.8/token", "https://10.0.0.7:22/token"] {
        assert!(check(other).is_err(), "{other}");
    }
    let idp = Config::without_user("https://mcp.example/mcp")
        .workload_identity(
            WorkloadIdentity::at("https://wif.example").and_at("https://two.example"),
        )
        .build();
    let idp = idp.unwrap();
    for own in ["https://wif.example/token", "https://two.example/"] {
        assert!(permits(&idp, own, AddressClass::Private), "{own}");
    }
}

#[test]
fn sec_07_a_host_on_a_server_may_keep_to_public_addresses() {
    let at = |url: &str| {
        Config::builder(url, REDIRECT)
            .prefer_issuer("https://as.example")
            .named_hosts(NamedHosts::Public)
    };
    let config = at("https://mcp.example/mcp").build().unwrap();
    for url in ["https://mcp.example/mcp", "https://as.example/"] {
        let addresses = config.url_policy().addresses(&url.parse().unwrap());
        assert!(addresses.permits(AddressClass::Public));
        for class in [AddressClass::Private, AddressClass::Loopback] {
            assert!(!addresses.permits(class), "{url} {class:?}");
        }
    }
    for inside in [
        "https://10.0.0.1/mcp",
        "http://127.0.0.1:1/mcp",
        "https://x.localhost/mcp",
    ] {
        let flaw = at(inside).build().unwrap_err();
        assert!(
            matches!(flaw, ConfigError::McpUrl(UrlFlaw::Address(_))),
            "{inside}"
        );
    }
    assert!(
        at("https://10.0.0.1/mcp")
            .allow_host("10.0.0.1")
            .build()
            .is_ok()
    );
}
