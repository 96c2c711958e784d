//! The table of events: a sentence each for meaning, causes and what to look at.

use super::table::{Text, meaning};
use super::{CodeKind, Meaning};

/// Every event.
pub fn events() -> impl Iterator<Item = Meaning> {
    EVENTS.iter().map(|(code, text)| meaning(code, CodeKind::Event, *text))
}

const EVENTS: &[(&str, Text)] = &[
    (
        "outlier_ejected",
        [
            "An endpoint was taken out for failing; it gets no calls for the time told.",
            "It answers errors, fails connections, or is far worse than its neighbours.",
            "The endpoint's log and the event's numbers; it is back by itself.",
        ],
    ),
    (
        "outlier_ejected_none_left",
        [
            "The last endpoint that took calls was taken out: the cluster is empty, and panic decides.",
            "max_ejection_percent is 100 and all endpoints fail, often for a cause behind them.",
            "What all endpoints depend on; max_ejection_percent.",
        ],
    ),
    (
        "outlier_not_enforced",
        [
            "An endpoint is an outlier, and was left in because the enforcing percentage said so.",
            "A dry run (`enforcing_…: 0`), or chance at a percentage below 100.",
            "Whether the detection is right; then raise the enforcing percentage.",
        ],
    ),
    (
        "outlier_refused_by_cap",
        [
            "An endpoint is an outlier, and was left in because max_ejection_percent is used up.",
            "Many endpoints fail at once, or a small cluster: 10 % of nine endpoints is none.",
            "max_ejection_percent, always_eject_one_endpoint and cap_rule.",
        ],
    ),
    (
        "outlier_refused_as_last",
        [
            "An endpoint is an outlier, and was left in because no other takes calls.",
            "All endpoints fail, often for a cause behind them.",
            "What all endpoints depend on.",
        ],
    ),
    (
        "outlier_unejected",
        [
            "An ejected endpoint takes calls again.",
            "Its time is over, or outlier detection was switched off.",
            "Whether it is ejected again soon: each time lasts longer.",
        ],
    ),
    (
        "panic_entered",
        [
            "Too few endpoints of a priority are healthy: calls go to all of them, ejected ones too.",
            "Most endpoints fail, or a deployment takes many out at once.",
            "The counts in the event; panic_threshold (50 by default).",
        ],
    ),
    (
        "panic_left",
        [
            "Enough endpoints of a priority are healthy again.",
            "Endpoints recovered or were replaced.",
            "Nothing.",
        ],
    ),
    (
        "breaker_overflow",
        [
            "A circuit breaker was full and refused an attempt.",
            "A burst, or endpoints that answer slower than before.",
            "The limit that the event names; latency of the cluster.",
        ],
    ),
];
