//! A registry in which everything has happened once, for the tests of exporters.

use super::access_log;
use super::cluster::{AttemptRecord, ClusterCells, ClusterReading, LocalityCells, ReadCluster};
use super::code::Code;
use super::decisions::{FilterCells, FilterOutcome};
use super::events::{CloseReason, EjectionKind, EjectionOutcome, RetryOutcome, Security};
use super::exported::{Lost, Signal};
use super::identity::{IdentityReading, ReadIdentity, RootReading};
use super::phases::{Phase, Phases};
use super::port::{self, PortCells};
use super::registry::Registry;
use super::server::{ListenerCells, ServedCells};
use super::source::{ReadSource, ResourceReading, ServerReading, SourceReading, TypeReading};
use super::target::{CallRecord, TargetCells, TargetLabels};
use http::StatusCode;
use mesh_core::egress::{EgressRefusal, EgressVerdict};
use mesh_core::model::Locality;
use mesh_core::outcome::{ConnectFailure, Overflow};
use mesh_core::update::Origin;
use mesh_core::{ResponseFlag, Timestamp, WallTime};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// A name that needs every escape of the text format.
pub(super) const HOSTILE: &str = "a\\b\"c\nd{,}ü";

/// A busy registry and what keeps its cells alive.
pub(super) struct Busy {
    pub(super) registry: Arc<Registry>,
    pub(super) target: Arc<TargetCells>,
    pub(super) cluster: Arc<ClusterCells>,
    pub(super) locality: Arc<LocalityCells>,
    pub(super) state: Arc<dyn ReadCluster>,
    pub(super) served: (Arc<ListenerCells>, Arc<ServedCells>),
    #[expect(dead_code, reason = "so that its cells live")]
    pub(super) filter: Arc<FilterCells>,
    #[expect(dead_code, reason = "so that its cells live")]
    pub(super) port: (Arc<PortCells>, port::Active),
}

struct State;

impl ReadCluster for State {
    fn read(&self) -> ClusterReading {
        ClusterReading { endpoints: [3, 0, 1, 0, 2], is_panic: false, pending: 4 }
    }
}

/// A client of xDS with one server.
struct Xds;

/// A type as gRPC names it.
pub(super) const LDS: &str = "envoy.config.listener.v3.Listener";

impl ReadSource for Xds {
    fn read(&self) -> SourceReading {
        let at = WallTime::from_unix_seconds(1_700_000_001);
        let types = vec![TypeReading {
            kind: LDS,
            valid: 5,
            invalid: 1,
            last_good: Some(("v9".into(), at)),
        }];
        let resource = |cache_state, count, refused| ResourceReading {
            authority: "#old".into(),
            cache_state,
            kind: LDS,
            count,
            refused,
        };
        SourceReading {
            scope: "#mesh",
            servers: vec![ServerReading {
                uri: "xds:1".into(),
                connected: Some(true),
                failures: 3,
                types,
            }],
            resources: vec![resource("acked", 4, false), resource("nacked_but_cached", 2, true)],
        }
    }
}

/// An identity with one root.
struct Own;

impl ReadIdentity for Own {
    fn read(&self) -> IdentityReading {
        let end = WallTime::from_unix_seconds(1_800_000_000);
        let (trust_domain, serial) = ("mesh.example".into(), "01".into());
        let root = RootReading { trust_domain, subject: HOSTILE.into(), serial, end };
        let (end, roots, last_good) = (Some(end), vec![root], Some(end));
        let lists = [(HOSTILE.into(), WallTime::from_unix_seconds(1_700_000_000))].into();
        IdentityReading { end, roots, lists, last_good, failures: 1 }
    }
}

pub(super) fn labels(virtual_host: &str, route: &str, cluster: &str) -> TargetLabels {
    TargetLabels { virtual_host: virtual_host.into(), route: route.into(), cluster: cluster.into() }
}

pub(super) fn code(status: u16) -> Code {
    Code { status: StatusCode::from_u16(status).ok(), ..Code::default() }
}

pub(super) fn call(status: u16, duration: Duration) -> CallRecord {
    CallRecord { code: code(status), duration, attempts: 1 }
}

pub(super) fn attempt(status: u16, duration: Duration) -> AttemptRecord {
    AttemptRecord { code: code(status), duration, body: None }
}

/// Everything once; cluster `reviews`, of which one attempt and one call still run.
pub(super) fn busy() -> Busy {
    let registry = Registry::new();
    let target = registry.target(&labels("shop", HOSTILE, "reviews"));
    let cluster = registry.cluster(&"reviews".into());
    let locality = cluster.locality(&Locality::new("eu", "eu-1", "a"));
    let state: Arc<dyn ReadCluster> = Arc::new(State);
    cluster.read_from(Arc::downgrade(&state));
    calls(&target, &cluster, &locality);
    events(&cluster);
    let mesh = registry.mesh();
    mesh.applied(&Origin::new("mesh.yaml", "7"), WallTime::from_unix_seconds(1_700_000_000));
    mesh.unchanged();
    mesh.rejected();
    mesh.rejected_resources(2);
    mesh.connected(true);
    mesh.stale(Some(WallTime::from_unix_seconds(1_600_000_000)));
    mesh.snapshot_swapped();
    let reading = mesh_core::overload::Reading { used: 1, limit: 2 };
    mesh.overload().read(mesh_core::overload::Resource::Memory, Some(reading));
    let source = registry.source();
    source.read_from(Arc::new(Xds));
    source.acknowledged(LDS, Duration::from_millis(2));
    source.published(&"7".into(), [(LDS, Duration::from_millis(3))], Timestamp::ZERO);
    source.live(&"7".into(), Timestamp::from_millis(4));
    source.copy_written(true);
    registry.identities().read_from("mesh".into(), Arc::new(Own));
    mesh.egress().called(
        "elsewhere",
        EgressVerdict::Allowed(None),
        mesh_core::head::Peer::default(),
    );
    let inward = EgressVerdict::Refused(EgressRefusal::PrivateAddress);
    mesh.egress().connects("elsewhere", Some(inward));
    let served = served(&registry);
    let filter = served.0.filter(&"limit".into());
    filter.count(FilterOutcome::WouldBeLimited);
    let port = port(&registry);
    registry.access_log(&access_log::counted());
    let exported = registry.exported();
    exported.begun(Signal::Metrics);
    exported.exported(Signal::Metrics, 6);
    exported.lost(Signal::Metrics, Lost::Timeout, 2);
    exported.queued(Signal::Metrics, 1);
    Busy { registry, target, cluster, locality, state, served, filter, port }
}

/// A port with one connection that is open, one that was refused, and one that failed.
fn port(registry: &Arc<Registry>) -> (Arc<PortCells>, port::Active) {
    let port = registry.port(&"web".into());
    let mut certificate = mesh_core::identity::PeerCertificate::new("");
    certificate.uris.push("spiffe://shop.example/cart".into());
    let active = port.accepted(&mesh_core::identity::Peer::Certified(Arc::new(certificate)));
    port.drained(port::Drained::Revoked);
    port.broken(port::Broken::Silent);
    port.failed(port::HandshakeFailure::Expired);
    port.refused(port::Refusal::Rbac);
    port.denied(&"mtls".into(), &"p".into(), false);
    (port, active)
}

/// A listener with one request that has ended, one that has not, and one that was refused.
fn served(registry: &Arc<Registry>) -> (Arc<ListenerCells>, Arc<ServedCells>) {
    let listener = registry.listener(&"web".into());
    let route = listener.route(&"any".into(), &HOSTILE.into());
    route.started();
    route.finished(code(200), Duration::from_millis(2));
    route.started();
    listener.peer(&mesh_core::identity::Peer::Plaintext).count(code(200));
    listener.refused("rbac_denied", &"rbac".into(), &"p".into());
    (listener, route)
}

fn calls(target: &TargetCells, cluster: &ClusterCells, locality: &LocalityCells) {
    let mut phases = Phases::new();
    phases.add(Phase::FirstByte, Duration::from_millis(3));
    for (millis, status) in [(1, 200), (10, 200), (100, 503)] {
        let duration = Duration::from_millis(millis);
        target.call_started();
        let _reported = locality.attempt_started();
        cluster.phases(&phases);
        locality.attempt_finished(&AttemptRecord {
            body: Some(Duration::from_millis(3)),
            ..attempt(status, duration)
        });
        target.call_finished(&CallRecord { attempts: 3, ..call(status, duration) });
    }
    target.call_started();
    let _reported = locality.attempt_started();
    let flag = Some(ResponseFlag::UpstreamOverflow);
    cluster.attempt_unplaced(Code { flag, ..Code::default() });
}

fn events(cluster: &ClusterCells) {
    RetryOutcome::ALL.iter().for_each(|outcome| cluster.retry(*outcome));
    cluster.transparent_retry();
    cluster.hedge();
    cluster.overflow(Overflow::Requests);
    cluster.dropped(&"throttle".into());
    cluster.ejection(EjectionKind::SuccessRate, EjectionOutcome::Enforced);
    let calls = |calls| Arc::new(AtomicU64::new(calls));
    cluster.connection_opened(&Security::Plaintext, &calls(2));
    let reviews = Security::MutualTls("spiffe://shop.example/reviews".into());
    cluster.connection_opened(&reviews, &calls(3));
    cluster.connection_closed(CloseReason::Idle);
    cluster.connection_failed(ConnectFailure::Refused);
}
