//! Resource URIs, compared as loosely as the most careless server would: a need that is written for one
//! spelling of a URI holds for every spelling.

use url::Url;

/// The form in which two spellings of one resource are the same text: scheme, host, dot segments, repeated slashes and
/// escapes in normal form, without fragment, last slash and capitals. Forms without the query come second.
pub(super) fn spellings(uri: &str) -> [Box<str>; 2] {
    [normal(uri, true), normal(uri, false)]
}

fn normal(uri: &str, with_query: bool) -> Box<str> {
    let mut text = uri.to_owned();
    // Again after decoding: escaped dot segments, marks of a query and of a fragment count for a server that decodes
    // first.
    for _ in 0..2 {
        text = match Url::parse(&text) {
            Ok(mut url) => {
                url.set_fragment(None);
                if !with_query {
                    url.set_query(None);
                }
                // Many servers take the path of a file URI and pass over its host.
                if url.scheme() == "file" && url.set_host(None).is_err() {
                    return text.into();
                }
                decoded(url.as_str())
            }
            Err(_) => decoded(&text),
        };
    }
    let mut short = String::with_capacity(text.len());
    for character in text.chars() {
        if character != '/' || !short.ends_with('/') {
            short.push(character);
        }
    }
    short.trim_end_matches('/').to_lowercase().into()
}

/// Decodes escapes until none is left.
fn decoded(text: &str) -> String {
    let mut text = text.to_owned();
    // Each round shortens the text, so this ends; the bound is for texts that were made for it.
    for _ in 0..8 {
        let next = percent_encoding::percent_decode_str(&text).decode_utf8_lossy();
        if next == text {
            break;
        }
        text = next.into_owned();
    }
    text
}
