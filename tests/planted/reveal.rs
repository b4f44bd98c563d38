//! Makes every type of a source text clonable and shows it whole, so that a search can keep and compare
//! situations. Nothing that a function does is changed. What borrows to write lives within one event, and stays as
//! it is.

pub(crate) fn reveal(text: &str) -> String {
    let mut out = String::with_capacity(text.len().saturating_mul(2));
    let mut attributes = String::new();
    let mut skipping = false;
    let lines: Vec<&str> = text.lines().collect();
    for (at, line) in lines.iter().copied().enumerate() {
        if skipping {
            skipping = line != "}";
            continue;
        }
        if line.starts_with("impl") && line.contains("Debug for") && line.ends_with('{') {
            skipping = true;
            attributes.clear();
            continue;
        }
        if is_type(line.trim_start()) && !borrows(&lines[at..]) {
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

/// Whether the type that begins here holds something that it may change and does not own.
fn borrows(lines: &[&str]) -> bool {
    let whole = lines.first().is_some_and(|line| !line.ends_with('{'));
    let end = |line: &&str| matches!(line.trim(), "}" | "},");
    let length = match whole {
        true => 1,
        false => lines.iter().position(end).unwrap_or(lines.len()),
    };
    lines[..length].iter().any(|line| line.contains("&'a mut "))
}
