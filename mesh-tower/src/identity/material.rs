//! [`Material`]: a chain, its key, and roots, as a source gives them: read, and not yet verified.

use super::error::{CertificateError, InvalidIdentity, Part};
use mesh_core::identity::TrustDomain;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Who we are and whom we believe, as it was read.
///
/// Neither `Debug` nor any error shows the key.
pub struct Material {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
    pub(super) roots: Roots,
}

/// Who signs the certificates of peers.
#[derive(Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "closed: one set, or one for each trust domain")]
pub enum Roots {
    /// These sign for everybody (Envoy: `trusted_ca`).
    Any(Arc<[CertificateDer<'static>]>),
    /// Those of a trust domain sign for its members only (SPIFFE bundles; gRFC A87).
    ByTrustDomain(Arc<BTreeMap<TrustDomain, Vec<CertificateDer<'static>>>>),
}

impl Material {
    /// A chain, the key of its first certificate, and roots, each in PEM.
    ///
    /// # Errors
    /// [`InvalidIdentity::Unreadable`]: one of them is broken or empty.
    pub fn from_pem(chain: &[u8], key: &[u8], roots: &[u8]) -> Result<Self, InvalidIdentity> {
        let roots = in_part(Part::Roots, certificates(roots))?;
        Ok(Self {
            chain: in_part(Part::Certificates, certificates(chain))?,
            key: in_part(Part::PrivateKey, private_key(key))?,
            roots: Roots::Any(roots.into()),
        })
    }

    /// A chain and the key of its first certificate, in DER, with the roots of each trust domain.
    #[must_use]
    pub const fn from_der(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        roots: Roots,
    ) -> Self {
        Self { chain, key, roots }
    }
}

impl Roots {
    /// Those that sign for members of `domain`; `None`: there are none for it.
    #[must_use]
    pub fn of(&self, domain: Option<&TrustDomain>) -> Option<&[CertificateDer<'static>]> {
        match self {
            Self::Any(roots) => Some(roots),
            Self::ByTrustDomain(bundles) => bundles.get(domain?).map(Vec::as_slice),
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Any(roots) => roots.len(),
            Self::ByTrustDomain(bundles) => bundles.values().map(Vec::len).sum(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of them, whoever they sign for.
    pub fn iter(&self) -> impl Iterator<Item = &CertificateDer<'static>> {
        let (any, bundles) = match self {
            Self::Any(roots) => (Some(roots.iter()), None),
            Self::ByTrustDomain(bundles) => (None, Some(bundles.values().flatten())),
        };
        any.into_iter().flatten().chain(bundles.into_iter().flatten())
    }
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Material")
            .field("certificates", &self.chain.len())
            .field("roots", &self.roots)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Roots {
    /// How many.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any(roots) => write!(f, "Any({})", roots.len()),
            Self::ByTrustDomain(bundles) => {
                let counts = bundles.iter().map(|(domain, roots)| (domain, roots.len()));
                f.write_str("ByTrustDomain")?;
                f.debug_map().entries(counts).finish()
            }
        }
    }
}

fn in_part<T>(part: Part, read: Result<T, CertificateError>) -> Result<T, InvalidIdentity> {
    read.map_err(|error| InvalidIdentity::Unreadable { part, error })
}

/// All certificates of a PEM text, at least one.
///
/// # Errors
/// [`CertificateError::BrokenPem`], [`CertificateError::NoCertificate`].
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|error| broken(&error))?;
    if found.is_empty() { Err(CertificateError::NoCertificate) } else { Ok(found) }
}

/// The first private key of a PEM text.
///
/// # Errors
/// [`CertificateError::BrokenPem`], [`CertificateError::NoPrivateKey`].
pub fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, CertificateError> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
        pem::Error::NoItemsFound => CertificateError::NoPrivateKey,
        error => broken(&error),
    })
}

/// Only the kind of the mistake: a line of the text might be a part of a key.
pub(super) fn broken(error: &pem::Error) -> CertificateError {
    let reason = match error {
        pem::Error::MissingSectionEnd { .. } => "a part has no `-----END`, it was cut off",
        pem::Error::IllegalSectionStart { .. } => "a line with `-----BEGIN` is malformed",
        pem::Error::Base64Decode(_) => "something between `BEGIN` and `END` is no base64",
        _ => "it is no PEM",
    };
    CertificateError::BrokenPem { reason }
}
