//! The members of each event line, except its name and time.

use serde::Deserialize;

pub(super) type Pairs = Vec<(String, String)>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Named {
    pub(super) operation: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Authorize {
    pub(super) seed: String,
    pub(super) redirect_uri: Option<String>,
    pub(super) browser: Option<String>,
    pub(super) scopes: Option<Vec<String>>,
    #[serde(default)]
    pub(super) on_other_device: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Challenged {
    pub(super) operation: String,
    pub(super) status: u16,
    #[serde(default)]
    pub(super) headers: Pairs,
    pub(super) sent: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HttpResponse {
    pub(super) id: u64,
    pub(super) status: u16,
    #[serde(default)]
    pub(super) headers: Pairs,
    pub(super) body: Option<String>,
    pub(super) body_base64: Option<String>,
    pub(super) final_url: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HttpFailed {
    pub(super) id: u64,
    pub(super) failure: Undelivered,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CallbackParams {
    pub(super) url: Option<String>,
    pub(super) query: Option<String>,
    pub(super) form: Option<String>,
    pub(super) browser: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SlotLoaded {
    pub(super) id: u64,
    pub(super) contents: Option<String>,
    pub(super) revision: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    pub(super) id: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SlotPersisted {
    pub(super) id: u64,
    pub(super) outcome: Outcome,
    pub(super) contents: Option<String>,
    pub(super) revision: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    Done,
    Failed,
    Conflict,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Signed {
    pub(super) id: u64,
    pub(super) signature: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AssertionObtained {
    pub(super) id: u64,
    pub(super) assertion: Option<String>,
    pub(super) kind: Option<TokenKind>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum TokenKind {
    IdToken,
    Saml2,
    RefreshToken,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SeenElsewhere {
    pub(super) url: String,
    #[serde(default)]
    pub(super) headers: Pairs,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Abandoned {
    pub(super) how: Option<How>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum How {
    Cancelled,
    ResetRegistration,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Present {
    pub(super) method: String,
    pub(super) url: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::lines) enum Undelivered {
    NeverSent,
    MaybeSent,
    TooLarge,
    Blocked,
}
