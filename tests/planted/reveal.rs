//! Makes every type of a source text clonable and shows it whole, so that a search can keep and compare
//! situations. Nothing that a function does is changed.

pub(crate) fn reveal(text: &str) -> String {
    let mut out = String::with_capacity(text.len().saturating_mul(2));
    let mut attributes = String::new();
    let mut skipping = false;
    for line in text.lines() {
        if skipping {
            skipping = line != "}";
            continue;
        }
        if line.starts_with("impl") && line.contains("Debug for") && line.ends_with('{') {
            skipping = true;
            attributes.clear();
            continue;
        }
        if is_type(line.trim_start()) {
            for wanted in ["Clone", "Debug"] {
                if !attributes.contains(wanted) {
                    out.push_str(&format!("#[derive({wanted})]\n"));
                }
            }
        }
        let goes_on = !attributes.is_empty() && !attributes.ends_with("]\n");
        let is_attribute = line.trim_start().starts_with("#[") || goes_on;
        if is_attribute {
            attributes.push_str(line);
            attributes.push('\n');
        } else {
            attributes.clear();
        }
        out.push_str(line);
        out.push('\n');
    }
    out
}

fn is_type(line: &str) -> bool {
    let public = ["pub(crate) ", "pub(super) ", "pub "];
    let rest = public.iter().find_map(|word| line.strip_prefix(word));
    let rest = rest.unwrap_or(line);
    rest.starts_with("struct ") || rest.starts_with("enum ")
}
