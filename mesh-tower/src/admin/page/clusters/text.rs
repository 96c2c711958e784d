//! The lines of Envoy's `/clusters`.
//!
//! Each has its fields apart by `::`. A name from the configuration stands there as it is, but that what would end a
//! line, or drive a terminal, is escaped.

use crate::admin::view::{BreakerView, ClusterView, EndpointView};
use mesh_core::model::HealthStatus;
use std::fmt;

pub(super) fn clusters(clusters: &[ClusterView]) -> String {
    clusters.iter().map(|cluster| Lines(cluster).to_string()).collect()
}

struct Lines<'a>(&'a ClusterView);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(view) = self;
        let name = Plain(view.name());
        writeln!(f, "{name}::observability_name::{name}")?;
        view.breakers.iter().try_for_each(|breaker| limits(f, &name, breaker))?;
        writeln!(f, "{name}::added_via_api::true")?;
        view.endpoints.iter().flatten().try_for_each(|view| endpoint(f, &name, view))
    }
}

/// A limit that is off is shown as the largest number there is, as Envoy does it.
fn limits(f: &mut fmt::Formatter<'_>, cluster: &Plain<'_>, view: &BreakerView) -> fmt::Result {
    view.limits.iter().try_for_each(|limit| {
        writeln!(f, "{cluster}::{}_priority::{}::{}", view.name, limit.name, limit.limit)
    })
}

fn endpoint(f: &mut fmt::Formatter<'_>, cluster: &Plain<'_>, view: &EndpointView) -> fmt::Result {
    let address = view.address.to_string();
    let address = Plain(&address);
    let place = &view.locality;
    let rows: [(&str, &dyn fmt::Display); 10] = [
        ("cx_active", &view.open_connections()),
        ("rq_active", &view.active),
        ("hostname", &Plain(view.hostname.as_deref().unwrap_or_default())),
        ("health_flags", &Flags(view)),
        ("weight", &view.weight),
        ("region", &Plain(&place.region)),
        ("zone", &Plain(&place.zone)),
        ("sub_zone", &Plain(&place.sub_zone)),
        ("canary", &false),
        ("priority", &view.priority),
    ];
    rows.iter().try_for_each(|(name, value)| writeln!(f, "{cluster}::{address}::{name}::{value}"))
}

/// Envoy: `HostUtility::healthFlagsToString`.
struct Flags<'a>(&'a EndpointView);

impl fmt::Display for Flags<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(view) = self;
        let configured = match view.health {
            HealthStatus::Unknown | HealthStatus::Healthy => "",
            HealthStatus::Unhealthy | HealthStatus::Timeout => "/failed_eds_health",
            HealthStatus::Degraded => "/degraded_eds_health",
            HealthStatus::Draining => "/eds_status_draining",
        };
        let ejected = if view.is_ejected { "/failed_outlier_check" } else { "" };
        let is_healthy = configured.is_empty() && ejected.is_empty();
        write!(f, "{}{ejected}{configured}", if is_healthy { "healthy" } else { "" })
    }
}

/// A text of others in a line of ours.
pub(in crate::admin) struct Plain<'a>(pub(in crate::admin) &'a str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.0.chars() {
            match letter.is_control() {
                true => write!(f, "{}", letter.escape_default())?,
                false => write!(f, "{letter}")?,
            }
        }
        Ok(())
    }
}
