//! Options with a fixed set of values.

use mcp_auth_machine::config as library;
use serde::Deserialize;

macro_rules! words {
    ($($name:ident { $($word:ident,)+ })+) => {
        $(#[derive(Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub(super) enum $name {
            $($word,)+
        }

        impl From<$name> for library::$name {
            fn from(word: $name) -> Self {
                match word {
                    $($name::$word => Self::$word,)+
                }
            }
        })+
    };
}

words! {
    ApplicationType { Native, Web, }
    RefreshTokens { Wanted, NotWanted, }
    Strictness { Tolerant, Strict, }
    IssPolicy { AcceptUnverifiable, RequireVerified, }
    MetadataOrigin { Any, SameOrigin, }
    MetadataCache { Slots, Off, }
    NamedHosts { Anywhere, Public, }
    StepUp { Reauthorize, Report, }
    PushedRequests { WhenRequired, WhenOffered, }
    PkceSupport { AsAdvertised, S256Asserted, }
    ResourceParameter { Send, Omit, }
    IssParameter { AsAdvertised, NotSent, }
    TokenAnswers { Json, JsonOrForm, }
    BasicEncoding { Form, Raw, }
    JwtBearerSupport { AsAdvertised, Assumed, }
    AssertionAudience { Issuer, TokenEndpoint, }
    DpopPolicy { Never, IfSupported, Require, }
    RegistrationSharing { PerPrincipal, AcrossPrincipals, }
    DynamicRegistration { UnlessPreRegistered, Always, Never, }
}

pub(super) type Sharing = RegistrationSharing;

/// `true`, `false`, or a more specific keyword.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "true, false, or `unless_pre_registered`, `always`, `never`"
)]
pub(super) enum Registration {
    Wanted(bool),
    Word(DynamicRegistration),
}

impl From<Registration> for library::DynamicRegistration {
    fn from(given: Registration) -> Self {
        match given {
            Registration::Wanted(true) => Self::default(),
            Registration::Wanted(false) => Self::Never,
            Registration::Word(word) => word.into(),
        }
    }
}

/// `true`, `false`, `"published"`, or whether `resource` is sent.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "true, false, \"published\", or an object with `resource`"
)]
pub(super) enum Legacy {
    Wanted(bool),
    Word(LegacyWord),
    On(LegacyOn),
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum LegacyWord {
    Published,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LegacyOn {
    resource: ResourceParameter,
}

impl From<Legacy> for library::Legacy {
    fn from(given: Legacy) -> Self {
        match given {
            Legacy::Wanted(false) => Self::Off,
            Legacy::Wanted(true) => Self::On {
                resource: library::ResourceParameter::default(),
            },
            Legacy::Word(LegacyWord::Published) => Self::Published {
                resource: library::ResourceParameter::default(),
            },
            Legacy::On(on) => Self::On {
                resource: on.resource.into(),
            },
        }
    }
}
