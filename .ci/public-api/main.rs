//! Prints the public API of a crate, from the JSON that rustdoc wrote about it, as lines to review.

use std::collections::HashSet;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args_os().nth(1).ok_or("which file of rustdoc?")?;
    let builder = public_api::Builder::from_rustdoc_json(path).omit_blanket_impls(true);
    let all = builder.clone().build()?;
    let written: HashSet<String> = builder
        .omit_auto_derived_impls(true)
        .omit_auto_trait_impls(true)
        .build()?
        .items()
        .map(ToString::to_string)
        .collect();
    for line in all.items().map(ToString::to_string) {
        if written.contains(&line) || (line.starts_with("impl") && tells(&line)) {
            println!("{line}");
        }
    }
    Ok(())
}

/// Selects derived and auto traits worth listing: the implementation without its methods; `Send`, `Sync` and `Unpin`
/// only where they are missing or conditional.
fn tells(line: &str) -> bool {
    let internal = ["marker::Freeze", "marker::UnsafeUnpin", "marker::StructuralPartialEq", "panic::unwind_safe::"];
    let usual = ["core::marker::Send for", "core::marker::Sync for", "core::marker::Unpin for"];
    !internal.iter().any(|name| line.contains(name))
        && (line.contains(" !") || line.contains(" where ") || !usual.iter().any(|name| line.contains(name)))
}
