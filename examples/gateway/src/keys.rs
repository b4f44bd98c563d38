//! Two keys derived from the secret that all instances share: for cookies, and for the store.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mcp_auth_client::{Seal, SealError};
use mcp_auth_machine::slot::{Slot, SlotContents};
use mcp_auth_machine::wire::callback::BrowserBinding;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use ring::{hkdf, hmac};

/// The lifetime of a session: eight hours.
const SESSION_SECONDS: u64 = 8 * 60 * 60;

/// The version of sealed contents. A new key gets a new version; the old key stays for reading.
const VERSION: &str = "1.";

/// The command that makes a new key.
pub(crate) const NEW_KEY: &str =
    "export GATEWAY_KEY=$(openssl rand -base64 32 | tr +/ -_ | tr -d =)";

/// Why there are no keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// The secret is not text in base64url.
    Encoding,
    /// The secret has this many bytes.
    Short(usize),
    /// No random bytes are available, or the keys cannot be derived.
    Unavailable,
}

impl std::fmt::Display for KeyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let expected =
            "32 random bytes in base64url without padding are expected, which are 43 characters";
        match self {
            Self::Encoding => {
                write!(
                    f,
                    "the secret has characters other than A-Z, a-z, 0-9, - and _, or a length that base64url \
                           cannot have; {expected}.\nNext: {NEW_KEY}"
                )
            }
            Self::Short(bytes) => write!(
                f,
                "the secret has {bytes} bytes; {expected}.\nNext: {NEW_KEY}"
            ),
            Self::Unavailable => f.write_str("the operating system has no random bytes"),
        }
    }
}

impl std::error::Error for KeyError {}

impl From<ring::error::Unspecified> for KeyError {
    fn from(_: ring::error::Unspecified) -> Self {
        Self::Unavailable
    }
}

/// A stored record that these keys do not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotOpened;

impl std::fmt::Display for NotOpened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(
            "a stored record was sealed with another GATEWAY_KEY, or was changed: all instances need the same key",
        )
    }
}

impl std::error::Error for NotOpened {}

/// The keys of one secret.
pub struct Keys {
    cookies: hmac::Key,
    store: LessSafeKey,
    random: SystemRandom,
}

/// A signed-in user of the gateway.
pub(crate) struct Session {
    pub(crate) user: String,
    text: String,
}

/// One browser of a signed-in user.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Browser(Vec<u8>);

impl Browser {
    /// Returns the value that an authorization is bound to (CB-14).
    pub(crate) fn binding(&self) -> BrowserBinding {
        BrowserBinding::new(&self.0)
    }
}

impl Keys {
    /// Creates keys from 32 random bytes in base64url.
    ///
    /// # Errors
    /// [`KeyError`] for anything else.
    pub fn new(secret: &str) -> Result<Self, KeyError> {
        let secret = URL_SAFE_NO_PAD.decode(secret);
        let secret = secret.map_err(|_| KeyError::Encoding)?;
        if secret.len() < 32 {
            return Err(KeyError::Short(secret.len()));
        }
        Self::from_secret(&secret)
    }

    /// Creates keys for the instances of this process only.
    ///
    /// # Errors
    /// [`KeyError`] when no random bytes are available.
    pub fn random() -> Result<Self, KeyError> {
        let mut secret = [0; 32];
        SystemRandom::new().fill(&mut secret)?;
        Self::from_secret(&secret)
    }

    fn from_secret(secret: &[u8]) -> Result<Self, KeyError> {
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"mcp gateway");
        let secret = salt.extract(secret);
        let cookies = secret.expand(&[b"cookies"], hmac::HMAC_SHA256)?;
        let store = secret.expand(&[b"store"], &AES_256_GCM)?;
        Ok(Self {
            cookies: cookies.into(),
            store: LessSafeKey::new(UnboundKey::from(store)),
            random: SystemRandom::new(),
        })
    }

    /// Returns a new session cookie: user, expiry, an unguessable number, and a MAC of this gateway.
    ///
    /// # Errors
    /// [`KeyError`] when no random bytes are available.
    pub fn session(&self, user: &str) -> Result<String, KeyError> {
        let mut unique = [0; 16];
        self.random.fill(&mut unique)?;
        let (user, unique) = (URL_SAFE_NO_PAD.encode(user), URL_SAFE_NO_PAD.encode(unique));
        let end = seconds().saturating_add(SESSION_SECONDS);
        let claims = format!("{user}.{end}.{unique}");
        let proof = URL_SAFE_NO_PAD.encode(hmac::sign(&self.cookies, claims.as_bytes()));
        Ok(format!("{claims}.{proof}"))
    }

    /// Returns the session of a valid, unexpired cookie.
    pub(crate) fn check(&self, session: &str) -> Option<Session> {
        let (claims, proof) = session.rsplit_once('.')?;
        let proof = URL_SAFE_NO_PAD.decode(proof).ok()?;
        hmac::verify(&self.cookies, claims.as_bytes(), &proof).ok()?;
        let mut claims = claims.split('.');
        let user = URL_SAFE_NO_PAD.decode(claims.next()?).ok()?;
        let end: u64 = claims.next()?.parse().ok()?;
        (seconds() < end).then_some(Session {
            user: String::from_utf8(user).ok()?,
            text: session.to_owned(),
        })
    }

    /// Returns a number for a browser without one.
    pub(crate) fn new_browser(&self) -> Result<String, KeyError> {
        let mut unique = [0; 16];
        self.random.fill(&mut unique)?;
        Ok(URL_SAFE_NO_PAD.encode(unique))
    }

    /// Returns the browser with this number, for the lifetime of the session.
    pub(crate) fn browser(&self, session: &Session, number: &str) -> Browser {
        let whole = format!("browser {number} {}", session.text);
        Browser(
            hmac::sign(&self.cookies, whole.as_bytes())
                .as_ref()
                .to_vec(),
        )
    }
}

fn seconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

/// AES-256-GCM with a random nonce; the slot is authenticated as associated data.
impl Seal for Keys {
    fn seal(&self, slot: Slot, contents: &str) -> Result<String, SealError> {
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).map_err(KeyError::from)?;
        let mut sealed = contents.as_bytes().to_vec();
        let aad = Aad::from(slot.to_string());
        let key = Nonce::assume_unique_for_key(nonce);
        let tag = self.store.seal_in_place_separate_tag(key, aad, &mut sealed);
        let tag = tag.map_err(KeyError::from)?;
        let whole = [&nonce, sealed.as_slice(), tag.as_ref()].concat();
        Ok(format!("{VERSION}{}", URL_SAFE_NO_PAD.encode(whole)))
    }

    fn open(&self, slot: Slot, sealed: &str) -> Result<SlotContents, SealError> {
        let sealed = sealed.strip_prefix(VERSION).ok_or(NotOpened)?;
        let mut whole = URL_SAFE_NO_PAD.decode(sealed).map_err(|_| NotOpened)?;
        let (nonce, sealed) = whole.split_first_chunk_mut().ok_or(NotOpened)?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let aad = Aad::from(slot.to_string());
        let opened = self.store.open_in_place(nonce, aad, sealed);
        let opened = opened.map_err(|_| NotOpened)?;
        Ok(SlotContents::new(std::str::from_utf8(opened)?))
    }
}
