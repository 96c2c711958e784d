//! Certificates from files, for both ends of the stream to a control plane.
//!
//! Certificates are short-lived: whoever issues them replaces the files while the process runs. So what is
//! kept is where they are; they are read again for new connections, and running connections go on.
//!
//! - What can't be used changes nothing: the last good pair stays, and the log says what is wrong (gRFC A29
//!   of its file watcher: "keep the old").
//! - TLS 1.2 and 1.3, with HTTP/2 by ALPN. No session is resumed: a resumed one is not verified again, so an
//!   identity that is no longer trusted would live on.
//! - The crypto is what the program installed as rustls' default, else that of the feature `tls-aws-lc`, else
//!   of `tls-ring`.
//!
//! What it does not do: certificates of calls between services, and revocation lists.

mod error;
mod files;
mod reload;

pub use error::CertificateError;
pub use files::MAX_FILE;
pub(crate) use files::Material;
pub(crate) use reload::Reload;

use crate::bootstrap::{CertificateFiles, IdentityFiles};
use rustls::crypto::CryptoProvider;
use std::sync::Arc;

/// HTTP/2 in ALPN.
pub(crate) const H2: &[u8] = b"h2";

/// Who encrypts and verifies.
pub(crate) fn provider() -> Result<Arc<CryptoProvider>, CertificateError> {
    match CryptoProvider::get_default() {
        Some(installed) => Ok(Arc::clone(installed)),
        None => built_in(),
    }
}

#[cfg(feature = "tls-aws-lc")]
fn built_in() -> Result<Arc<CryptoProvider>, CertificateError> {
    Ok(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
}

#[cfg(all(feature = "tls-ring", not(feature = "tls-aws-lc")))]
fn built_in() -> Result<Arc<CryptoProvider>, CertificateError> {
    Ok(Arc::new(rustls::crypto::ring::default_provider()))
}

#[cfg(not(any(feature = "tls-aws-lc", feature = "tls-ring")))]
const fn built_in() -> Result<Arc<CryptoProvider>, CertificateError> {
    Err(CertificateError::NoCrypto)
}

/// What a pair of certificate and key that rustls refuses is told as.
pub(crate) fn refused_pair(files: &CertificateFiles, error: &rustls::Error) -> CertificateError {
    let Some(IdentityFiles { certificate, private_key }) = files.identity() else {
        return CertificateError::NoIdentity;
    };
    let (certificate, private_key) = (certificate.to_path_buf(), private_key.to_path_buf());
    match error {
        rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch) => {
            CertificateError::KeyDoesNotFit { certificate, private_key }
        }
        error => {
            let reason = error.to_string();
            CertificateError::Unusable { certificate, private_key, reason }
        }
    }
}

/// What crypto that can't be used is told as.
pub(crate) fn refused_crypto(error: &impl ToString) -> CertificateError {
    CertificateError::Crypto { reason: error.to_string() }
}
