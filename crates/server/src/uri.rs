//! Resource URIs, compared as loosely as the most careless server would: a need that is written for one
//! spelling of a URI holds for every spelling.

use url::Url;

/// The form in which two spellings of one resource are the same text: scheme, host, dot segments and escapes
/// in normal form, without fragment, last slash and capitals. Forms without the query come second.
pub(super) fn spellings(uri: &str) -> [Box<str>; 2] {
    let mut url = match Url::parse(uri) {
        Ok(url) => url,
        Err(_) => return [decoded(uri), decoded(uri)],
    };
    url.set_fragment(None);
    let whole = decoded(url.as_str());
    url.set_query(None);
    // Dot segments that were escaped are dot segments for a server that decodes first.
    let bare = decoded(url.as_str());
    let bare = Url::parse(&bare).map_or_else(|_| bare.clone(), |url| decoded(url.as_str()));
    [whole, bare]
}

/// Escapes decoded until none is left, capitals and last slashes gone.
fn decoded(text: &str) -> Box<str> {
    let mut text = text.to_owned();
    // Each round shortens the text, so this ends; the bound is for texts that were made for it.
    for _ in 0..8 {
        let next = percent_encoding::percent_decode_str(&text).decode_utf8_lossy();
        if next == text {
            break;
        }
        text = next.into_owned();
    }
    text.trim_end_matches('/').to_lowercase().into()
}
