//! [`IdentityStatus`]: what became of renewals, for people, `explain` and metrics.

use super::certificate::wall;
use super::material::{Roots, Trust};
use super::{Certificate, Identities};
use crate::observe::identity::{IdentityReading, ReadIdentity, RootReading};
use mesh_core::WallTime;
use mesh_core::identity::TrustDomain;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use std::collections::BTreeMap;
use std::sync::Arc;
use x509_parser::prelude::FromDer as _;
use x509_parser::revocation_list::CertificateRevocationList;

/// What became of renewals.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct IdentityStatus {
    /// The end of the certificate in force, or of its chain, if that ends earlier ([`Identity::validity`](super::Identity::validity)).
    pub not_after: Option<WallTime>,
    /// The end of each root, by its subject.
    pub roots: Vec<(Arc<str>, WallTime)>,
    /// Where there are roots by trust domain: when the last one of each ends.
    pub bundles: BTreeMap<TrustDomain, WallTime>,
    /// When a good identity came last that was new.
    pub last_good: Option<WallTime>,
    /// How many renewals failed, since the start. Also: how often the old one was given again when one was due.
    pub failures: u64,
    /// What was wrong with the last one; `None`: it was good.
    pub error: Option<Arc<str>>,
    /// The last warning of the certificate in force: percent of its life, or of its chain's, that are left.
    pub warned: Option<u8>,
}

/// When a root ends.
#[derive(Clone, Debug)]
pub(super) struct RootEnd {
    pub(super) domain: Option<TrustDomain>,
    pub(super) subject: Arc<str>,
    serial: Arc<str>,
    pub(super) end: WallTime,
}

/// When a newer list is due, by its issuer.
pub(super) type ListEnds = Arc<BTreeMap<Arc<str>, WallTime>>;

/// Of all roots that can be read. Once per identity, so that nobody who asks reads certificates.
pub(super) fn ends(trust: &Trust) -> Arc<[RootEnd]> {
    let end = |domain: Option<&TrustDomain>, root: &CertificateDer<'_>| {
        let Certificate { names, serial, validity, .. } = Certificate::parse(root).ok()?;
        let (domain, subject) = (domain.cloned(), names.subject);
        Some(RootEnd { domain, subject, serial, end: validity.not_after })
    };
    match trust.roots() {
        Roots::Any(roots) => roots.iter().filter_map(|root| end(None, root)).collect(),
        Roots::ByTrustDomain(bundles) => {
            let roots = bundles.iter().flat_map(|(domain, roots)| {
                roots.iter().filter_map(move |root| end(Some(domain), root))
            });
            roots.collect()
        }
    }
}

/// When a newer list of revoked certificates is due, by its issuer: of several the first. Once per identity, as above.
pub(super) fn list_ends(lists: &[CertificateRevocationListDer<'_>]) -> ListEnds {
    let mut ends = BTreeMap::new();
    for list in lists {
        let Ok((_, list)) = CertificateRevocationList::from_der(list) else { continue };
        if let Some(end) = list.next_update().map(wall) {
            let first = ends.entry(Arc::from(list.issuer().to_string())).or_insert(end);
            *first = end.min(*first);
        }
    }
    Arc::new(ends)
}

/// The last end of each trust domain.
pub(super) fn bundles(roots: &[RootEnd]) -> BTreeMap<TrustDomain, WallTime> {
    let mut bundles = BTreeMap::new();
    for root in roots {
        if let Some(domain) = &root.domain {
            let end = bundles.entry(domain.clone()).or_insert(root.end);
            *end = root.end.max(*end);
        }
    }
    bundles
}

impl ReadIdentity for Identities {
    fn read(&self) -> IdentityReading {
        let status = self.status();
        let roots = self.root_ends();
        let roots = roots.iter().map(|root| RootReading {
            trust_domain: root
                .domain
                .as_ref()
                .map_or_else(Arc::default, |domain| Arc::from(domain.as_str())),
            subject: Arc::clone(&root.subject),
            serial: Arc::clone(&root.serial),
            end: root.end,
        });
        IdentityReading {
            end: status.not_after,
            roots: roots.collect(),
            lists: BTreeMap::clone(&self.list_ends()),
            last_good: status.last_good,
            failures: status.failures,
        }
    }
}
