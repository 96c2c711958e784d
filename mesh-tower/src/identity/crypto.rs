//! Who encrypts and verifies: what the program installed as rustls' default, else that of the feature
//! `tls-aws-lc`, else of `tls-ring`.
//!
//! `mesh-xds` has these lines too, and its own reading of PEM files: each crate is built without the other, the
//! features that choose are each crate's own, and a third crate for forty lines would be more than they are.

use rustls::crypto::CryptoProvider;
use std::sync::Arc;

/// `None`: built without crypto, and nothing is installed.
pub(crate) fn provider() -> Option<Arc<CryptoProvider>> {
    CryptoProvider::get_default().cloned().or_else(built_in)
}

#[cfg(feature = "tls-aws-lc")]
fn built_in() -> Option<Arc<CryptoProvider>> {
    Some(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
}

#[cfg(all(feature = "tls-ring", not(feature = "tls-aws-lc")))]
fn built_in() -> Option<Arc<CryptoProvider>> {
    Some(Arc::new(rustls::crypto::ring::default_provider()))
}

#[cfg(not(any(feature = "tls-aws-lc", feature = "tls-ring")))]
const fn built_in() -> Option<Arc<CryptoProvider>> {
    None
}
