//! Where endpoints are (Envoy: `config.core.v3.Locality`).

use std::sync::Arc;

/// A place: region, zone, sub-zone. Empty strings mean "not said".
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Locality {
    /// The region, for example `europe-west1`.
    pub region: Arc<str>,
    /// The zone within the region.
    pub zone: Arc<str>,
    /// The part of the zone, for example a rack.
    pub sub_zone: Arc<str>,
}

impl Locality {
    /// The place named by the three.
    #[must_use]
    pub fn new(
        region: impl Into<Arc<str>>,
        zone: impl Into<Arc<str>>,
        sub_zone: impl Into<Arc<str>>,
    ) -> Self {
        Self { region: region.into(), zone: zone.into(), sub_zone: sub_zone.into() }
    }
}
