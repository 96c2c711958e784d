//! [`SpiffeBundles`]: the roots of each trust domain, as the configuration says them.

use crate::model::secret::SecretSource;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The roots of each trust domain: they sign for members of that domain only (Envoy:
/// `envoy.tls.cert_validator.spiffe`; X509-SVID section 5).
///
/// A peer must have one SPIFFE id. One of a trust domain that is not here is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "closed by Envoy's `SPIFFECertValidatorConfig`")]
pub enum SpiffeBundles {
    /// Certificates in PEM by the name of a trust domain, without `spiffe://` (Envoy: `trust_domains`).
    Each(BTreeMap<Arc<str>, SecretSource>),
    /// A SPIFFE trust bundle map in JSON (Envoy: `trust_bundles`; gRFC A87).
    Map(SecretSource),
}

impl SpiffeBundles {
    /// Where the bytes of each are; without a name: of the map.
    pub fn sources(&self) -> impl Iterator<Item = (Option<&Arc<str>>, &SecretSource)> {
        let (each, map) = match self {
            Self::Each(each) => (Some(each.iter()), None),
            Self::Map(map) => (None, Some((None, map))),
        };
        let each = each.into_iter().flatten().map(|(domain, source)| (Some(domain), source));
        each.chain(map)
    }
}
