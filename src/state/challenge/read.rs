//! Reading a challenge of the MCP server (CHAL, USE-12).

use std::num::NonZeroU64;

use crate::config::MetadataOrigin;
use crate::core::Core;
use crate::event::{Challenge, Operation};
use crate::few::Few;
use crate::report::Decision;
use crate::secret::Secret;
use crate::wire::challenge::{Scheme, parse};
use crate::wire::scopes::Scopes;
use crate::wire::text::Untrusted;
use crate::wire::url::{UrlFlaw, WebUrl};
use crate::wire::words::Words;

/// How many announced metadata locations are tried.
const MAX_PLACES: usize = 4;

/// A parsed challenge of the MCP server.
pub(crate) struct Judged {
    pub(crate) operation: Operation,
    pub(crate) status: u16,
    pub(crate) sent: Option<Secret>,
    /// Whether the response had a challenge of a supported scheme.
    pub(crate) challenged: bool,
    pub(crate) error: Option<Box<str>>,
    pub(crate) scope: Option<Scopes>,
    /// Whether the challenge named a usable metadata location, which is then tried first.
    pub(crate) named_place: bool,
    pub(crate) description: Option<Untrusted>,
    /// The event that reported it.
    pub(crate) event: NonZeroU64,
    /// The MCP server requires its nonce in the proof, and supplied one.
    pub(crate) wants_nonce: bool,
    /// The request was made before the nonce known until now was: its proof carried none, or an older one.
    pub(crate) nonce_unused: bool,
    /// The MCP server rejects the proof.
    pub(crate) proof_refused: bool,
    /// The only offered scheme binds tokens to a key.
    pub(crate) dpop_only: bool,
}

/// Parses a challenge and stores its metadata locations and scopes. Omitted parameters erase nothing. While the machine
/// works or waits, named scopes join those that were demanded before: an authorization under way requests what the user
/// agreed to, and what other callers need (STEP-12).
pub(crate) fn judge(core: &mut Core, challenge: Challenge, at_rest: bool) -> Option<Judged> {
    let parsed = parse(&challenge.headers);
    let selected = parsed.select(challenge.status, &|text| place(core, text).is_ok());
    let relevant = match challenge.status {
        401 | 403 => true,
        400 => selected
            .as_ref()
            .is_some_and(|s| s.error.as_deref() == Some("invalid_request")),
        _other => false,
    };
    if !relevant {
        core.report(|| Decision::AnswerIgnored {
            status: challenge.status,
        });
        return None;
    }
    let has = |scheme: &str| {
        parsed
            .challenges()
            .iter()
            .any(|c| c.scheme.eq_ignore_ascii_case(scheme))
    };
    let mut judged = Judged {
        operation: challenge.operation,
        status: challenge.status,
        sent: challenge.sent,
        challenged: false,
        error: None,
        scope: None,
        named_place: false,
        description: None,
        event: core.event,
        wants_nonce: false,
        nonce_unused: false,
        proof_refused: false,
        dpop_only: has("DPoP") && !has("Bearer"),
    };
    if judged.status == 401 && judged.sent.is_some() {
        core.memory.doubtful = true;
    }
    let Some(selected) = selected else {
        return Some(judged);
    };
    if !selected.dropped.is_empty() {
        core.report(|| Decision::ChallengeParametersDropped {
            names: selected.dropped.clone(),
        });
    }
    if let Some(algs) = &selected.algs {
        core.memory.dpop_algorithms = Words::from_spellings(algs.split(' '));
    }
    let nonce = crate::event::nonce(&challenge.headers);
    // The DPoP challenge tells about a proof, whichever challenge names the rest (DPOP-11).
    let bound = core
        .held
        .at
        .as_ref()
        .is_some_and(|at| at.held().binding.is_some());
    let proves = bound || selected.scheme == Some(Scheme::DPoP);
    let is = |code: &str| proves && parsed.is_of_proof(code);
    judged.wants_nonce = is("use_dpop_nonce") && nonce.is_some();
    judged.proof_refused = is("invalid_dpop_proof") || is("use_dpop_nonce");
    if is("invalid_dpop_proof") {
        core.compare_clocks(&challenge.headers);
    }
    if let Some(nonce) = nonce {
        let origin = core.config().mcp_url().origin().to_owned();
        judged.nonce_unused = core.memory.nonces.refused_with(&origin, nonce);
    }
    let mut places = Few::new();
    for text in selected.resource_metadata() {
        match place(core, text) {
            Ok(url) if places.len() < MAX_PLACES => places.push(url),
            Ok(_) => {}
            Err(flaw) => core.report(|| Decision::PlaceRefused {
                place: Untrusted::new(text),
                reason: flaw.to_string(),
            }),
        }
    }
    judged.challenged = matches!(selected.scheme, Some(Scheme::Bearer | Scheme::DPoP));
    judged.error = selected.error;
    judged.scope = selected.scope.filter(|scope| !scope.is_empty());
    judged.named_place = !places.is_empty();
    judged.description = selected.error_description;
    if judged.named_place {
        core.memory.resource_metadata = places;
    }
    if let Some(scopes) = judged.scope.as_ref().filter(|_| !judged.wants_scope()) {
        // The scopes that an open question named are part of its answer (STEP-12, STEP-13).
        let now = core.now.mono;
        match at_rest && !core.memory.question.is_open() {
            true => core.memory.demanded.replace(scopes, now),
            false => core.memory.demanded.add(scopes, now),
        }
    }
    Some(judged)
}

/// Checks an announced metadata location; a path is resolved against the MCP server's origin (CHAL-13).
fn place(core: &Core, text: &str) -> Result<WebUrl, UrlFlaw> {
    let config = core.config();
    let own = config.mcp_url();
    let url = if text.starts_with('/') && !text.starts_with("//") {
        config.url_policy().resolve(own, text)?
    } else {
        config.url_policy().check(text)?
    };
    match config.metadata_origin {
        MetadataOrigin::SameOrigin if url.origin() != own.origin() => Err(UrlFlaw::NotAbsolute),
        MetadataOrigin::SameOrigin | MetadataOrigin::Any => Ok(url),
    }
}

/// The relation of the token that was sent to the stored one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    /// No token is stored.
    None,
    /// The stored token is the one that was sent, or is unusable.
    Refused,
    /// A usable token is stored, and another one or none was sent.
    Newer,
}

impl Judged {
    pub(crate) fn wants_scope(&self) -> bool {
        self.error.as_deref() == Some("insufficient_scope")
    }

    pub(crate) fn token(&self, core: &Core) -> Token {
        let account = core.held.at.as_ref().map(|at| at.held());
        if core.held.is_usable(core.now) && !self.refuses_the_stored_token(core) {
            Token::Newer
        } else if account.is_some_and(|account| account.tokens.is_some()) {
            Token::Refused
        } else {
            Token::None
        }
    }

    /// Returns true when the request was sent with the stored token, as far as the account is known.
    fn refuses_the_stored_token(&self, core: &Core) -> bool {
        let sent = self.sent.as_ref();
        sent.is_some_and(|sent| core.held.has_access(sent))
    }

    /// Returns true when the stored token, which has expired, is not the one that was refused: the challenge says nothing
    /// about it (USE-09).
    pub(crate) fn is_about_an_older_token(&self, core: &Core) -> bool {
        self.token(core) == Token::Refused
            && self.sent.is_some()
            && !self.refuses_the_stored_token(core)
    }

    /// Returns true when the stored token differs from the refused one, so that a retry suffices.
    pub(crate) fn is_served(&self, core: &Core) -> bool {
        self.status != 400 && self.token(core) == Token::Newer
    }
}
