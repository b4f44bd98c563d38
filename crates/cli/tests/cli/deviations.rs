//! `doctor` with each deviation of the built-in servers that can be seen without a sign-in.

use std::fmt::Write as _;

use mcp_auth_testing::servers::{Deviation, Place, Servers};

use crate::doctor::marks;
use crate::support::Desk;

/// Whether it can be seen without a sign-in: in a challenge or a document.
fn is_visible(deviation: Deviation) -> bool {
    // They are about requests with a token.
    let with_a_token = [
        Deviation::RefusesEveryToken,
        Deviation::WantsMoreScopes,
        Deviation::MissingScopeIs401,
        Deviation::Forbids,
        Deviation::FailsOnToken,
    ];
    let is_document = matches!(
        deviation.place(),
        Place::Mcp | Place::ResourceMetadata | Place::ServerMetadata
    );
    is_document && !with_a_token.contains(&deviation) && !IN_ORDER.contains(&deviation)
}

/// Deviations in which nothing is wrong: the doctor says nothing of them.
const IN_ORDER: [Deviation; 6] = [
    Deviation::ResourceIsOrigin,
    Deviation::OpenIdMetadataOnly,
    Deviation::NoDeviceEndpoint,
    Deviation::TokenEndpointElsewhere,
    // `iss` is advertised, so that the answer is bound to the issuer (QUIRK-32).
    Deviation::AuthorizationEndpointElsewhere,
    Deviation::EndpointHasQuery,
];

#[test]
fn the_doctor_sees_each_deviation_of_the_documents() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let examined = |deviation: Option<Deviation>| {
        let servers = runtime.block_on(Servers::builder().on_loopback());
        let servers = servers.expect("ports");
        if let Some(deviation) = deviation {
            servers.deviate(deviation);
        }
        let (status, answer) = Desk::new().json(&["doctor", servers.url()]);
        assert_eq!(
            servers.seen(Place::Token) + servers.seen(Place::Registration),
            0
        );
        let [broken, warnings, notes] =
            ["broken", "warning", "note"].map(|mark| marks(&answer, mark));
        format!(
            "{}: {broken:?}, {warnings:?}, {notes:?}",
            status.unwrap_or(-1)
        )
    };
    let good = examined(None);
    let mut table = format!("(none): {good}\n");
    let mut unseen = Vec::new();
    for deviation in Deviation::ALL
        .into_iter()
        .filter(|deviation| is_visible(*deviation))
    {
        let found = examined(Some(deviation));
        if found == good {
            unseen.push(deviation);
        }
        writeln!(table, "{deviation:?}: {found}").expect("a text");
    }
    assert!(unseen.is_empty(), "{unseen:?}\n{table}");
    for deviation in IN_ORDER {
        assert_eq!(examined(Some(deviation)), good, "{deviation:?}");
    }
    insta::assert_snapshot!(table);
}
