//! Events and actions as short lines.

use mcp_auth_client::Note;
use mcp_auth_machine::{Action, Event};
use serde_json::Value;

pub(crate) fn line(who: &str, what: &str) -> String {
    format!("{who:>8}  {what}")
}

/// Returns one line for an event or action; results of slots are omitted.
pub(crate) fn describe(note: &Note<'_>) -> Option<String> {
    match note {
        Note::In(event) => incoming(event).map(|text| line("event", &text)),
        Note::Out(action) => Some(line("action", &outgoing(action))),
        Note::Store(error) => Some(line("store", &error.to_string())),
    }
}

fn incoming(event: &Event) -> Option<String> {
    Some(match event {
        Event::Authorize(_) => "authorize".to_owned(),
        Event::Challenged(challenge) => format!("challenged  {challenge:?}"),
        Event::HttpResponse(reply) => format!("http_response  {reply:?}"),
        Event::CallbackParams(_) => "callback_params".to_owned(),
        Event::Timer => "timer".to_owned(),
        Event::Abandoned(_) => "abandoned".to_owned(),
        Event::SignedOut => "signed_out".to_owned(),
        Event::Accepted(_)
        | Event::Wanted(_)
        | Event::Observed(_)
        | Event::SlotLoaded(_)
        | Event::SlotPersisted(_) => return None,
        Event::Signed(_) => "signed".to_owned(),
        Event::AssertionObtained(_) => "assertion_obtained".to_owned(),
    })
}

fn outgoing(action: &Action) -> String {
    match action {
        Action::SendRequest(send) => {
            let request = send.request();
            format!(
                "send_request  {} {} ({})",
                request.method(),
                request.uri(),
                send.purpose().as_str()
            )
        }
        Action::Redirect(redirect) => {
            format!("redirect  {:?} scopes {:?}", redirect.url, redirect.scopes)
        }
        Action::ShowCode(shown) => format!(
            "show_code  {:?} scopes {:?}",
            shown.verification_uri, shown.scopes
        ),
        Action::LoadSlot(load) => format!("load_slot  {}", load.slot()),
        Action::PersistSlot(persist) => match persist.write() {
            Some(_) => format!("persist_slot  {}", persist.slot()),
            None => format!("persist_slot  {} (clear)", persist.slot()),
        },
        Action::Sign(sign) => format!("sign  {sign:?}"),
        Action::ObtainAssertion(obtain) => format!("obtain_assertion  {:?}", obtain.kind()),
        Action::NeedUser(need) => format!("need_user  {}", need.why.as_str()),
        Action::Ready(grant) => format!(
            "ready  {} scopes {:?} iss {:?}",
            grant.issuer, grant.scopes, grant.iss_binding
        ),
        Action::Error(failure) => format!(
            "error  {} at {}",
            failure.cause.code(),
            failure.stage.as_str()
        ),
        Action::Report(decision) => {
            let members = serde_json::to_value(decision).unwrap_or_default();
            let words = members
                .as_object()
                .into_iter()
                .flatten()
                .map(|(name, value)| match (name.as_str(), value) {
                    ("code", Value::String(code)) => code.clone(),
                    (name, Value::String(text)) => format!("{name}={text}"),
                    (name, other) => format!("{name}={other}"),
                });
            format!("report  {}", words.collect::<Vec<_>>().join("  "))
        }
    }
}
