//! The finding about users without a browser.

use serde_json::Value;

use super::findings::{Finding, Mark};
use crate::account::choice::offers_device;
use crate::speaker;

/// Returns the finding about the device authorization grant.
pub(super) fn judge_device(document: &Value) -> Finding {
    if offers_device(document) {
        let login = speaker::login("--device");
        let words = format!("users without a browser here enter a code on another device: {login}");
        return Finding::new(Mark::Note, "DEV-02", words);
    }
    let words = "no code for users without a browser here (device authorization): over SSH, open the URL of \
                 login elsewhere and paste the address where it ends";
    Finding::new(Mark::Note, "DEV-02", words)
}
