//! [`CertificateError`], [`InvalidIdentity`]: why material can't be read, or not be used; [`NoIdentity`]: why there is
//! none to show.

use super::bundle_map::InvalidBundleMap;
use mesh_core::WallTime;
use mesh_core::identity::peer::NoSpiffeId;
use mesh_core::identity::{SpiffeId, TrustDomain};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Why bytes are no certificates or no key. No byte of them is in it: they may be a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// Something between `BEGIN` and `END` is broken.
    #[error("broken PEM: {reason}; write it anew, whole")]
    BrokenPem {
        /// What is broken.
        reason: &'static str,
    },
    /// There is no certificate.
    #[error("no certificate in it: it must have `-----BEGIN CERTIFICATE-----` (PEM)")]
    NoCertificate,
    /// There is no private key.
    #[error(
        "no private key in it: it must have one in PEM (PKCS #8, PKCS #1 or SEC 1), not encrypted"
    )]
    NoPrivateKey,
    /// The private key is encrypted (RFC 5958, or by OpenSSL's older form).
    #[error(
        "the private key is encrypted, and nobody can be asked for its password: decrypt it (`openssl pkey -in KEY -out NEW`), and let only its owner read it"
    )]
    EncryptedKey,
    /// There is no list of revoked certificates.
    #[error("no list of revoked certificates in it: it must have `-----BEGIN X509 CRL-----` (PEM)")]
    NoRevocationList,
    /// It is no list of revoked certificates.
    #[error("no X.509 list of revoked certificates: {reason}")]
    NotARevocationList {
        /// What the reader says.
        reason: String,
    },
    /// It is no bundle of a trust domain, nor a map of them.
    #[error("no trust bundle: {reason}")]
    NotABundle {
        /// What is wrong with it.
        reason: String,
    },
    /// The key is not that of the certificate beside it.
    #[error("the private key is not the certificate's: replace both together")]
    KeyMismatch,
    /// It is no X.509 certificate.
    #[error("no X.509 certificate: {reason}")]
    NotX509 {
        /// What the reader says.
        reason: String,
    },
}

/// Why an identity is not put into force. What was in force before stays.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidIdentity {
    /// A certificate, key, root or list of revoked certificates can't be read.
    #[error("{part}: {error}")]
    Unreadable {
        /// Which of them.
        part: Part,
        /// Why.
        error: CertificateError,
    },
    /// The key is not that of the certificate.
    #[error("the private key is not the certificate's: replace both together")]
    KeyMismatch,
    /// The crypto can't use the key.
    #[error(
        "the private key can't be used: {reason}; take an RSA, ECDSA (P-256, P-384) or Ed25519 key"
    )]
    UnusableKey {
        /// Why.
        reason: String,
    },
    /// The certificate is over.
    #[error("the certificate ended {} s ago (serial {serial}): issue a new one", ago.as_secs())]
    Expired {
        /// Its serial number.
        serial: Arc<str>,
        /// For how long.
        ago: Duration,
    },
    /// The certificate has not begun.
    #[error("the certificate begins in {} s (serial {serial}): look at the clocks", starts_in.as_secs())]
    NotYetValid {
        /// Its serial number.
        serial: Arc<str>,
        /// In how long.
        starts_in: Duration,
    },
    /// A signer's certificate, where a workload's is needed (X.509-SVID section 4).
    #[error("the first certificate is a CA's: put the workload's own first")]
    IsCa,
    /// Its key may sign certificates or lists of revoked ones, and it is an SVID (X.509-SVID section 5.2).
    #[error(
        "the certificate's key usage has keyCertSign or cRLSign, which no workload's may have (X509-SVID): issue it without"
    )]
    SignsOthers,
    /// Its key may not sign handshakes (X.509-SVID section 4.3).
    #[error("the certificate's key usage lacks digitalSignature: issue it with that")]
    NoDigitalSignature,
    /// It is for neither side of TLS.
    #[error(
        "the certificate is for neither servers nor clients (extended key usage): issue it for both"
    )]
    NoTlsUsage,
    /// It is not an SVID, and one is needed.
    #[error("{0}")]
    NoSpiffeId(#[from] NoSpiffeId),
    /// It is somebody else's.
    #[error(
        "the certificate is for `{came}`, and `{expected}` is who we are: issue one for that, or configure the other id"
    )]
    OtherId {
        /// Who we are.
        expected: SpiffeId,
        /// Whose it is.
        came: SpiffeId,
    },
    /// There is no root to verify anybody by.
    #[error(
        "there is no root certificate that can be used: put those into the roots that sign for peers (PEM)"
    )]
    NoRoots,
    /// No root of the certificate's own trust domain.
    #[error("there are no roots of our own trust domain `{0}`: add its bundle to the roots")]
    NoBundle(TrustDomain),
    /// The chain does not lead to the roots.
    #[error(
        "the certificate (issued by `{issuer}`) does not verify by the {roots} roots: {reason}"
    )]
    Unverified {
        /// Who issued the first certificate.
        issuer: Arc<str>,
        /// How many roots were tried.
        roots: usize,
        /// What the verifier says.
        reason: String,
    },
    /// Its issuer has revoked it, or one of those between it and the roots.
    #[error(
        "the certificate (serial {serial}, issued by `{issuer}`) or one that signs it was revoked: issue a \
         new one"
    )]
    Revoked {
        /// Its serial number.
        serial: Arc<str>,
        /// Who issued it.
        issuer: Arc<str>,
    },
    /// The map of trust bundles breaks a rule.
    #[error("{0}")]
    BundleMap(#[from] InvalidBundleMap),
    /// The program was built without crypto, and has installed none.
    #[error(
        "nobody encrypts: build with the feature `tls-aws-lc` or `tls-ring`, or install a default `CryptoProvider` of rustls"
    )]
    NoCrypto,
}

impl InvalidIdentity {
    /// When it may be none any more although nothing changes but the time; `None`: never. A clock that is wrong may be
    /// put right at any time.
    pub(super) const fn ripens(&self) -> Option<Duration> {
        match self {
            Self::NotYetValid { starts_in, .. } => Some(*starts_in),
            Self::Expired { .. } | Self::Unverified { .. } => Some(Duration::MAX),
            _ => None,
        }
    }
}

/// Why there is no identity to show.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoIdentity {
    /// None was good so far.
    #[error("no identity yet{}", because(why))]
    NotYet {
        /// What is wrong with the last one.
        why: Option<Arc<str>>,
    },
    /// The last good one is over.
    #[error("our certificate ended {} s ago{}", ago.as_secs(), because(why))]
    Expired {
        /// For how long.
        ago: Duration,
        /// Why there is no newer one.
        why: Option<Arc<str>>,
    },
    /// The last good one has not begun, for the clock went back.
    #[error("our certificate begins in {} s: look at the clock", starts_in.as_secs())]
    NotYetValid {
        /// In how long.
        starts_in: Duration,
    },
}

fn because(why: &Option<Arc<str>>) -> String {
    why.as_ref().map_or_else(String::new, |why| format!(": {why}"))
}

/// A part of an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "closed: what an identity is made of")]
pub enum Part {
    /// The chain of certificates.
    Certificates,
    /// The private key.
    PrivateKey,
    /// The roots.
    Roots,
    /// The lists of revoked certificates.
    RevocationLists,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Certificates => "certificates",
            Self::PrivateKey => "private key",
            Self::Roots => "roots",
            Self::RevocationLists => "revocation lists",
        })
    }
}

/// By how much `later` is after `earlier`, for messages.
pub(super) fn between(earlier: WallTime, later: WallTime) -> Duration {
    later.saturating_duration_since(earlier)
}
