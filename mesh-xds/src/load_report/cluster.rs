//! [`Entry`]: what was reported of one cluster, and what is new since.

use super::{ClusterLoad, LoadKey, LocalityLoad};
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::endpoint::v3::cluster_stats::DroppedRequests;
use envoy_types::pb::envoy::config::endpoint::v3::{ClusterStats, UpstreamLocalityStats};
use envoy_types::pb::google::protobuf;
use mesh_core::Timestamp;
use mesh_core::model::Locality;
use std::time::Duration;

/// What was reported of one cluster.
#[derive(Debug)]
pub(super) struct Entry {
    /// When that was, or when it was first watched.
    since: Timestamp,
    /// The totals then.
    reported: ClusterLoad,
    /// Whether the last report had nothing of it.
    was_empty: bool,
    /// It is not watched any more.
    pub(super) ended: bool,
}

impl Entry {
    pub(super) const fn new(now: Timestamp) -> Self {
        let reported = ClusterLoad {
            localities: std::collections::BTreeMap::new(),
            drops: std::collections::BTreeMap::new(),
            refused: 0,
        };
        // What is empty from the start is not told at all.
        Self { since: now, reported, was_empty: true, ended: false }
    }

    /// What is new, which counts as reported; `None`: nothing, for the second time.
    pub(super) fn report(
        &mut self,
        key: &LoadKey,
        load: &ClusterLoad,
        now: Timestamp,
    ) -> Option<ClusterStats> {
        let interval = now.saturating_duration_since(self.since);
        self.since = now;
        let localities: Vec<_> = load
            .localities
            .iter()
            .filter_map(|(place, load)| {
                locality(place, self.reported.localities.entry(place.clone()).or_default(), load)
            })
            .collect();
        let mut dropped: Vec<_> = Vec::new();
        for (category, total) in &load.drops {
            let known = self.reported.drops.entry(category.clone()).or_default();
            let dropped_count = advance(known, *total);
            if dropped_count > 0 {
                dropped.push(DroppedRequests { category: category.to_string(), dropped_count });
            }
        }
        let refused = advance(&mut self.reported.refused, load.refused);
        let sum: u64 = dropped.iter().map(|one| one.dropped_count).sum();
        let is_empty = localities.is_empty() && sum + refused == 0;
        if std::mem::replace(&mut self.was_empty, is_empty) && is_empty {
            return None;
        }
        Some(ClusterStats {
            cluster_name: key.cluster.to_string(),
            cluster_service_name: key.service.as_deref().unwrap_or_default().to_owned(),
            upstream_locality_stats: localities,
            total_dropped_requests: sum + refused,
            dropped_requests: dropped,
            load_report_interval: Some(protobuf_duration(interval)),
        })
    }
}

/// What is new of a locality; `None`: nothing, and nothing is in progress.
fn locality(
    place: &Locality,
    known: &mut LocalityLoad,
    load: &LocalityLoad,
) -> Option<UpstreamLocalityStats> {
    let stats = UpstreamLocalityStats {
        locality: Some(core::Locality {
            region: place.region.to_string(),
            zone: place.zone.to_string(),
            sub_zone: place.sub_zone.to_string(),
        }),
        total_issued_requests: advance(&mut known.issued, load.issued),
        total_successful_requests: advance(&mut known.succeeded, load.succeeded),
        total_error_requests: advance(&mut known.failed, load.failed),
        total_requests_in_progress: load.in_progress,
        ..UpstreamLocalityStats::default()
    };
    let news = [
        stats.total_issued_requests,
        stats.total_successful_requests,
        stats.total_error_requests,
        stats.total_requests_in_progress,
    ];
    news.iter().any(|number| *number > 0).then_some(stats)
}

/// How much a total has grown, which counts as reported. One that is less than before is not news: a
/// locality that is just leaving may be missing for a moment.
fn advance(reported: &mut u64, total: u64) -> u64 {
    let new = total.saturating_sub(*reported);
    *reported += new;
    new
}

fn protobuf_duration(duration: Duration) -> protobuf::Duration {
    protobuf::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or_default(),
    }
}
