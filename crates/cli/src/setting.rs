//! The option for a setting of one issuer that has no option of its own.

use crate::facts;

/// Returns the option for a setting with a text as its value.
pub(crate) fn known(issuer: &str, member: &str, value: &str) -> String {
    setting(issuer, member, &format!("\"{value}\""))
}

/// Returns the option for a setting of one issuer, with its value in JSON. The members that are configured stay.
pub(crate) fn setting(issuer: &str, member: &str, value: &str) -> String {
    let mut members = format!("\"issuer\":\"{issuer}\",\"{member}\":{value}");
    for (name, value) in facts::members_of(issuer) {
        if name != member {
            members.push_str(&format!(",\"{name}\":{value}"));
        }
    }
    format!(
        "--issuer-settings FILE, where the file has [{{{members}}}], if that server is known to be right"
    )
}
