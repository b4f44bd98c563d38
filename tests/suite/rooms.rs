//! The flows visit the files of `src/state/` in one direction: none returns to a file that it has left.

use std::fs;
use std::path::{Path, PathBuf};

use mcp_auth_machine::{Action, Phase};

use crate::support::*;

/// The files of `src/state/` with their texts.
fn files(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path: PathBuf = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            found.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
}

/// The file that declares the state of this name.
fn file_of(state: &str, files: &[(String, String)]) -> String {
    let parts = state.split('_').map(|part| {
        let (first, rest) = part.split_at(1);
        first.to_uppercase() + rest
    });
    let declared = format!("struct {} {{", parts.collect::<String>());
    let mut found = files.iter().filter(|(_, text)| text.contains(&declared));
    let (name, _) = found.next().unwrap_or_else(|| panic!("{declared} nowhere"));
    assert!(found.next().is_none(), "{declared} twice");
    name.clone()
}

/// The files in which a first sign-in waits, in the order in which it visits them; and how many of them come before the
/// redirect.
fn visited() -> (Vec<String>, usize) {
    let mut sources = Vec::new();
    files(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src/state"),
        &mut sources,
    );
    let manual = Store {
        mode: StoreMode::Manual,
        ..Store::default()
    };
    let mut store = Store::default();
    let config = std::sync::Arc::new(config().build().unwrap());
    let mut host = Host::on(config, manual);
    let mut visits: Vec<String> = Vec::new();
    let mut before = 0;
    host.challenged(401, &[announcing().as_str()]);
    loop {
        if let Phase::Working(state) = host.machine.phase() {
            let file = file_of(state, &sources);
            if visits.last() != Some(&file) {
                visits.push(file);
            }
        }
        match host.actions.pop_front() {
            Some(Action::LoadSlot(load)) => {
                let found = store.slots.get(&load.slot().to_string()).cloned();
                host.handle(load.found(found));
            }
            Some(Action::PersistSlot(persist)) => {
                let event = store.persist(persist);
                host.handle(event);
            }
            Some(Action::SendRequest(send)) => {
                let url = send.request().uri().to_string();
                let (status, text) = match url.as_str() {
                    PRM => (200, prm()),
                    META => (200, metadata()),
                    REGISTER => (201, r#"{"client_id":"client-1"}"#.to_owned()),
                    TOKEN => (200, token_answer("at-1")),
                    other => panic!("{other}"),
                };
                host.handle(send.response(response(status, &[], &text)));
            }
            Some(Action::NeedUser(_)) => host.authorize(),
            Some(Action::Redirect(redirect)) => {
                before = visits.len();
                let state = get(&query(redirect.url.as_str()), "state").unwrap();
                host.callback(&format!("code=c-1&state={state}"));
            }
            Some(Action::Ready(_)) => return (visits, before),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_first_sign_in_visits_six_files_before_the_redirect_and_returns_to_none() {
    let (visits, before) = visited();
    println!("{}", visits.join(" -> "));
    assert!(before <= 6, "{visits:?}");
    let mut once = visits.clone();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), visits.len(), "{visits:?}");
}
