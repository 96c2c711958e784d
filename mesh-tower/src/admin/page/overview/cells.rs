//! Texts of the overview's cells.

use crate::admin::view::EndpointView;
use crate::observe::events::EndpointState;
use std::time::Duration;

/// Whether nothing is to be done about an endpoint.
pub(super) const fn is_good(view: &EndpointView) -> bool {
    matches!(view.state, EndpointState::Healthy) && !view.is_suspect
}

/// Where it is: `region / zone / sub-zone`, as far as it is said.
pub(super) fn place(view: &EndpointView) -> String {
    let place = &view.locality;
    let parts = [&*place.region, &*place.zone, &*place.sub_zone];
    let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join(" / ")
}

/// Its connections, by what they speak: `http2 1, connecting 2`.
pub(super) fn connections(view: &EndpointView) -> String {
    let all = &view.connections;
    let kinds = [
        ("http1", all.h1),
        ("http2", all.h2),
        ("byte streams", all.own),
        ("of these connecting", all.connecting),
        ("calls waiting", all.waiting),
    ];
    let kinds = kinds.iter().filter(|(_, count)| *count > 0);
    let kinds: Vec<_> = kinds.map(|(name, count)| format!("{name} {count}")).collect();
    if kinds.is_empty() { "none".to_owned() } else { kinds.join(", ") }
}

/// A share in percent.
pub(super) fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// A length of time in its largest unit of which there are two at least.
pub(super) fn age(age: Duration) -> String {
    match age.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

/// `u32::MAX` is no limit.
pub(super) fn limit(limit: u32) -> String {
    if limit == u32::MAX { "none".to_owned() } else { limit.to_string() }
}
