//! Who the other side of a connection is, and who we are.
//!
//! A mesh names services, not addresses: what a policy allows is an identity that a certificate
//! proves. The TLS layer reads certificates and checks their chains; what follows from the names in
//! them is decided here, and so is the time at which our own certificate has to be renewed.
//!
//! | module | decides |
//! |---|---|
//! | [`spiffe`] | whether a text is a SPIFFE id |
//! | [`peer`] | nothing: what is known of the other side, as data |
//! | [`san`] | whether a peer's names are those that were asked for |
//! | [`proof`] | how long what the other side has proven counts |
//! | [`rotation`] | when to renew, when to warn, when it is over |
//! | [`xfcc`] | what becomes of `x-forwarded-client-cert`, and what is in it |
//!
//! What it does not do: parse certificates, verify signatures, hold keys.

pub mod peer;
pub mod proof;
pub mod rotation;
pub mod san;
pub mod spiffe;
pub mod xfcc;

pub use peer::{OtherName, Peer, PeerCertificate};
pub use rotation::{Rotation, RotationEvent, RotationOptions, Validity};
pub use san::{CompiledSanMatchers, SanMismatch};
pub use spiffe::{SpiffeId, SpiffeIdError, TrustDomain};
