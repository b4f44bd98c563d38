//! All tests of the core in one binary; each module is one area of `docs/requirements.md`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::wildcard_enum_match_arm,
    unreachable_pub,
    missing_docs
)]

use mcp_auth_testing::machine_tests as support;

mod acceptance;
mod again;
mod agreed;
mod answering;
mod at_rest;
mod attacks;
mod behind_a_save;
mod both_records;
mod bound;
mod boundary;
mod brought;
mod callback;
mod callers;
mod cells;
mod challenge;
mod cimd;
mod client_keys;
mod clients;
mod coming_back;
mod configured;
mod conflicts;
mod consents;
mod device;
mod discovery;
mod documentation;
mod documents;
mod doubt;
mod dpop;
mod early;
mod elsewhere;
mod endpoints;
mod enterprise;
mod explained;
mod failures;
mod flow;
mod forgotten;
mod giving_up;
mod golden;
mod instead;
mod json_types;
mod kept_scopes;
mod left;
mod legacy;
mod lifecycles;
mod limits;
mod matrix;
mod methods;
mod moved_endpoints;
mod moving;
mod named_hosts;
mod neighbours;
mod older_tokens;
mod once;
mod over;
mod overdue;
mod permits;
mod pictures;
mod places;
mod playbooks;
mod provider_keys;
mod pushed;
mod queue;
mod races;
mod recordings;
mod records;
mod redaction;
mod refresh;
mod registration;
mod repeated;
mod request;
mod reserved;
mod revoking;
mod rooms;
mod round_trips;
mod rules;
mod saved_late;
mod scopes;
mod secrets_wanted;
mod settings;
mod several;
mod sign_out;
mod sizes;
mod slashes;
mod step_up;
mod tampered;
mod token;
mod told;
mod undone;
mod unusable;
mod values;
mod without_user;
mod workload;
