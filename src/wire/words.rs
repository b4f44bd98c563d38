//! Lists of registered values in metadata, reduced to small sets of the values known here.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeSeq, Serializer};

use super::json::{MAX_ITEMS, Text};

/// A closed set of registered values. `ALL` lists them with their spelling, in order of preference.
pub trait Word: Copy + PartialEq + 'static {
    /// Every value with its registered spelling; at most 16. A record stores a list as a bit mask of positions in
    /// `ALL`: append new values, whatever their preference, and never reorder or remove one.
    const ALL: &'static [(&'static str, Self)];
}

/// The known values of a metadata list, or the absence of the list.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Words<W> {
    bits: Option<u16>,
    kind: PhantomData<W>,
}

impl<W: Word> Words<W> {
    /// No list: the defaults of the document apply (META-13).
    pub const ABSENT: Self = Self {
        bits: None,
        kind: PhantomData,
    };

    /// Creates a set from spellings; unknown ones are skipped.
    pub fn from_spellings<'a>(spellings: impl IntoIterator<Item = &'a str>) -> Self {
        let bits = spellings.into_iter().fold(0, |bits, spelling| {
            bits | mask::<W>(|text, _| text == spelling)
        });
        Self {
            bits: Some(bits),
            kind: PhantomData,
        }
    }

    /// Returns true if the document has the list.
    pub fn is_listed(&self) -> bool {
        self.bits.is_some()
    }

    /// Returns true if the list is present and contains the value.
    pub fn has(&self, word: W) -> bool {
        self.bits
            .is_some_and(|bits| bits & mask::<W>(|_, other| other == word) != 0)
    }

    /// Returns true if the list is absent or contains the value.
    pub fn allows(&self, word: W) -> bool {
        self.bits.is_none() || self.has(word)
    }

    /// Returns the number that stands for the list in records: the lowest bit is that of the first value. `None` without a
    /// list.
    pub(crate) fn bits(self) -> Option<u16> {
        self.bits
    }

    /// Returns the list of a number in a record. Places without a value are skipped, like unknown spellings.
    pub(crate) fn from_bits(bits: u16) -> Self {
        Self {
            bits: Some(bits & mask::<W>(|_, _| true)),
            kind: PhantomData,
        }
    }

    /// Returns the values of the list, in order of preference.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, W)> {
        // The lowest bit is that of the first value.
        let mut bits = self.bits.unwrap_or(0);
        W::ALL.iter().copied().filter(move |_| {
            let listed = bits & 1 == 1;
            bits = bits.wrapping_shr(1);
            listed
        })
    }
}

/// Returns the bits of the matching values.
fn mask<W: Word>(matches: impl Fn(&str, W) -> bool) -> u16 {
    let mut bit = 1_u16;
    let mut found = 0;
    for (text, word) in W::ALL {
        if matches(text, *word) {
            found |= bit;
        }
        bit = bit.wrapping_shl(1);
    }
    found
}

impl Words<AuthMethod> {
    /// Returns true if an endpoint with this list takes the method: without a list, Basic alone (META-13).
    pub(crate) fn accepts(self, method: AuthMethod) -> bool {
        match method {
            AuthMethod::ClientSecretBasic => self.allows(method),
            AuthMethod::None | AuthMethod::ClientSecretPost | AuthMethod::PrivateKeyJwt => {
                self.has(method)
            }
        }
    }
}

impl<W> Default for Words<W> {
    fn default() -> Self {
        Self {
            bits: None,
            kind: PhantomData,
        }
    }
}

impl<W: Word> fmt::Debug for Words<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_listed() {
            f.debug_list()
                .entries(self.iter().map(|(text, _)| text))
                .finish()
        } else {
            f.write_str("(no list)")
        }
    }
}

impl<W: Word> Serialize for Words<W> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !self.is_listed() {
            return serializer.serialize_none();
        }
        let mut list = serializer.serialize_seq(None)?;
        for (text, _) in self.iter() {
            list.serialize_element(text)?;
        }
        list.end()
    }
}

impl<'de, W: Word> Deserialize<'de> for Words<W> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Lenient<W>(PhantomData<W>);
        impl<'de, W: Word> Visitor<'de> for Lenient<W> {
            type Value = Words<W>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }
            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Words::ABSENT)
            }
            fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
                Ok(Words::ABSENT)
            }
            fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
                Ok(Words::ABSENT)
            }
            fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
                Ok(Words::ABSENT)
            }
            fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
                Ok(Words::ABSENT)
            }
            fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
                Ok(Words::ABSENT)
            }
            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Words::ABSENT)
            }
            fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Self::Value, S::Error> {
                let (mut bits, mut seen) = (0_u16, 0_usize);
                while let Some(item) = seq.next_element::<Text<'de>>()? {
                    seen = seen.saturating_add(1);
                    if seen <= MAX_ITEMS
                        && let Some(spelling) = item.get()
                    {
                        bits |= mask::<W>(|text, _| text == spelling);
                    }
                }
                Ok(Words {
                    bits: Some(bits),
                    kind: PhantomData,
                })
            }
        }
        deserializer.deserialize_any(Lenient(PhantomData))
    }
}

macro_rules! vocabulary {
    ($(#[$doc:meta])* $name:ident { $($(#[$word_doc:meta])* $word:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$word_doc])* $word,)+
        }

        impl $name {
            /// Returns the registered spelling.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$word => $text,)+
                }
            }

            /// Returns the value with this exact spelling.
            pub fn from_spelling(text: &str) -> Option<Self> {
                match text {
                    $($text => Some(Self::$word),)+
                    _other => None,
                }
            }
        }

        impl Word for $name {
            const ALL: &'static [(&'static str, Self)] = &[$(($text, Self::$word),)+];
        }
    };
}

vocabulary! {
    /// The client authentication methods of token endpoints.
    AuthMethod {
        /// A public client: the client identifier only.
        None = "none",
        /// A JWT signed with the client's key.
        PrivateKeyJwt = "private_key_jwt",
        /// HTTP Basic authentication.
        ClientSecretBasic = "client_secret_basic",
        /// The secret in the request body.
        ClientSecretPost = "client_secret_post",
    }
}

vocabulary! {
    /// Grant types.
    GrantType {
        /// The authorization code grant.
        AuthorizationCode = "authorization_code",
        /// The refresh token grant.
        RefreshToken = "refresh_token",
        /// The client credentials grant.
        ClientCredentials = "client_credentials",
        /// The JWT bearer grant (RFC 7523).
        JwtBearer = "urn:ietf:params:oauth:grant-type:jwt-bearer",
        /// Token exchange (RFC 8693).
        TokenExchange = "urn:ietf:params:oauth:grant-type:token-exchange",
        /// The device authorization grant (RFC 8628).
        DeviceCode = "urn:ietf:params:oauth:grant-type:device_code",
    }
}

vocabulary! {
    /// Response types of the authorization endpoint.
    ResponseType {
        /// An authorization code.
        Code = "code",
    }
}

vocabulary! {
    /// Code challenge methods (RFC 7636).
    ChallengeMethod {
        /// SHA-256.
        S256 = "S256",
    }
}

vocabulary! {
    /// Scopes of the authorization server with a meaning to the client.
    KnownScope {
        /// Requests a refresh token.
        OfflineAccess = "offline_access",
    }
}

vocabulary! {
    /// Asymmetric signing algorithms, in order of preference (DPOP-16).
    SigningAlgorithm {
        /// ECDSA on P-256 with SHA-256.
        Es256 = "ES256",
        /// Ed25519, under its older name.
        EdDsa = "EdDSA",
        /// Ed25519.
        Ed25519 = "Ed25519",
        /// RSASSA-PSS with SHA-256.
        Ps256 = "PS256",
        /// RSASSA-PKCS1-v1_5 with SHA-256.
        Rs256 = "RS256",
    }
}

impl Serialize for SigningAlgorithm {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for SigningAlgorithm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::ALL
            .iter()
            .find(|(spelling, _)| *spelling == text)
            .map(|(_, algorithm)| *algorithm)
            .ok_or_else(|| serde::de::Error::custom("no signing algorithm"))
    }
}

vocabulary! {
    /// Grant profiles.
    GrantProfile {
        /// Identity assertion authorization grants (EMA-03).
        IdJag = "urn:ietf:params:oauth:grant-profile:id-jag",
    }
}

vocabulary! {
    /// Ways to send a bearer token to the resource (RFC 9728).
    BearerMethod {
        /// In the `Authorization` header, the only way that MCP allows.
        Header = "header",
        /// In the body of a form.
        Body = "body",
        /// In the query of the URL.
        Query = "query",
    }
}
