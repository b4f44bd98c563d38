//! For each name that the machine puts into a form or a URL: a host that sets a parameter of that name is refused when
//! it configures it, or the name still stands there once (S14).

use std::collections::BTreeSet;
use std::sync::Arc;

use mcp_auth_machine::config::IssuerSettings;

use super::flows::{FLOWS, Run};
use super::judge_each;
use crate::support::world::{ISSUERS, PROVIDER_URL, Setup, World};

#[test]
fn s14_no_setting_of_the_host_repeats_what_the_machine_sets() {
    let mut names: BTreeSet<String> = BTreeSet::new();
    for flow in FLOWS {
        let mut run = Run::new(*flow);
        // A flow that fails is the affair of the other sweeps.
        let _other = crate::quiet::violation(|| run.finish());
        names.extend(run.world.ledger.names());
    }
    assert!(names.len() > 15, "{names:?}");
    let settings: Vec<(String, IssuerSettings)> = names
        .iter()
        .flat_map(|name| {
            let token = IssuerSettings::new().token_parameter(name, "x").ok();
            let authorization = IssuerSettings::new()
                .authorization_parameter(name, "x")
                .ok();
            [token, authorization].map(|settings| Some((name.clone(), settings?)))
        })
        .flatten()
        .collect();
    let flows = FLOWS.len();
    println!(
        "parameters: {} names; {} settings are taken, each in {flows} flows",
        names.len(),
        settings.len()
    );
    let told = |at: usize| {
        format!(
            "{} set in: {}",
            settings[at / flows].0,
            FLOWS[at % flows].name
        )
    };
    let run = |at: usize| {
        let (flow, settings) = (FLOWS[at % flows], &settings[at / flows].1);
        let setup = Setup {
            lenient: true,
            ..flow.setup
        };
        let mut config = setup.builder();
        for issuer in ISSUERS.iter().chain([&PROVIDER_URL]) {
            config = config.issuer_settings(*issuer, settings.clone());
        }
        let Ok(config) = config.build() else { return };
        let mut run = Run::on(flow, World::on(setup, Arc::new(config)));
        run.finish();
    };
    judge_each(settings.len() * flows, run, told);
}
