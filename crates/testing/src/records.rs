//! The JSON of slot contents with full names.

use mcp_auth_machine::full_member_name;

/// Returns the JSON of a record, with the full names of its members; empty for contents without JSON. For tests that look
/// into a record or alter one: every version of a record is read with full names.
#[doc(hidden)]
pub fn spelled_out(contents: &str) -> String {
    let json = contents.find('{').and_then(|start| contents.get(start..));
    let mut rest = json.unwrap_or_default();
    let mut out = String::new();
    while let Some((before, after)) = rest.split_once('"') {
        let text = end_of_string(after).and_then(|end| after.split_at_checked(end));
        let Some((text, behind)) = text else {
            break;
        };
        let is_name = behind.starts_with("\":");
        out.push_str(before);
        out.push('"');
        out.push_str(if is_name {
            full_member_name(text)
        } else {
            text
        });
        out.push('"');
        rest = behind.strip_prefix('"').unwrap_or_default();
    }
    out.push_str(rest);
    out
}

/// Returns the place of the quote that ends a string.
fn end_of_string(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.find(|c| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    })
}
