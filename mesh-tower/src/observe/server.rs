//! [`ListenerCells`]: the metrics of the requests that a listener takes.
//!
//! Routes and peers are counted apart: their product is bounded by nothing that anybody would want to store.
//! Cells of routes and filters are found when a configuration is taken up, those of a peer at the first request of its
//! connection.

use super::cell::Sharded;
use super::code::{Code, CodeCounters, CodeTable};
use super::decisions::FilterCells;
use super::histogram::{Histogram, HistogramSnapshot};
use super::names::Metric;
use super::port::Security;
use super::refusals::Refusals;
use super::registry::{Value, Visit};
use mesh_core::identity::Peer;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// The most peers of a listener that are counted by name.
pub(crate) const MAX_PEERS: usize = 100;

/// The cells of one listener.
pub(crate) struct ListenerCells {
    name: Arc<str>,
    routes: Mutex<BTreeMap<RouteKey, Weak<ServedCells>>>,
    peers: Mutex<BTreeMap<PeerKey, Arc<PeerCells>>>,
    /// By reason, filter and policy.
    refused: Refusals,
    /// By the filter's name: those of one name in several chains are counted together.
    filters: Mutex<BTreeMap<Arc<str>, Weak<FilterCells>>>,
}

/// Virtual host and route; both empty for requests that no route took.
type RouteKey = (Arc<str>, Arc<str>);

/// How the connection is secured, and the peer's name.
type PeerKey = (&'static str, Arc<str>);

/// The cells of the requests that a route of a listener took.
pub(crate) struct ServedCells {
    virtual_host: Arc<str>,
    route: Arc<str>,
    codes: CodeTable,
    shards: Sharded<ServedBlock>,
}

#[derive(Default)]
struct ServedBlock {
    started: AtomicU64,
    codes: CodeCounters,
    duration: Histogram,
}

/// The cells of one peer: requests by the first digit of their status, and those without.
#[derive(Default)]
pub(crate) struct PeerCells {
    shards: Sharded<PeerBlock>,
}

#[derive(Default)]
struct PeerBlock {
    classes: [AtomicU64; CLASSES.len()],
}

const CLASSES: [&str; 6] = ["", "1xx", "2xx", "3xx", "4xx", "5xx"];

impl fmt::Debug for PeerCells {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PeerCells")
    }
}

impl PeerCells {
    /// A request of it ended. gRPC's failures are counted by the status of HTTP that stands for them.
    pub(crate) fn count(&self, code: Code) {
        let failed = code.grpc_status.filter(|status| *status != 0);
        let failed = failed.map(mesh_core::outcome::grpc_to_http);
        let status = failed.or_else(|| code.status.map(|status| status.as_u16()));
        let class = status.map_or(0, |status| usize::from(status / 100));
        let block = self.shards.block();
        if let Some(cell) = block.classes.get(class).or_else(|| block.classes.first()) {
            block.count(cell);
        }
    }
}

impl ServedCells {
    /// A request came. [`finished`](Self::finished) must follow, once.
    pub(crate) fn started(&self) {
        let block = self.shards.block();
        block.count(&block.started);
    }

    /// A request that came has ended, however it did.
    pub(crate) fn finished(&self, code: Code, duration: Duration) {
        let block = self.shards.block();
        block.count(self.codes.counter(&block.codes, code));
        block.duration.record(block.access(), duration);
    }

    fn duration(&self) -> HistogramSnapshot {
        let mut snapshot = HistogramSnapshot::default();
        self.shards.blocks().for_each(|block| block.duration.add_to(&mut snapshot));
        snapshot
    }

    fn visit(&self, listener: &str, metric: Metric, visit: &mut Visit<'_>) {
        let (virtual_host, route) = (&*self.virtual_host, &*self.route);
        if self.shards.blocks().next().is_none() {
            return;
        }
        match metric {
            Metric::ServerRequests => self.codes.visit(
                &self.shards,
                |block| &block.codes,
                |[status, grpc_status, flag], count| {
                    let labels = [listener, virtual_host, route, status, grpc_status, flag];
                    visit(&labels, Value::Number(count));
                },
            ),
            Metric::ServerRequestDuration => {
                visit(&[listener, virtual_host, route], Value::Histogram(&self.duration()));
            }
            Metric::ServerRequestsActive => {
                // In this order: a request that ends in between counts as active, not as less than none.
                let finished = self.duration().count();
                let started = self.shards.sum(|block| &block.started);
                let active = started.saturating_sub(finished);
                visit(&[listener, virtual_host, route], Value::Number(active));
            }
            _ => {}
        }
    }
}

impl ListenerCells {
    pub(super) fn new(name: Arc<str>) -> Self {
        let (routes, peers) = (Mutex::default(), Mutex::default());
        Self { name, routes, peers, refused: Refusals::default(), filters: Mutex::default() }
    }

    /// The cells of one route; of no route, when both names are empty.
    pub(crate) fn route(&self, virtual_host: &Arc<str>, route: &Arc<str>) -> Arc<ServedCells> {
        let key = (Arc::clone(virtual_host), Arc::clone(route));
        let mut routes = self.routes.lock();
        if let Some(cells) = routes.get(&key).and_then(Weak::upgrade) {
            return cells;
        }
        routes.retain(|_, cells| cells.strong_count() > 0);
        let cells = Arc::new(ServedCells {
            virtual_host: Arc::clone(virtual_host),
            route: Arc::clone(route),
            codes: CodeTable::default(),
            shards: Sharded::default(),
        });
        routes.insert(key, Arc::downgrade(&cells));
        cells
    }

    /// The cells of one filter. When a configuration is taken up.
    pub(crate) fn filter(&self, name: &Arc<str>) -> Arc<FilterCells> {
        let mut filters = self.filters.lock();
        if let Some(cells) = filters.get(name).and_then(Weak::upgrade) {
            return cells;
        }
        filters.retain(|_, cells| cells.strong_count() > 0);
        let cells = Arc::new(FilterCells::default());
        filters.insert(Arc::clone(name), Arc::downgrade(&cells));
        cells
    }

    /// The cells of a peer, or those of all further ones. Once per connection.
    pub(crate) fn peer(&self, peer: &Peer) -> Arc<PeerCells> {
        let (security, name) = match peer {
            Peer::Plaintext => (Security::Plaintext, ""),
            Peer::Tls => (Security::Tls, ""),
            Peer::Certified(_) => (Security::MutualTls, peer.name()),
        };
        let security = security.as_str();
        let mut peers = self.peers.lock();
        let key = (security, Arc::from(name));
        if let Some(cells) = peers.get(&key) {
            return Arc::clone(cells);
        }
        let key = if peers.len() < MAX_PEERS { key } else { (security, Arc::from("other")) };
        Arc::clone(peers.entry(key).or_default())
    }

    /// A request was refused for `reason`, by the policy of a filter if there is one.
    pub(crate) fn refused(&self, reason: &'static str, filter: &Arc<str>, policy: &Arc<str>) {
        self.refused.count(reason, filter, policy);
    }

    /// Gives `visit` all series of `metric` that this listener has.
    pub(super) fn visit(&self, metric: Metric, visit: &mut Visit<'_>) {
        match metric {
            Metric::ServerPeers => {
                for ((security, peer), cells) in &*self.peers.lock() {
                    for (at, class) in CLASSES.iter().enumerate() {
                        let count = cells.shards.sum(|block| &block.classes[at]);
                        if count > 0 {
                            visit(&[&self.name, security, peer, class], Value::Number(count));
                        }
                    }
                }
            }
            Metric::ServerRefused => {
                self.refused.visit(|[reason, filter, policy], count| {
                    visit(&[&self.name, reason, filter, policy], Value::Number(count));
                });
            }
            Metric::ServerDecisions => {
                for (filter, cells) in &*self.filters.lock() {
                    if let Some(cells) = cells.upgrade() {
                        cells.visit(|outcome, count| {
                            visit(&[&self.name, filter, outcome], Value::Number(count));
                        });
                    }
                }
            }
            _ => {
                let routes: Vec<_> =
                    self.routes.lock().values().filter_map(Weak::upgrade).collect();
                routes.iter().for_each(|cells| cells.visit(&self.name, metric, visit));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::StatusCode;
    use mesh_core::identity::PeerCertificate;

    fn seen(cells: &ListenerCells, metric: Metric) -> Vec<String> {
        let mut seen = Vec::new();
        cells.visit(metric, &mut |labels, value| {
            if let Value::Number(count) = value {
                seen.push(format!("{} {count}", labels.join("/")));
            }
        });
        seen
    }

    fn code(status: u16, grpc_status: Option<u32>) -> Code {
        Code { status: StatusCode::from_u16(status).ok(), grpc_status, flag: None }
    }

    #[test]
    fn peers_beyond_the_bound_are_one() {
        let cells = ListenerCells::new("web".into());
        for number in 0..MAX_PEERS + 10 {
            let mut certificate = PeerCertificate::new("");
            certificate.uris.push(format!("spiffe://m/{number:03}").into());
            let peer = Peer::Certified(Arc::new(certificate));
            cells.peer(&peer).count(code(200, Some(14)));
            cells.peer(&peer).count(code(204, Some(0)));
        }
        let seen = seen(&cells, Metric::ServerPeers);
        assert_eq!(seen.len(), 2 * (MAX_PEERS + 1));
        assert!(seen.contains(&"web/mutual_tls/spiffe://m/000/5xx 1".to_owned()), "{seen:?}");
        assert!(seen.contains(&"web/mutual_tls/other/2xx 10".to_owned()), "{seen:?}");
    }

    #[test]
    fn what_has_come_and_not_ended_is_active() {
        let cells = ListenerCells::new("web".into());
        let (host, route) = ("h".into(), "r".into());
        let served = cells.route(&host, &route);
        served.started();
        served.started();
        served.finished(code(200, None), Duration::from_millis(1));
        assert_eq!(seen(&cells, Metric::ServerRequestsActive), ["web/h/r 1"]);
        assert_eq!(seen(&cells, Metric::ServerRequests), ["web/h/r/200// 1"]);
        drop(served);
        assert!(seen(&cells, Metric::ServerRequests).is_empty());
    }
}
