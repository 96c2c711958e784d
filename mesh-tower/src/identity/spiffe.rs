//! [`SpiffeTexts`]: the roots of each trust domain, as the configuration says them (Envoy:
//! `envoy.tls.cert_validator.spiffe`).
//!
//! Texts are compared, and parsed when one of them changes; files are the matter of who reads.

use super::anchors::Listed;
use super::{CertificateError, Roots, authorities, bundle_map};
use mesh_core::identity::TrustDomain;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Where these roots come from, in words.
pub(crate) const ORIGIN: &str = "the trust bundles of the configuration";

/// The texts of all bundles, in PEM, by the names of their trust domains; without a name: a SPIFFE trust bundle
/// map, which is all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SpiffeTexts(pub(crate) BTreeMap<Option<Arc<str>>, Arc<[u8]>>);

impl SpiffeTexts {
    /// The roots, and the lists of revoked certificates beside them.
    ///
    /// # Errors
    /// A text is no PEM or no map, or a name is no trust domain.
    pub(crate) fn roots(&self) -> Result<(Roots, Listed), CertificateError> {
        let wrong = |reason: String| CertificateError::NotABundle { reason };
        let (mut bundles, mut listed) = (BTreeMap::new(), Listed::new());
        for (name, pem) in &self.0 {
            let Some(name) = name else {
                let text = std::str::from_utf8(pem).map_err(|error| wrong(error.to_string()))?;
                let roots = bundle_map(text).map_err(|error| wrong(error.to_string()))?;
                return Ok((roots, listed));
            };
            let place = |error: &dyn std::fmt::Display| wrong(format!("`{name}`: {error}"));
            let domain = TrustDomain::parse(name).map_err(|error| place(&error))?;
            let (roots, lists) = authorities(pem).map_err(|error| place(&error))?;
            bundles.insert(domain.clone(), roots);
            listed.insert(domain, lists);
        }
        Ok((Roots::ByTrustDomain(Arc::new(bundles)), listed))
    }
}
