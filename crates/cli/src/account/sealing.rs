//! The form of sealed text: `keyring1.ID.TEXT`, where ID names the key, and TEXT is the nonce and the
//! ciphertext of ChaCha20-Poly1305, in base64url. The place of a text is authenticated with it, so that it
//! cannot be moved to another place (SEC-31).

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mcp_auth_client::{Seal, SealError};
use mcp_auth_machine::slot::{Slot, SlotContents};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use zeroize::Zeroizing;

use super::keyring::{self, Key, KeyringError};

const PREFIX: &str = "keyring1.";

/// Returns the identifier of the key, if the text is sealed.
pub(super) fn key_of(text: &str) -> Option<&str> {
    let (id, _) = text.strip_prefix(PREFIX)?.split_once('.')?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric();
    (!id.is_empty() && id.len() <= 64 && id.bytes().all(plain)).then_some(id)
}

fn cipher(key: &Key) -> Result<LessSafeKey, KeyringError> {
    let key = UnboundKey::new(&CHACHA20_POLY1305, key.as_slice());
    Ok(LessSafeKey::new(key.map_err(|_| KeyringError::Altered)?))
}

fn bound_to(id: &str, place: &str) -> Aad<Vec<u8>> {
    Aad::from(format!("mcp-auth {id} {place}").into_bytes())
}

fn random<const N: usize>() -> Result<[u8; N], KeyringError> {
    let mut bytes = [0; N];
    let filled = getrandom::fill(&mut bytes);
    filled.map_err(|error| KeyringError::Failed(error.to_string()))?;
    Ok(bytes)
}

/// Creates a key with its identifier.
pub(super) fn new_key() -> Result<(String, Key), KeyringError> {
    let id: [u8; 12] = random()?;
    let id = id.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((id, Zeroizing::new(random()?)))
}

/// Seals a text for a place.
pub(super) fn seal(id: &str, key: &Key, place: &str, text: &str) -> Result<String, KeyringError> {
    let nonce: [u8; NONCE_LEN] = random()?;
    let mut sealed = text.as_bytes().to_vec();
    let key = cipher(key)?;
    key.seal_in_place_append_tag(
        Nonce::assume_unique_for_key(nonce),
        bound_to(id, place),
        &mut sealed,
    )
    .map_err(|_| KeyringError::Altered)?;
    let whole = [&nonce, sealed.as_slice()].concat();
    Ok(format!("{PREFIX}{id}.{}", URL_SAFE_NO_PAD.encode(whole)))
}

/// Returns the text of a place, sealed or not.
///
/// # Errors
/// When it is sealed, and its key is not available or not the right one.
pub(super) fn open(place: &str, text: &str) -> Result<Zeroizing<String>, KeyringError> {
    let Some(id) = key_of(text) else {
        return Ok(Zeroizing::new(text.to_owned()));
    };
    let (_, sealed) = text.rsplit_once('.').ok_or(KeyringError::Altered)?;
    let sealed = URL_SAFE_NO_PAD.decode(sealed.trim_end());
    let sealed = Zeroizing::new(sealed.map_err(|_| KeyringError::Altered)?);
    let (nonce, sealed) = sealed
        .split_first_chunk::<NONCE_LEN>()
        .ok_or(KeyringError::Altered)?;
    let key = cipher(&keyring::key(id)?)?;
    let mut plain = Zeroizing::new(sealed.to_vec());
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let opened = key.open_in_place(nonce, bound_to(id, place), &mut plain);
    let opened = opened.map_err(|_| KeyringError::Altered)?;
    let opened = std::str::from_utf8(opened).map_err(|_| KeyringError::Altered)?;
    Ok(Zeroizing::new(opened.to_owned()))
}

/// Returns the place of a file: its folder and its name.
pub(super) fn place_of(path: &Path) -> String {
    let folder = path.parent().and_then(Path::file_name).unwrap_or_default();
    let name = path.file_name().unwrap_or_default();
    format!("{}/{}", folder.to_string_lossy(), name.to_string_lossy())
}

/// Opens records of both forms, and writes one of them.
pub(super) struct Form(pub(super) Option<(String, Key)>);

impl Seal for Form {
    fn seal(&self, slot: Slot, contents: &str) -> Result<String, SealError> {
        match &self.0 {
            Some((id, key)) => Ok(seal(id, key, &slot.to_string(), contents)?),
            None => Ok(contents.to_owned()),
        }
    }

    fn open(&self, slot: Slot, sealed: &str) -> Result<SlotContents, SealError> {
        Ok(SlotContents::new(open(&slot.to_string(), sealed)?.as_str()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;

    /// SEC-31: a sealed text is readable at its own place only, and not after a change.
    #[test]
    fn sec_31_a_sealed_text_is_bound_to_its_place() {
        let (id, key) = new_key().unwrap();
        keyring::remember(&id, &key);
        let sealed = seal(&id, &key, "account/a", "v2.x.{\"secret\":1}").unwrap();
        assert_eq!(key_of(&sealed), Some(id.as_str()));
        assert!(!sealed.contains("secret"));
        assert_eq!(
            open("account/a", &sealed).unwrap().as_str(),
            "v2.x.{\"secret\":1}"
        );
        assert_eq!(open("account/b", &sealed), Err(KeyringError::Altered));
        let again = seal(&id, &key, "account/a", "v2.x.{\"secret\":1}").unwrap();
        assert_ne!(sealed, again, "each has a nonce of its own");
        for (at, _) in sealed.char_indices().skip(PREFIX.len() + id.len() + 1) {
            let mut altered = sealed.clone().into_bytes();
            altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
            let altered = String::from_utf8(altered).unwrap();
            // The last character may have bits that count for nothing.
            if at + 1 < sealed.len() {
                assert_eq!(
                    open("account/a", &altered),
                    Err(KeyringError::Altered),
                    "{at}"
                );
            }
        }
        let (short, _) = sealed.split_at(sealed.len() - 20);
        assert_eq!(open("account/a", short), Err(KeyringError::Altered));
        // Another key under the same name.
        let (_, other) = new_key().unwrap();
        keyring::remember(&id, &other);
        assert_eq!(open("account/a", &sealed), Err(KeyringError::Altered));
    }

    #[test]
    fn a_text_that_is_not_sealed_stays_as_it_is() {
        for text in [
            "v2.abc.{}",
            "keyring1",
            "keyring1.",
            "keyring1..x",
            "keyring1.a/b.x",
            "",
        ] {
            assert_eq!(key_of(text), None, "{text}");
            assert_eq!(open("account/a", text).unwrap().as_str(), text);
        }
    }
}
