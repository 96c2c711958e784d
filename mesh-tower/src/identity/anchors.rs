//! [`Anchors`]: who may sign for a certificate, as webpki wants it. The one place that says it for peers on both
//! sides of a handshake.
//!
//! - Roots of one set sign for everybody. A root that can't be read is as good as none: the others may do.
//! - Roots of a trust domain sign for its members only (gRFC A87), and for what SPIFFE calls a leaf: its key may
//!   sign neither certificates nor lists of revoked ones (X509-SVID section 5.2).
//! - A root that is over, or not valid yet, signs for nobody. webpki, as RFC 5280 section 6.1, does not ask; OpenSSL and
//!   Go do.
//! - A map without roots is one by which nobody is believed (gRFC A87).
//! - Lists of revoked certificates in the text of a trust domain's roots hold for its members: each issuer needs
//!   one (Envoy: `envoy.tls.cert_validator.spiffe`).
//!
//! What it does not do: verify chains ([`chain`](super::chain)).

use super::chain::{Lists, Unlisted};
use super::{Certificate, CertificateError, Roots};
use mesh_core::WallTime;
use mesh_core::identity::TrustDomain;
use mesh_core::identity::peer::NoSpiffeId;
use mesh_core::identity::rotation::{Standing, Validity};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, TrustAnchor};
use std::collections::BTreeMap;

/// Lists of revoked certificates that came with the roots of a trust domain.
pub(crate) type Listed = BTreeMap<TrustDomain, Vec<CertificateRevocationListDer<'static>>>;

/// Roots as they are needed.
#[derive(Debug)]
pub(crate) enum Anchors {
    Any(Authority),
    ByTrustDomain(BTreeMap<TrustDomain, Authority>),
}

/// Who signs, and what they took back.
#[derive(Debug)]
pub(crate) struct Authority {
    pub(crate) anchors: Vec<TrustAnchor<'static>>,
    /// When each of them is valid; `None`: it does not say so in a way that can be read.
    pub(crate) lives: Vec<Option<Validity>>,
    pub(crate) revoked: Option<Lists>,
}

/// Why nobody may sign for a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NobodySigns {
    /// It has no SPIFFE id, by which roots are chosen.
    NoSpiffeId(NoSpiffeId),
    /// Its key may sign others.
    SignsOthers,
    /// There are no roots of its trust domain.
    NoBundle(TrustDomain),
}

/// Whether there is a root that can be used among these, and among those of each trust domain: it is known
/// before they take the place of those that can.
pub(crate) fn usable(roots: &Roots) -> Result<(), CertificateError> {
    let some = |roots: &[CertificateDer<'static>]| {
        let read = roots.iter().map(webpki::anchor_from_trusted_cert);
        let found = read.reduce(|found, next| found.or(next)).transpose();
        found.map(drop).map_err(|error| CertificateError::NotX509 { reason: error.to_string() })
    };
    match roots {
        Roots::Any(roots) => some(roots),
        Roots::ByTrustDomain(bundles) => bundles.values().try_for_each(|roots| some(roots)),
    }
}

impl Anchors {
    /// # Errors
    /// A list can't be read.
    pub(crate) fn new(roots: &Roots, listed: &Listed) -> Result<Self, CertificateError> {
        let bundles = match roots {
            Roots::Any(roots) => return Ok(Self::Any(Authority::new(roots, None)?)),
            Roots::ByTrustDomain(bundles) => bundles.iter(),
        };
        let bundles = bundles.map(|(domain, roots)| {
            let revoked = listed.get(domain).filter(|lists| !lists.is_empty());
            Ok((domain.clone(), Authority::new(roots, revoked.map(Vec::as_slice))?))
        });
        Ok(Self::ByTrustDomain(bundles.collect::<Result<_, _>>()?))
    }

    /// Who may sign for this certificate.
    ///
    /// # Errors
    /// Nobody.
    pub(crate) fn of(&self, certificate: &Certificate) -> Result<&Authority, NobodySigns> {
        let bundles = match self {
            Self::Any(authority) => return Ok(authority),
            Self::ByTrustDomain(bundles) => bundles,
        };
        let id = certificate.names.spiffe_id().map_err(NobodySigns::NoSpiffeId)?;
        if certificate.signs_others() {
            return Err(NobodySigns::SignsOthers);
        }
        let domain = id.trust_domain();
        bundles.get(&domain).ok_or(NobodySigns::NoBundle(domain))
    }

    /// Those of all trust domains.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &TrustAnchor<'static>> {
        self.authorities().flat_map(|authority| &authority.anchors)
    }

    /// How many of them sign for nobody now.
    pub(crate) fn out_of_time(&self, now: WallTime) -> usize {
        let lives = self.authorities().flat_map(|authority| &authority.lives);
        lives.flatten().filter(|life| life.standing(now) != Standing::Valid).count()
    }

    fn authorities(&self) -> impl Iterator<Item = &Authority> {
        let (any, bundles) = match self {
            Self::Any(authority) => (Some(authority), None),
            Self::ByTrustDomain(bundles) => (None, Some(bundles.values())),
        };
        any.into_iter().chain(bundles.into_iter().flatten())
    }

    /// Whether somebody must have forgotten the roots: there is none, and no map says that so it shall be.
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self, Self::Any(authority) if authority.anchors.is_empty())
    }
}

impl Authority {
    fn new(
        roots: &[CertificateDer<'static>],
        revoked: Option<&[CertificateRevocationListDer<'static>]>,
    ) -> Result<Self, CertificateError> {
        let read = |root: &CertificateDer<'static>| {
            let anchor = webpki::anchor_from_trusted_cert(root).ok()?.to_owned();
            Some((anchor, Certificate::parse(root).ok().map(|root| root.validity)))
        };
        let revoked = revoked.map(|lists| Lists::read(lists, Unlisted::Refused)).transpose()?;
        let (anchors, lives) = roots.iter().filter_map(read).unzip();
        Ok(Self { anchors, lives, revoked })
    }
}
