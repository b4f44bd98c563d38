//! Programs that must not compile, because the types prevent them. A nightly compiler checks the error code
//! beside each. Where another error could occur, a variant that differs in that one line, and compiles,
//! precedes it.
//!
//! A secret has no text to print (TOK-24).
//!
//! ```
//! let secret = mcp_auth_machine::Secret::new("x");
//! println!("{secret:?}");
//! ```
//! ```compile_fail,E0277
//! let secret = mcp_auth_machine::Secret::new("x");
//! println!("{secret}");
//! ```
//!
//! Its text cannot be read.
//!
//! ```
//! let secret = mcp_auth_machine::Secret::new("x");
//! let _other = secret.clone();
//! ```
//! ```compile_fail,E0614
//! let secret = mcp_auth_machine::Secret::new("x");
//! let _text = *secret;
//! ```
//!
//! Only the machine compares secrets, in constant time (SEC-33).
//!
//! ```compile_fail,E0369
//! let secret = mcp_auth_machine::Secret::new("x");
//! assert!(secret == secret);
//! ```
//!
//! A callback cannot be read before it has been validated (CB-01).
//!
//! ```
//! use mcp_auth_machine::wire::callback::Callback;
//! let callback = Callback::from_query("code=c&state=s");
//! let _shown = format!("{callback:?}");
//! ```
//! ```compile_fail,E0616
//! use mcp_auth_machine::wire::callback::Callback;
//! let callback = Callback::from_query("code=c&state=s");
//! let _shown = callback.text;
//! ```
//!
//! An action has at most one result (H01).
//!
//! ```
//! fn answer(send: mcp_auth_machine::action::SendRequest) {
//!     let _event = send.never_sent();
//! }
//! ```
//! ```compile_fail,E0382
//! fn answer(send: mcp_auth_machine::action::SendRequest) {
//!     let _event = send.never_sent();
//!     let _event = send.maybe_sent();
//! }
//! ```
//!
//! A result has no constructor: only the owner of the action can create it (H03).
//!
//! ```compile_fail,E0616
//! use mcp_auth_machine::event::Reply;
//! fn forge(reply: Reply, other: Reply) -> Reply {
//!     Reply { ticket: other.ticket, ..reply }
//! }
//! ```
//!
//! The entropy of one attempt is used for one attempt (PKCE-03).
//!
//! ```
//! fn spend(seed: mcp_auth_machine::wire::pkce::Seed) {
//!     let _one = mcp_auth_machine::event::Authorization::new(seed);
//! }
//! ```
//! ```compile_fail,E0382
//! fn spend(seed: mcp_auth_machine::wire::pkce::Seed) {
//!     let _one = mcp_auth_machine::event::Authorization::new(seed);
//!     let _two = mcp_auth_machine::event::Authorization::new(seed);
//! }
//! ```
//!
//! A machine, with its verifiers and codes, cannot be cloned (D26).
//!
//! ```compile_fail,E0599
//! fn double(machine: mcp_auth_machine::AuthMachine) {
//!     let _other = machine.clone();
//! }
//! ```
//!
//! The type that binds credentials to servers is private.
//!
//! ```
//! use mcp_auth_machine::IssuerId;
//! fn show(issuer: &IssuerId) -> &str {
//!     issuer.as_str()
//! }
//! ```
//! ```compile_fail,E0603
//! use mcp_auth_machine::issuer::AtIssuer;
//! ```
//!
//! An issuer can only be created by validation.
//!
//! ```compile_fail,E0423
//! let issuer = mcp_auth_machine::IssuerId("https://evil.example".into());
//! ```
//!
//! Only the machine creates a URL for the browser (AUTHZ-11).
//!
//! ```compile_fail,E0603
//! let url = mcp_auth_machine::action::BrowserUrl("javascript:alert(1)".into());
//! ```
//!
//! A server's text is never printed unescaped (CB-10).
//!
//! ```
//! let text = mcp_auth_machine::wire::text::Untrusted::new("x");
//! println!("{text:?}");
//! ```
//! ```compile_fail,E0277
//! let text = mcp_auth_machine::wire::text::Untrusted::new("x");
//! println!("{text}");
//! ```
//!
//! The contents of a slot cannot be printed.
//!
//! ```compile_fail,E0277
//! let contents = mcp_auth_machine::slot::SlotContents::new("x");
//! println!("{contents}");
//! ```
