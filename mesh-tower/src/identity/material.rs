//! [`Material`]: a chain, its key, roots and revocations, as a source gives them: read, and not yet verified.

use super::error::{CertificateError, InvalidIdentity, Part};
use mesh_core::identity::TrustDomain;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Who we are and whom we believe, as it was read.
///
/// Neither `Debug` nor any error shows the key.
pub struct Material {
    /// `None`: only whom we believe.
    pub(super) pair: Option<Pair>,
    /// `None`: only who we are.
    pub(super) roots: Option<Roots>,
    pub(super) revoked: Vec<CertificateRevocationListDer<'static>>,
    /// The roots are of others: our own chain need not lead to them.
    pub(super) foreign_roots: bool,
    /// Whoever says where it is shown decides what is: it need not be a workload's.
    pub(super) of_anybody: bool,
}

/// A chain, and the key of its first certificate.
pub(super) type Pair = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// Whom we believe: roots, and lists of certificates that were revoked.
#[derive(Clone, PartialEq, Eq)]
pub struct Trust {
    pub(super) roots: Roots,
    pub(super) revoked: Arc<[CertificateRevocationListDer<'static>]>,
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
    /// A chain, the key of its first certificate, and roots, each in PEM. Lists of revoked certificates may stand
    /// beside the roots.
    ///
    /// # Errors
    /// [`InvalidIdentity::Unreadable`]: one of them is broken or empty.
    pub fn from_pem(chain: &[u8], key: &[u8], roots: &[u8]) -> Result<Self, InvalidIdentity> {
        let (roots, revoked) = in_part(Part::Roots, authorities(roots))?;
        let chain = in_part(Part::Certificates, certificates(chain))?;
        let key = in_part(Part::PrivateKey, private_key(key))?;
        Ok(Self::from_der(chain, key, Roots::Any(roots.into())).with_revoked(revoked))
    }

    /// A chain and the key of its first certificate, in DER, with the roots of each trust domain.
    #[must_use]
    pub const fn from_der(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        roots: Roots,
    ) -> Self {
        Self::of(Some((chain, key)), Some(roots))
    }

    /// Only whom we believe: for connections on which we show nothing.
    #[must_use]
    pub const fn of_roots(roots: Roots) -> Self {
        Self::of(None, Some(roots))
    }

    /// Only who we are: for connections on which the other side shows nothing. With it nobody is believed.
    #[must_use]
    pub const fn of_pair(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Self {
        Self::of(Some((chain, key)), None)
    }

    pub(super) const fn of(pair: Option<Pair>, roots: Option<Roots>) -> Self {
        Self { pair, roots, revoked: Vec::new(), foreign_roots: false, of_anybody: false }
    }

    /// With these lists of revoked certificates, of peers and of our own.
    #[must_use]
    pub fn with_revoked(mut self, lists: Vec<CertificateRevocationListDer<'static>>) -> Self {
        self.revoked = lists;
        self
    }

    /// Our own chain need not lead to the roots: whoever issues for us does not issue for our peers (gRFC
    /// A29 has the two as separate providers). Default: it must.
    #[must_use]
    pub const fn with_foreign_roots(mut self) -> Self {
        self.foreign_roots = true;
        self
    }
}

impl Material {
    /// It need not be a workload's: a cluster or a listener names it, and shows what its peers take.
    pub(super) const fn of_anybody(mut self) -> Self {
        self.of_anybody = true;
        self
    }
}

impl Trust {
    /// Nobody.
    #[must_use]
    pub fn nobody() -> Self {
        Self { roots: Roots::Any(Arc::default()), revoked: Arc::default() }
    }

    /// Who signs the certificates of peers; none: nobody is believed.
    #[must_use]
    pub const fn roots(&self) -> &Roots {
        &self.roots
    }

    /// The lists of revoked certificates, in DER. They were read, their signatures not: those are verified
    /// with each chain, by the issuer in it.
    #[must_use]
    pub fn revoked(&self) -> &[CertificateRevocationListDer<'static>] {
        &self.revoked
    }

    /// As [`revoked`](Self::revoked), to be kept.
    pub(crate) const fn shared_lists(&self) -> &Arc<[CertificateRevocationListDer<'static>]> {
        &self.revoked
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
            .field("certificates", &self.pair.as_ref().map_or(0, |(chain, _)| chain.len()))
            .field("roots", &self.roots)
            .field("revocation_lists", &self.revoked.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Trust {
    /// How much.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust")
            .field("roots", &self.roots)
            .field("revocation_lists", &self.revoked.len())
            .finish()
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

pub(super) fn in_part<T>(
    part: Part,
    read: Result<T, CertificateError>,
) -> Result<T, InvalidIdentity> {
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

/// Who signs, and lists of certificates that they revoked.
pub(crate) type Authorities =
    (Vec<CertificateDer<'static>>, Vec<CertificateRevocationListDer<'static>>);

/// All certificates of a PEM text, at least one, and the lists of revoked ones beside them.
///
/// # Errors
/// [`CertificateError::BrokenPem`], [`CertificateError::NoCertificate`].
pub(crate) fn authorities(pem: &[u8]) -> Result<Authorities, CertificateError> {
    let roots = certificates(pem)?;
    match revocation_lists(pem) {
        Ok(lists) => Ok((roots, lists)),
        Err(CertificateError::NoRevocationList) => Ok((roots, Vec::new())),
        Err(error) => Err(error),
    }
}

/// The first private key of a PEM text.
///
/// # Errors
/// [`CertificateError::BrokenPem`], [`CertificateError::EncryptedKey`], [`CertificateError::NoPrivateKey`].
pub fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, CertificateError> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
        _ if is_encrypted(pem) => CertificateError::EncryptedKey,
        pem::Error::NoItemsFound => CertificateError::NoPrivateKey,
        error => broken(&error),
    })
}

/// All lists of revoked certificates of a PEM text, at least one.
///
/// # Errors
/// [`CertificateError::BrokenPem`], [`CertificateError::NoRevocationList`].
pub fn revocation_lists(
    pem: &[u8],
) -> Result<Vec<CertificateRevocationListDer<'static>>, CertificateError> {
    let found: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|error| broken(&error))?;
    if found.is_empty() { Err(CertificateError::NoRevocationList) } else { Ok(found) }
}

/// Whether a PEM text has an encrypted private key (RFC 7468 section 11; RFC 1421 section 4.6.1.1 as OpenSSL writes it).
pub(super) fn is_encrypted(pem: &[u8]) -> bool {
    let has = |text: &[u8]| pem.windows(text.len()).any(|part| part == text);
    has(b"-----BEGIN ENCRYPTED PRIVATE KEY-----") || has(b"Proc-Type: 4,ENCRYPTED")
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
