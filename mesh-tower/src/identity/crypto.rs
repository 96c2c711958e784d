//! Who encrypts and verifies: what the program installed as rustls' default, else that of the feature
//! `tls-aws-lc`, else of `tls-ring`.
//!
//! `mesh-xds` has these lines too, and its own reading of PEM files: each crate is built without the other, the
//! features that choose are each crate's own, and a third crate for forty lines would be more than they are.

use rustls::crypto::CryptoProvider;
use rustls::crypto::hash::HashAlgorithm;
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

/// SHA-256 of `data`; `None`: there is no crypto that has it.
pub(crate) fn sha256(data: &[u8]) -> Option<Vec<u8>> {
    let provider = provider()?;
    let hashes = provider.cipher_suites.iter().filter_map(|suite| suite.tls13());
    let mut hashes = hashes.map(|suite| suite.common.hash_provider);
    let hash = hashes.find(|hash| hash.algorithm() == HashAlgorithm::SHA256)?;
    Some(hash.hash(data).as_ref().to_vec())
}
