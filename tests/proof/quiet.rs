//! Runs that may end in a violation, without output: for engines that continue and count.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// The violation of a run: the text of the failed check.
pub fn violation(run: impl FnOnce()) -> Option<String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                loud(info);
            }
        }));
    });
    QUIET.set(true);
    let outcome = catch_unwind(AssertUnwindSafe(run));
    QUIET.set(false);
    let payload = outcome.err()?;
    let said = payload.downcast_ref::<String>().cloned();
    let said = said.or_else(|| Some((*payload.downcast_ref::<&str>()?).to_owned()));
    Some(said.unwrap_or_default())
}

/// One line of a violation: the property, and of a world that does not heal what failed last.
pub fn line(said: &str) -> String {
    let line = said
        .lines()
        .find(|line| line.contains(": "))
        .unwrap_or(said);
    let line = line.rsplit("failed: ").next().unwrap_or(line);
    let cause = said.rsplit_once("cause: ");
    let cause = cause
        .and_then(|(_, rest)| rest.lines().next())
        .unwrap_or_default();
    let short = |text: &str, length| text.chars().take(length).collect::<String>();
    match cause.is_empty() {
        true => short(line, 100),
        false => format!("{}; last: {}", short(line, 46), short(cause, 60)),
    }
}
