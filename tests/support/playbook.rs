//! The conversation between a host and its machine as text, for people and for snapshots. Requests show their URL and
//! the names of their parameters, never the values.

use mcp_auth_machine::action::SendRequest;
use mcp_auth_machine::{Action, Event};

use super::{body, get, query};

/// The line for an action.
pub fn asked(action: &Action) -> Option<String> {
    Some(match action {
        Action::SendRequest(send) => format!("  < {}", request(send)),
        Action::Redirect(redirect) => {
            let names = names(&query(redirect.url.as_str()));
            let scopes = redirect.scopes.as_str();
            format!(
                "  < redirect to {} [{names}] scope '{scopes}'",
                redirect.issuer
            )
        }
        Action::ShowCode(shown) => {
            let scopes = shown.scopes.as_str();
            format!("  < show a code of {} scope '{scopes}'", shown.issuer)
        }
        Action::LoadSlot(load) => format!("  < load {}", kind(&load.slot().to_string())),
        Action::PersistSlot(persist) => {
            let what = match persist.write() {
                Some(_) => "write",
                None => "clear",
            };
            format!("  < {what} {}", kind(&persist.slot().to_string()))
        }
        Action::Sign(sign) => format!("  < sign with {}", sign.algorithm().as_str()),
        Action::ObtainAssertion(obtain) => format!("  < obtain {:?}", obtain.kind()),
        Action::NeedUser(need) => format!("  < need user: {}", need.why.as_str()),
        Action::Ready(grant) => format!("  < ready at {}", grant.issuer),
        Action::Error(failure) => {
            let next = failure.next();
            let stage = failure.stage.as_str();
            format!(
                "  < error {} at {stage}, next {next:?}",
                failure.cause.code()
            )
        }
        Action::Report(_) => return None,
    })
}

fn request(send: &SendRequest) -> String {
    let request = send.request();
    let form = body(request);
    let grant = get(&form, "grant_type").map_or(String::new(), |grant| format!(" {grant}"));
    let carries = match names(&form) {
        names if names.is_empty() || send.purpose().as_str() == "registration" => String::new(),
        names => format!(" [{names}]"),
    };
    format!("{} {}{grant}{carries}", request.method(), request.uri())
}

fn names(pairs: &[(String, String)]) -> String {
    let names: Vec<&str> = pairs.iter().map(|(name, _)| name.as_str()).collect();
    names.join(" ")
}

fn kind(slot: &str) -> &str {
    slot.split('/').next().unwrap_or_default()
}

/// The line for an event, from its own (redacted) `Debug` text.
pub fn happened(event: &Event) -> String {
    match event {
        Event::Authorize(_) => "> authorize".to_owned(),
        Event::Challenged(challenge) => format!("> {challenge:?}"),
        Event::Accepted(operation) => format!("> accepted {operation}"),
        Event::Wanted(operation) => format!("> wanted {operation}"),
        Event::HttpResponse(reply) => {
            let text = format!("{reply:?}");
            let outcome = text.split_once(", ").map_or("", |(_, rest)| rest);
            let outcome = outcome.trim_end_matches(')');
            format!("> {}", outcome.split(',').next().unwrap_or_default())
        }
        Event::CallbackParams(_) => "> callback".to_owned(),
        Event::SlotLoaded(_) => "> loaded".to_owned(),
        Event::SlotPersisted(_) => "> persisted".to_owned(),
        Event::Signed(_) => "> signed".to_owned(),
        Event::AssertionObtained(_) => "> obtained".to_owned(),
        Event::Observed(_) => "> observed".to_owned(),
        Event::Timer => "> timer".to_owned(),
        Event::Abandoned(how) => format!("> abandoned: {how:?}"),
        Event::SignedOut => "> signed out".to_owned(),
    }
}
