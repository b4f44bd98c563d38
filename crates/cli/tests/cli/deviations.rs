//! `doctor` with each deviation of the built-in servers that can be seen without a sign-in.

use std::fmt::Write as _;

use mcp_auth_testing::servers::{Deviation, Place, Servers};

use crate::doctor::marks;
use crate::support::Desk;

/// The deviations of documents and challenges.
const VISIBLE: [Deviation; 11] = [
    Deviation::NoChallenge,
    Deviation::NoResourceMetadata,
    Deviation::ForeignResource,
    Deviation::NoAuthorizationServers,
    Deviation::RedirectsMcp,
    Deviation::NoMetadata,
    Deviation::MetadataIsPage,
    Deviation::MetadataRedirects,
    Deviation::ForeignIssuer,
    Deviation::NoPkce,
    Deviation::NoRegistration,
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
        let (broken, warnings) = (marks(&answer, "broken"), marks(&answer, "warning"));
        format!("{}: {broken:?}, {warnings:?}", status.unwrap_or(-1))
    };
    let good = examined(None);
    let mut table = format!("(none): {good}\n");
    let mut unseen = Vec::new();
    for deviation in VISIBLE {
        let found = examined(Some(deviation));
        if found == good {
            unseen.push(deviation);
        }
        writeln!(table, "{deviation:?}: {found}").expect("a text");
    }
    assert!(unseen.is_empty(), "{unseen:?}\n{table}");
    insta::assert_snapshot!(table);
}
