//! [`SourceCells`]: the metrics of a source that talks to servers, which is xDS.
//!
//! What a client of xDS knows is kept by the client; it is asked for it at each export ([`ReadSource`]).
//! Only durations are kept here. They are of two kinds: until a response was answered, and until what came
//! with it was in force. The second one ends where the first one's owner can't see it: so a source says
//! which version it hands over ([`published`](SourceCells::published)), and the driver when that one is in
//! force ([`live`](SourceCells::live)).
//!
//! Nothing here is on the call path. Series are bounded by the servers of a bootstrap, the types of
//! resources, and what the source bounds.

use super::cell::Access;
use super::histogram::{Histogram, HistogramSnapshot};
use super::names::Metric;
use super::registry::{Value, Visit};
use mesh_core::{Timestamp, WallTime};
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What a source can be asked for.
pub(crate) trait ReadSource: Send + Sync {
    /// What it knows now. It must not wait for anybody.
    fn read(&self) -> SourceReading;
}

/// What a source knows at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct SourceReading {
    /// Whose it is (label `grpc_target`).
    pub(crate) scope: &'static str,
    pub(crate) servers: Vec<ServerReading>,
    pub(crate) resources: Vec<ResourceReading>,
}

/// One server.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServerReading {
    pub(crate) uri: Arc<str>,
    /// `None`: there was no stream yet.
    pub(crate) connected: Option<bool>,
    pub(crate) failures: u64,
    pub(crate) types: Vec<TypeReading>,
}

/// One type of resources, from one server.
#[derive(Clone, Debug, Default)]
pub(crate) struct TypeReading {
    pub(crate) kind: &'static str,
    pub(crate) valid: u64,
    pub(crate) invalid: u64,
    /// The version that was accepted last, and when.
    pub(crate) last_good: Option<(Arc<str>, WallTime)>,
}

/// Resources that are alike.
#[derive(Clone, Debug, Default)]
pub(crate) struct ResourceReading {
    pub(crate) authority: Arc<str>,
    pub(crate) cache_state: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) count: u64,
    /// Their newest version is refused.
    pub(crate) refused: bool,
}

/// Durations by type of resources.
type Histograms = Mutex<BTreeMap<&'static str, Histogram>>;

/// The cells of a source.
#[derive(Default)]
pub(crate) struct SourceCells {
    reader: Mutex<Option<Arc<dyn ReadSource>>>,
    acks: Histograms,
    live: Histograms,
    published: Mutex<VecDeque<Published>>,
    /// How often the copy on disk was written, and could not be; `None`: there is none.
    copies: Mutex<Option<[u64; 2]>>,
}

/// The outcomes of writing the copy on disk, as a label.
const COPY_OUTCOMES: [&str; 2] = ["written", "failed"];

/// A configuration that is on its way.
struct Published {
    version: Arc<str>,
    at: Timestamp,
    /// How old what is in it was by then.
    took: Vec<(&'static str, Duration)>,
}

/// The most configurations that are on their way; older ones will not be told of. A sink holds one.
const MAX_PUBLISHED: usize = 16;

impl SourceCells {
    /// Metrics are read from `reader` from now on.
    pub(crate) fn read_from(&self, reader: Arc<dyn ReadSource>) {
        *self.reader.lock() = Some(reader);
    }

    /// A response of this type was acknowledged after `took`.
    pub(crate) fn acknowledged(&self, kind: &'static str, took: Duration) {
        record(&self.acks, kind, took);
    }

    /// A configuration is handed over. `took`: by type, how long ago the first of what is new in it came.
    pub(crate) fn published(
        &self,
        version: &Arc<str>,
        took: impl IntoIterator<Item = (&'static str, Duration)>,
        now: Timestamp,
    ) {
        let took: Vec<_> = took.into_iter().collect();
        if took.is_empty() {
            return;
        }
        let mut published = self.published.lock();
        if published.len() >= MAX_PUBLISHED {
            published.pop_front();
        }
        published.push_back(Published { version: Arc::clone(version), at: now, took });
    }

    /// The configuration of this version is in force, and what it replaced on the way too.
    pub(crate) fn live(&self, version: &Arc<str>, now: Timestamp) {
        let mut published = self.published.lock();
        let Some(last) = published.iter().rposition(|one| one.version == *version) else { return };
        for one in published.drain(..=last) {
            let since = now.saturating_duration_since(one.at);
            for (kind, took) in one.took {
                record(&self.live, kind, took + since);
            }
        }
    }

    /// There is a copy on disk that is written from now on.
    pub(crate) fn keeps_copy(&self) {
        self.copies.lock().get_or_insert_default();
    }

    /// The copy on disk was written, or could not be.
    pub(crate) fn copy_written(&self, ok: bool) {
        self.copies.lock().get_or_insert_default()[usize::from(!ok)] += 1;
    }

    /// How many resources have a newest version that is refused; `None`: the source does not know.
    pub(crate) fn refused(&self) -> Option<u64> {
        let resources = self.read()?.resources;
        Some(resources.iter().filter(|resource| resource.refused).map(|alike| alike.count).sum())
    }

    /// Gives `visit` all series of `metric`.
    pub(super) fn visit(&self, metric: Metric, visit: &mut Visit<'_>) {
        match metric {
            Metric::XdsAck => return histograms(&self.acks, visit),
            Metric::XdsLive => return histograms(&self.live, visit),
            Metric::XdsCopies => {
                let Some(counts) = *self.copies.lock() else { return };
                for (outcome, count) in COPY_OUTCOMES.iter().zip(counts) {
                    visit(&[outcome], Value::Number(count));
                }
                return;
            }
            _ => {}
        }
        let Some(reading) = self.read() else { return };
        let scope = reading.scope;
        if metric == Metric::XdsResources {
            for ResourceReading { authority, cache_state, kind, count, .. } in &reading.resources {
                visit(&[scope, authority, cache_state, kind], Value::Number(*count));
            }
            return;
        }
        for server in &reading.servers {
            visit_server(metric, scope, server, visit);
        }
    }

    fn read(&self) -> Option<SourceReading> {
        let reader = self.reader.lock().clone()?;
        Some(reader.read())
    }
}

fn visit_server(metric: Metric, scope: &str, server: &ServerReading, visit: &mut Visit<'_>) {
    let uri = &*server.uri;
    match (metric, server.connected) {
        (Metric::XdsConnected, Some(connected)) => {
            visit(&[scope, uri], Value::Number(u64::from(connected)));
        }
        (Metric::XdsServerFailures, _) => visit(&[scope, uri], Value::Number(server.failures)),
        _ => {}
    }
    for of in &server.types {
        match (metric, &of.last_good) {
            (Metric::XdsValid, _) => visit(&[scope, uri, of.kind], Value::Number(of.valid)),
            (Metric::XdsInvalid, _) => visit(&[scope, uri, of.kind], Value::Number(of.invalid)),
            (Metric::XdsVersion, Some((version, _))) => {
                visit(&[uri, of.kind, version], Value::Number(1));
            }
            (Metric::XdsLastGood, Some((_, at))) => {
                visit(&[uri, of.kind], Value::Number(at.as_unix_seconds()));
            }
            _ => {}
        }
    }
}

fn record(histograms: &Histograms, kind: &'static str, took: Duration) {
    histograms.lock().entry(kind).or_default().record(&Access::SHARED, took);
}

fn histograms(histograms: &Histograms, visit: &mut Visit<'_>) {
    let snapshot = |(kind, histogram): (&&'static str, &Histogram)| {
        let mut snapshot = HistogramSnapshot::default();
        histogram.add_to(&mut snapshot);
        (*kind, snapshot)
    };
    let snapshots: Vec<_> = histograms.lock().iter().map(snapshot).collect();
    for (kind, snapshot) in &snapshots {
        visit(&[kind], Value::Histogram(snapshot));
    }
}

impl fmt::Debug for SourceCells {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceCells").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    /// The number and the sum of what went live, in milliseconds.
    fn live(cells: &SourceCells) -> (u64, u64) {
        let mut found = (0, 0);
        cells.visit(Metric::XdsLive, &mut |_, value| {
            if let Value::Histogram(snapshot) = value {
                found = (found.0 + snapshot.count(), found.1 + snapshot.sum_nanos() / 1_000_000);
            }
        });
        found
    }

    #[test]
    fn what_was_replaced_on_the_way_is_live_with_its_successor() {
        let cells = SourceCells::default();
        let took = |millis| [("LDS", Duration::from_millis(millis))];
        cells.published(&"1".into(), took(10), at(1_000));
        cells.published(&"2".into(), took(20), at(1_100));
        cells.published(&"3".into(), took(30), at(1_200));
        cells.live(&"unknown".into(), at(1_200));
        assert_eq!(live(&cells), (0, 0));
        cells.live(&"2".into(), at(1_150));
        assert_eq!(live(&cells), (2, 160 + 70));
        cells.live(&"2".into(), at(9_999));
        assert_eq!(live(&cells), (2, 230), "once");
        cells.live(&"3".into(), at(1_201));
        assert_eq!(live(&cells), (3, 230 + 31));
    }

    #[test]
    fn what_never_goes_live_is_bounded() {
        let cells = SourceCells::default();
        for version in 0..1_000 {
            let took = [("LDS", Duration::ZERO)];
            cells.published(&version.to_string().into(), took, at(0));
        }
        cells.live(&"999".into(), at(0));
        assert_eq!(live(&cells), (MAX_PUBLISHED as u64, 0));
    }
}
