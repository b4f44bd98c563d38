//! A reader without copies of account records, for tokens that are usable as they are.
//!
//! The reader accepts a record in exactly the form in which `write_account` writes it: members in that order, without blanks
//! and escapes. `read_account` reads every other record: those in another form, those with rare members, and those that cannot
//! be used, since it finds out what is wrong with them. So the only result of this reader is a usable token.

use std::num::NonZeroU64;

use crate::account::Obtained;
use crate::config::Config;
use crate::frame::Opened;
use crate::grant::ClientOrigin;
use crate::issuer::{BasicEncoding, IssuerId, ServerSource};
use crate::slot::{SlotKind, Stored};
use crate::time::UnixMillis;
use crate::wire::callback::IssBinding;
use crate::wire::resource::covers;
use crate::wire::text::all_bytes;
use crate::wire::token::Lifetime;
use crate::wire::url::{UrlPolicy, split};

/// An account with a bearer token, whose record `read_account` accepts for this principal and configuration.
pub(crate) struct AccountAtRest<'a> {
    pub(crate) issuer: &'a str,
    pub(crate) client_id: &'a str,
    pub(crate) client_origin: ClientOrigin,
    pub(crate) access: &'a str,
    pub(crate) is_renewable: bool,
    pub(crate) received: UnixMillis,
    pub(crate) lifetime: Lifetime,
}

/// Reads an account. `None`: only `read_account` can tell whether the record is usable.
pub(crate) fn read_at_rest<'a>(
    config: &Config,
    principal: &str,
    stored: &'a Stored,
) -> Option<AccountAtRest<'a>> {
    let opened = Opened::open(stored, SlotKind::Account).ok()?;
    let (mcp_url, policy) = (config.mcp_url(), config.url_policy());
    let mut json = Reader::of(opened.json())?;
    // The record belongs to this principal and MCP server (D23).
    let is_own = json.text(r#"{"k":"account","p":""#)? == principal
        && json.text(r#","m":""#)? == mcp_url.as_str();
    if !is_own {
        return None;
    }
    let issuer = json.server(policy)?;
    let (client_id, client_origin) = json.client()?;
    json.some_text(r#","u":""#)?;
    let obtained = [
        Obtained::AuthorizationCode,
        Obtained::DeviceCode,
        Obtained::ClientCredentials,
        Obtained::JwtBearer,
        Obtained::Enterprise,
    ];
    json.word(r#","o":""#, &obtained, |word| word.as_str())?;
    if json.has(r#","au":"#) {
        NonZeroU64::new(json.digits()?)?;
    }
    json.some_number(r#","ad":"#)?;
    if covers(json.text(r#","r":""#)?, mcp_url, policy) != Ok(true) {
        return None;
    }
    json.has(r#","resource_sent":false"#);
    json.text(r#","q":""#)?;
    json.text(r#","g":""#)?;
    json.has(r#","names_scopes":true"#);
    let bindings = [
        IssBinding::Verified,
        IssBinding::Unverifiable,
        IssBinding::NoCallback,
    ];
    json.word(r#","ib":""#, &bindings, |word| word.as_str())?;
    let access = json.text(r#","t":{"k":"bearer","a":""#)?;
    let is_renewable = json.some_text(r#","f":""#)?.is_some();
    let received = UnixMillis(json.number(r#","rc":"#)?);
    let seconds = json.some_number(r#","lt":"#)?;
    json.lead("}")?;
    json.some_number(r#","l":"#)?;
    json.lead("}")?;
    json.0.is_empty().then_some(AccountAtRest {
        issuer,
        client_id,
        client_origin,
        access,
        is_renewable,
        received,
        lifetime: seconds.map_or(Lifetime::Unknown, Lifetime::Seconds),
    })
}

/// The rest of JSON without escapes. Each method reads a lead, the literal text before a value, and the value. The methods are
/// inlined, because most leads are short and of a known length: their comparison is a move or two.
struct Reader<'a>(&'a str);

impl<'a> Reader<'a> {
    fn of(json: &'a str) -> Option<Self> {
        // Without escapes, each string ends at the next quote.
        let is_plain = |byte| (byte >= 0x20) & (byte != b'\\');
        all_bytes(json.as_bytes(), is_plain).then_some(Self(json))
    }

    /// Reads a literal text.
    #[inline(always)]
    fn lead(&mut self, lead: &'static str) -> Option<()> {
        self.has(lead).then_some(())
    }

    /// Reads a literal text, if it comes next.
    #[inline(always)]
    fn has(&mut self, lead: &'static str) -> bool {
        let rest = self.0.strip_prefix(lead);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    /// Reads a string. The lead ends with its opening quote.
    #[inline(always)]
    fn text(&mut self, lead: &'static str) -> Option<&'a str> {
        self.lead(lead)?;
        self.until_quote()
    }

    fn until_quote(&mut self) -> Option<&'a str> {
        let end = quote(self.0.as_bytes())?;
        let text = self.0.get(..end)?;
        self.0 = self.0.get(end.saturating_add(1)..)?;
        Some(text)
    }

    /// Reads a string, if there is one.
    #[inline(always)]
    fn some_text(&mut self, lead: &'static str) -> Option<Option<&'a str>> {
        if self.has(lead) {
            self.until_quote().map(Some)
        } else {
            Some(None)
        }
    }

    /// Reads a string that has to be one of these.
    #[inline(always)]
    fn word<W: Copy>(
        &mut self,
        lead: &'static str,
        words: &[W],
        spelling: impl Fn(W) -> &'static str,
    ) -> Option<W> {
        let text = self.text(lead)?;
        words.iter().copied().find(|word| spelling(*word) == text)
    }

    #[inline(always)]
    fn number(&mut self, lead: &'static str) -> Option<u64> {
        self.lead(lead)?;
        self.digits()
    }

    fn digits(&mut self) -> Option<u64> {
        let mut digits = self.0.bytes().take_while(u8::is_ascii_digit);
        let (mut number, mut length) = (u64::from(digits.next()?.wrapping_sub(b'0')), 1_usize);
        let has_leading_zero = number == 0;
        for digit in digits {
            let digit = u64::from(digit.wrapping_sub(b'0'));
            number = number.checked_mul(10)?.checked_add(digit)?;
            length = length.saturating_add(1);
        }
        if has_leading_zero && length > 1 {
            return None;
        }
        self.0 = self.0.get(length..)?;
        Some(number)
    }

    /// Reads a number, if there is one.
    #[inline(always)]
    fn some_number(&mut self, lead: &'static str) -> Option<Option<u64>> {
        if self.has(lead) {
            self.digits().map(Some)
        } else {
            Some(None)
        }
    }

    /// Reads a list of registered values, which is written as one number, if there is one.
    #[inline(always)]
    fn list(&mut self, lead: &'static str) -> Option<()> {
        let number = self.some_number(lead)?;
        number
            .is_none_or(|bits| u16::try_from(bits).is_ok())
            .then_some(())
    }

    /// Reads an endpoint, which the policy accepts beside the issuer, if there is one.
    #[inline(always)]
    fn endpoint(&mut self, lead: &'static str, policy: &UrlPolicy, origin: &str) -> Option<()> {
        let text = self.some_text(lead)?;
        let fits = text.is_none_or(|text| policy.accepts_beside(origin, text));
        fits.then_some(())
    }

    /// Reads a server snapshot, whose URLs the policy accepts, and returns its issuer.
    fn server(&mut self, policy: &UrlPolicy) -> Option<&'a str> {
        let issuer = self.text(r#","s":{"i":""#)?;
        if !IssuerId::is_valid(issuer, policy) {
            return None;
        }
        let origin = split(issuer).0;
        let sources = [
            ServerSource::Metadata,
            ServerSource::LegacyMetadata,
            ServerSource::LegacyDefaults,
        ];
        self.word(r#","so":""#, &sources, |word| word.as_str())?;
        self.number(r#","fu":"#)?;
        self.endpoint(r#","ae":""#, policy, origin)?;
        let token = self.text(r#","te":""#)?;
        if !policy.accepts_beside(origin, token) {
            return None;
        }
        self.endpoint(r#","re":""#, policy, origin)?;
        self.endpoint(r#","ve":""#, policy, origin)?;
        self.endpoint(r#","pe":""#, policy, origin)?;
        self.has(r#","rp":true"#);
        self.lead(r#","ai":"#)?;
        if !self.has("true") {
            self.lead("false")?;
        }
        self.has(r#","sc":true"#);
        self.list(r#","rt":"#)?;
        self.list(r#","gt":"#)?;
        self.list(r#","sp":"#)?;
        self.list(r#","cm":"#)?;
        self.list(r#","am":"#)?;
        self.list(r#","vm":"#)?;
        self.list(r#","aa":"#)?;
        self.list(r#","da":"#)?;
        self.list(r#","gp":"#)?;
        self.lead("}")?;
        Some(issuer)
    }

    /// Reads a client that has no key, and returns its identifier and its origin.
    fn client(&mut self) -> Option<(&'a str, ClientOrigin)> {
        let id = self.text(r#","c":{"id":""#)?;
        let origins = [
            ClientOrigin::PreRegistered,
            ClientOrigin::MetadataDocument,
            ClientOrigin::Dynamic,
        ];
        let origin = self.word(r#","og":""#, &origins, |word| word.as_str())?;
        self.lead(r#","mt":"#)?;
        if self.has(r#"{"basic":"#) {
            self.text(r#"{"secret":""#)?;
            let encodings = [BasicEncoding::Form, BasicEncoding::Raw];
            self.word(r#","encoding":""#, &encodings, |word| word.as_str())?;
            self.lead("}}")?;
        } else if self.has(r#"{"post":"#) {
            self.text(r#"{"secret":""#)?;
            self.lead("}}")?;
        } else {
            self.lead(r#""none""#)?;
        }
        self.some_number(r#","se":"#)?;
        self.lead("}")?;
        Some((id, origin))
    }
}

/// Returns the place of the first quote. Eight bytes are compared at a time, in one machine word.
fn quote(text: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const QUOTES: u64 = u64::from_le_bytes([b'"'; 8]);
    let (words, rest) = text.as_chunks::<8>();
    let mut before = 0_usize;
    for word in words {
        // A zero byte stands for a quote. The lowest of these bits is that of the first one.
        let differs = u64::from_le_bytes(*word) ^ QUOTES;
        let found = differs.wrapping_sub(ONES) & !differs & (ONES << 7);
        if found != 0 {
            let bits = usize::try_from(found.trailing_zeros()).ok()?;
            return Some(before.saturating_add(bits / 8));
        }
        before = before.saturating_add(8);
    }
    let last = rest.iter().position(|byte| *byte == b'"')?;
    Some(before.saturating_add(last))
}
