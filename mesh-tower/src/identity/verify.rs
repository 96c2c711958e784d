//! [`Identity`]: material that was verified, so that it can be shown and believed.
//!
//! Nothing is published that a peer would refuse: half of a rotation (a new certificate with the old
//! key, a chain that the new roots do not lead to) would take a service down that ran well with what it
//! had. The rules, in the order in which they are checked:
//!
//! 1. Certificates, key and roots can be read; there is at least one root that can be used, and of each trust
//!    domain that has roots at all.
//! 2. The first certificate is a workload's: no CA, its key may sign handshakes, it is for a side of TLS
//!    (X.509-SVID section 4); it has one SPIFFE id, if it has a URI name at all or one is asked for, and with it
//!    its key may sign neither certificates nor lists (X.509-SVID section 5.2).
//! 3. It is ours, if we know who we are.
//! 4. It is valid now.
//! 5. The key is its own.
//! 6. The chain leads to the roots of its own trust domain, unless these are said to be of others only; none
//!    of it was revoked ([`chain`](super::chain)). A list that is not there revokes nothing: it is
//!    peers that refuse us then, and we would serve nobody if we refused ourselves.
//!
//! What a cluster or a listener names itself (`named/`) has rules 1, 4 and 5 alone: Envoy and gRPC show whatever they
//! are given, so a certificate that signed itself, or has URI names that are no SPIFFE ids, is good; its roots are not of
//! it, but of peers.
//!
//! Material without a certificate has rule 1 only, and material without roots all but those about roots.

use super::anchors::usable;
use super::chain::{Chain, Lists, Unlisted, in_words};
use super::error::{InvalidIdentity, Part, between};
use super::material::{Material, Roots, Trust, in_part};
use super::{Certificate, crypto};
use mesh_core::WallTime;
use mesh_core::identity::SpiffeId;
use mesh_core::identity::rotation::{Standing, Validity};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, TrustAnchor, UnixTime};
use rustls::sign::CertifiedKey;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Who we are and whom we believe, verified.
///
/// `Debug` shows names, never the key.
pub struct Identity {
    certificate: Certificate,
    /// That of the chain.
    validity: Validity,
    spiffe_id: Option<SpiffeId>,
    key: Arc<CertifiedKey>,
    trust: Arc<Trust>,
}

/// Material that was verified: an identity with whom it believes, or only the latter.
#[derive(Debug)]
pub struct Verified {
    pub(super) identity: Option<Arc<Identity>>,
    pub(super) trust: Arc<Trust>,
}

impl Verified {
    /// Verifies `material` as of `now`; `expected`: who we are.
    ///
    /// # Errors
    /// [`InvalidIdentity`]: the first rule of the module's list that it breaks.
    pub fn verify(
        material: Material,
        expected: Option<&SpiffeId>,
        now: WallTime,
    ) -> Result<Self, InvalidIdentity> {
        if material.pair.is_some() {
            let identity = Identity::verify(material, expected, now)?;
            let trust = Arc::clone(&identity.trust);
            return Ok(Self { identity: Some(Arc::new(identity)), trust });
        }
        let Material { roots, revoked, .. } = material;
        Ok(Self { identity: None, trust: trust(roots, revoked, false)? })
    }
}

impl Identity {
    /// Verifies `material` as of `now`; `expected`: who we are.
    ///
    /// # Errors
    /// [`InvalidIdentity`]: the first rule of the module's list that it breaks.
    pub fn verify(
        material: Material,
        expected: Option<&SpiffeId>,
        now: WallTime,
    ) -> Result<Self, InvalidIdentity> {
        let Material { pair, roots, revoked, foreign_roots, of_anybody } = material;
        let nothing = super::CertificateError::NoCertificate;
        let (chain, key) = in_part(Part::Certificates, pair.ok_or_else(|| nothing.clone()))?;
        let first = in_part(Part::Certificates, chain.first().ok_or(nothing))?;
        let certificate = in_part(Part::Certificates, Certificate::parse(first))?;
        let lead = roots.is_some() && !foreign_roots;
        let trust = trust(roots, revoked, lead)?;
        let spiffe_id = match of_anybody {
            true => certificate.names.spiffe_id().ok(),
            false => of_a_workload(&certificate, expected)?,
        };
        in_time(&certificate, now)?;
        let provider = crypto::provider().ok_or(InvalidIdentity::NoCrypto)?;
        let certified = CertifiedKey::from_der(chain, key, &provider).map_err(unfit)?;
        let mut validity = certificate.validity;
        if lead {
            let domain = spiffe_id.as_ref().map(SpiffeId::trust_domain);
            let anchors = match (trust.roots.of(domain.as_ref()), domain) {
                (Some(anchors), _) => anchors,
                (None, Some(domain)) => return Err(InvalidIdentity::NoBundle(domain)),
                (None, None) => return Err(InvalidIdentity::NoRoots),
            };
            let end = leads_to(&certified.cert, &certificate, (anchors, &trust.revoked), now)?;
            validity.not_after = validity.not_after.min(end);
        }
        Ok(Self { certificate, validity, spiffe_id, key: Arc::new(certified), trust })
    }

    /// What our certificate says.
    #[must_use]
    pub const fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// When it can be shown: as long as our certificate, and not after the first end of those between it and the root
    /// that it was verified by, without which no peer believes it. Where it need not lead to a root, that of our
    /// certificate alone.
    #[must_use]
    pub const fn validity(&self) -> Validity {
        self.validity
    }

    /// Our SPIFFE id, if the certificate has one.
    #[must_use]
    pub const fn spiffe_id(&self) -> Option<&SpiffeId> {
        self.spiffe_id.as_ref()
    }

    /// Who signs the certificates of peers, as it came with our certificate. What is in force may be newer:
    /// [`Identities::trust`](super::Identities::trust).
    #[must_use]
    pub fn roots(&self) -> &Roots {
        &self.trust.roots
    }

    /// The lists of revoked certificates, in DER ([`Trust::revoked`]), as they came with our certificate. What is in
    /// force may be newer: [`Identities::trust`](super::Identities::trust).
    #[must_use]
    pub fn crls(&self) -> &[CertificateRevocationListDer<'static>] {
        &self.trust.revoked
    }

    /// Roots and lists of revoked certificates together, as they came with our certificate. What is in force may be
    /// newer: [`Identities::trust`](super::Identities::trust).
    #[must_use]
    pub const fn trust(&self) -> &Arc<Trust> {
        &self.trust
    }

    /// The chain and the key, for rustls.
    #[must_use]
    pub const fn key(&self) -> &Arc<CertifiedKey> {
        &self.key
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("certificate", &self.certificate)
            .field("trust", &self.trust)
            .finish_non_exhaustive()
    }
}

/// Rule 1 of roots and lists: one at least can be used, and of each trust domain that has any. An empty map of bundles is one in which nobody is believed (gRFC A87); where our
/// own chain must `lead` to one, it can't be meant.
fn trust(
    roots: Option<Roots>,
    revoked: Vec<CertificateRevocationListDer<'static>>,
    lead: bool,
) -> Result<Arc<Trust>, InvalidIdentity> {
    in_part(Part::RevocationLists, Lists::read(&revoked, Unlisted::Good))?;
    let may_be_empty = match &roots {
        None => true,
        Some(Roots::Any(_)) => false,
        Some(Roots::ByTrustDomain(_)) => !lead,
    };
    let roots = roots.unwrap_or_else(|| Trust::nobody().roots);
    if roots.is_empty() && !may_be_empty {
        return Err(InvalidIdentity::NoRoots);
    }
    in_part(Part::Roots, usable(&roots))?;
    Ok(Arc::new(Trust { roots, revoked: revoked.into() }))
}

/// Rules 2 and 3; our id.
fn of_a_workload(
    certificate: &Certificate,
    expected: Option<&SpiffeId>,
) -> Result<Option<SpiffeId>, InvalidIdentity> {
    if certificate.is_ca {
        return Err(InvalidIdentity::IsCa);
    }
    if certificate.key_usage.is_some_and(|usage| !usage.digital_signature) {
        return Err(InvalidIdentity::NoDigitalSignature);
    }
    if !certificate.for_servers && !certificate.for_clients {
        return Err(InvalidIdentity::NoTlsUsage);
    }
    let spiffe_id = ours(certificate, expected)?;
    match spiffe_id.is_some() && certificate.signs_others() {
        true => Err(InvalidIdentity::SignsOthers),
        false => Ok(spiffe_id),
    }
}

/// Our id: of a certificate with a URI name, and of any if we know who we are.
fn ours(
    certificate: &Certificate,
    expected: Option<&SpiffeId>,
) -> Result<Option<SpiffeId>, InvalidIdentity> {
    if expected.is_none() && certificate.names.uris.is_empty() {
        return Ok(None);
    }
    let came = certificate.names.spiffe_id()?;
    match expected.filter(|expected| **expected != came) {
        Some(expected) => Err(InvalidIdentity::OtherId { expected: expected.clone(), came }),
        None => Ok(Some(came)),
    }
}

fn in_time(certificate: &Certificate, now: WallTime) -> Result<(), InvalidIdentity> {
    let serial = Arc::clone(&certificate.serial);
    let validity = certificate.validity;
    match validity.standing(now) {
        Standing::Valid => Ok(()),
        Standing::Expired => {
            Err(InvalidIdentity::Expired { serial, ago: between(validity.not_after, now) })
        }
        Standing::NotYetValid => {
            let starts_in = between(now, validity.not_before);
            Err(InvalidIdentity::NotYetValid { serial, starts_in })
        }
    }
}

fn unfit(error: rustls::Error) -> InvalidIdentity {
    match error {
        rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch) => {
            InvalidIdentity::KeyMismatch
        }
        error => InvalidIdentity::UnusableKey { reason: error.to_string() },
    }
}

/// Rule 6; when the chain ends.
pub(super) fn leads_to(
    chain: &[CertificateDer<'static>],
    certificate: &Certificate,
    (anchors, revoked): (&[CertificateDer<'static>], &[CertificateRevocationListDer<'static>]),
    now: WallTime,
) -> Result<WallTime, InvalidIdentity> {
    let unverified = |reason: String| InvalidIdentity::Unverified {
        issuer: Arc::clone(&certificate.issuer),
        roots: anchors.len(),
        reason,
    };
    // A root that can't be read is as good as none: the others may do.
    let usable: Vec<TrustAnchor<'_>> =
        anchors.iter().filter_map(|root| webpki::anchor_from_trusted_cert(root).ok()).collect();
    let Some((first, intermediates)) = chain.split_first().filter(|_| !usable.is_empty()) else {
        return Err(InvalidIdentity::NoRoots);
    };
    let usage = match certificate.for_clients {
        true => webpki::KeyUsage::client_auth(),
        false => webpki::KeyUsage::server_auth(),
    };
    let provider = crypto::provider().ok_or(InvalidIdentity::NoCrypto)?;
    let time = UnixTime::since_unix_epoch(Duration::from_secs(now.as_unix_seconds()));
    let entity =
        webpki::EndEntityCert::try_from(first).map_err(|error| unverified(error.to_string()))?;
    let algorithms = provider.signature_verification_algorithms.all;
    let (entity, others, anchors) = (&entity, intermediates, usable.as_slice());
    // Whether a root of ours is over is for peers to say, who may have it anew: nobody is served if we say it.
    let chain = Chain { entity, others, anchors, lives: &[], usage, algorithms, now: time };
    let lists = Lists::read(revoked, Unlisted::Good);
    let lists = lists.map_err(|error| unverified(error.to_string()))?;
    match chain.verify([&lists]) {
        Ok(()) => Ok(chain.end().unwrap_or(certificate.validity.not_after)),
        Err(webpki::Error::CertRevoked) => {
            let (serial, issuer) = (&certificate.serial, &certificate.issuer);
            Err(InvalidIdentity::Revoked { serial: Arc::clone(serial), issuer: Arc::clone(issuer) })
        }
        Err(error) => Err(unverified(in_words(&error))),
    }
}
