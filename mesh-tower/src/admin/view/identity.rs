//! [`IdentityView`]: certificates of ours and roots, with their ends. Never a key.

use crate::mesh::Mesh;
use mesh_core::WallTime;
use std::sync::Arc;

/// An identity at one moment.
#[derive(Clone, Debug, Default)]
pub(in crate::admin) struct IdentityView {
    /// `mesh`, or `provider/` and a name.
    pub(in crate::admin) name: Arc<str>,
    /// Ours, if one is in force.
    pub(in crate::admin) certificate: Option<CertificateView>,
    pub(in crate::admin) roots: Vec<RootView>,
    pub(in crate::admin) last_good: Option<WallTime>,
    pub(in crate::admin) failures: u64,
    /// What is wrong with the last renewal.
    pub(in crate::admin) error: Option<Arc<str>>,
}

/// A certificate of ours.
#[derive(Clone, Debug, Default)]
pub(in crate::admin) struct CertificateView {
    pub(in crate::admin) serial: Arc<str>,
    pub(in crate::admin) subject: Arc<str>,
    pub(in crate::admin) issuer: Arc<str>,
    pub(in crate::admin) uris: Vec<Arc<str>>,
    pub(in crate::admin) dns: Vec<Arc<str>>,
    pub(in crate::admin) not_before: WallTime,
    /// Or the end of its chain, if that is earlier.
    pub(in crate::admin) not_after: WallTime,
}

/// A root that peers are verified by.
#[derive(Clone, Debug)]
pub(in crate::admin) struct RootView {
    /// Empty: it signs for everybody.
    pub(in crate::admin) trust_domain: Arc<str>,
    pub(in crate::admin) subject: Arc<str>,
    pub(in crate::admin) serial: Arc<str>,
    pub(in crate::admin) not_after: WallTime,
}

/// The mesh's own identity first, then those of certificate providers.
#[cfg(feature = "tls")]
pub(in crate::admin) fn identities(mesh: &Mesh) -> Vec<IdentityView> {
    use crate::observe::identity::ReadIdentity as _;

    let all = mesh.shared().credentials.all();
    let views = all.into_iter().map(|(name, identities)| {
        let read = identities.read();
        let in_force = identities.in_force();
        let certificate = in_force.map(|identity| {
            let certificate = identity.certificate();
            CertificateView {
                serial: Arc::clone(&certificate.serial),
                subject: Arc::clone(&certificate.names.subject),
                issuer: Arc::clone(&certificate.issuer),
                uris: certificate.names.uris.clone(),
                dns: certificate.names.dns_names.clone(),
                not_before: identity.validity().not_before,
                not_after: identity.validity().not_after,
            }
        });
        let roots = read.roots.into_iter().map(|root| RootView {
            trust_domain: root.trust_domain,
            subject: root.subject,
            serial: root.serial,
            not_after: root.end,
        });
        IdentityView {
            name,
            certificate,
            roots: roots.collect(),
            last_good: read.last_good,
            failures: read.failures,
            error: identities.status().error,
        }
    });
    views.collect()
}

/// Without TLS there are none.
#[cfg(not(feature = "tls"))]
pub(in crate::admin) const fn identities(_: &Mesh) -> Vec<IdentityView> {
    Vec::new()
}
