//! Programs that must not compile: the doors that the types keep shut. Beside each is the
//! error that it must fail with, which a nightly compiler checks; where it could fail for another reason, a program
//! that differs in that one line and compiles stands before it.
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
//! Nor one to read.
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
//! Secrets are compared by the machine alone, in constant time (SEC-33).
//!
//! ```compile_fail,E0369
//! let secret = mcp_auth_machine::Secret::new("x");
//! assert!(secret == secret);
//! ```
//!
//! Nothing of a callback can be read back before it was checked (CB-01).
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
//! An action is answered once (H01).
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
//! And by nobody who does not hold it: an answer has no constructor (H03).
//!
//! ```compile_fail,E0616
//! use mcp_auth_machine::event::Reply;
//! fn forge(reply: Reply, other: Reply) -> Reply {
//!     Reply { ticket: other.ticket, ..reply }
//! }
//! ```
//!
//! The entropy of one attempt serves one attempt (PKCE-03).
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
//! A machine cannot be doubled, and with it a verifier or a code (D26).
//!
//! ```compile_fail,E0599
//! fn double(machine: mcp_auth_machine::AuthMachine) {
//!     let _other = machine.clone();
//! }
//! ```
//!
//! What joins credentials to servers is out of reach.
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
//! An issuer is a text that was checked, and is never made up.
//!
//! ```compile_fail,E0423
//! let issuer = mcp_auth_machine::IssuerId("https://evil.example".into());
//! ```
//!
//! A URL for the browser comes from the machine alone (AUTHZ-11).
//!
//! ```compile_fail,E0603
//! let url = mcp_auth_machine::action::BrowserUrl("javascript:alert(1)".into());
//! ```
//!
//! A peer's text is never printed as it is (CB-10).
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
//! What a slot holds is not printed either.
//!
//! ```compile_fail,E0277
//! let contents = mcp_auth_machine::slot::SlotContents::new("x");
//! println!("{contents}");
//! ```
