//! Who encrypts and verifies: what the program installed as rustls' default, else that of the feature
//! `tls-aws-lc`, else of `tls-ring`.

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
