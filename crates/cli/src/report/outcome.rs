//! The outcomes of a transcript: a failure with its party and its next step, and the end of a sign-out.

use mcp_auth_machine::error::Party;
use serde_json::Value;

use super::decisions::next;
use super::shown::Shown;
use super::steps::{Lane, Part, Teller, Tone};
use super::{Advice, owner};
use crate::lines::record::text_of;

impl Teller<'_> {
    /// The outcome of a sign-out, which is complete here whatever the server says.
    pub(super) fn end_of_sign_out(&mut self) {
        let last = self.story.outcomes.last();
        let failed = last.filter(|last| last.tone == Tone::Bad);
        let (tone, title) = match (failed, self.revokes) {
            (Some(_), _) => (
                Tone::Bad,
                "Signed out: the tokens were erased here, but not revoked at the server",
            ),
            (None, true) => (
                Tone::Good,
                "Signed out: the tokens were erased here, and revoked at the server",
            ),
            (None, false) => (
                Tone::Good,
                "Signed out: the tokens were erased here; none was to be revoked, or the server cannot revoke",
            ),
        };
        let rows = failed.map_or_else(Vec::new, |failed| failed.rows.clone());
        self.end(tone, Shown::fixed(title), rows);
    }

    pub(super) fn failure(&mut self, line: &Value, advice: Option<&Advice>) {
        let fixed = Shown::fixed;
        let title = Shown::join([
            fixed("Failed at "),
            self.text(line, "stage"),
            fixed(": "),
            self.text(line, "cause"),
        ]);
        let mut rows = vec![(fixed("what happened"), self.text(line, "message"))];
        let (stage, cause) = (text_of(line, "stage"), text_of(line, "cause"));
        if let Some(Advice { party, option }) = advice {
            let owner = match (party, last_status(line)) {
                (Party::Network, Some(_)) => owner::OF_AN_ANSWER,
                (party, _) => owner::of_party(*party, text_of(line, "error")),
            };
            rows.push((fixed("who must mend it"), fixed(owner)));
            let words = next(text_of(line, "next"), stage, cause);
            rows.push((fixed("next step"), fixed(words)));
            let option = option.as_deref().map(|option| self.redactor.show(option));
            rows.extend(option.map(|option| (fixed("option of mcp-auth login"), option)));
        }
        if cause == "issuer_mismatch"
            && let Some(iss) = self.iss.clone()
        {
            rows.push((fixed("iss of the callback"), iss));
        }
        for name in ["expected", "found", "error", "description"] {
            if let Some(value) = line.get(name) {
                rows.push((self.redactor.show(name), self.value(value)));
            }
        }
        let skipped = ["action", "message", "next"];
        let parts = vec![Part::Rows("Failure", self.rows(line, &skipped))];
        self.push(Lane::Machine, Lane::Host, Tone::Bad, title.clone(), parts);
        self.end(Tone::Bad, title, rows);
    }
}

/// Returns the status of the last response of a failed step.
fn last_status(line: &Value) -> Option<u64> {
    line.get("seen")?
        .as_array()?
        .last()?
        .get("status")?
        .as_u64()
}
