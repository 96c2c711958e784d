//! What a mesh says in the log: each ejection, panic and overflow, without flooding it.

use crate::fixture::{at, call, cluster, config, eventually, get, mesh, metric, outcome, reply};
use mesh_core::model::OutlierDetection;
use mesh_tower::testing::MemoryNetwork;
use parking_lot::Mutex;
use std::fmt::Debug;
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::DefaultGuard;
use tracing::{Dispatch, Event, Metadata, Subscriber};

/// Writes down the `code` of what the mesh says, in this thread.
#[derive(Clone, Default)]
struct Codes(Arc<Mutex<Vec<String>>>);

/// While there is one subscriber alone, whoever comes to an event first decides for all threads whether somebody listens,
/// and another test's thread says no. So there is always one more.
static OTHER: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(Codes::default()));

impl Codes {
    fn listen() -> (Self, DefaultGuard) {
        let codes = Self::default();
        LazyLock::force(&OTHER);
        let guard = tracing::subscriber::set_default(codes.clone());
        (codes, guard)
    }

    fn count(&self, code: &str) -> usize {
        self.0.lock().iter().filter(|said| *said == code).count()
    }
}

impl Subscriber for Codes {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && metadata.target() == "mesh"
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        event.record(&mut Code(self));
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

struct Code<'a>(&'a Codes);

impl Visit for Code<'_> {
    fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "code" {
            self.0.0.lock().push(value.to_owned());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_circuit_breaker_is_said_once_while_it_refuses() {
    let (codes, _listening) = Codes::listen();
    let network = MemoryNetwork::new();
    network.serve_fn(at(1), |_| async {
        tokio::time::sleep(Duration::from_secs(60)).await;
        reply(200, "")
    });
    let one = cluster(|cluster| cluster.circuit_breakers.default.max_requests = 1);
    let mesh = mesh(&network, config(one, &[at(1)], |action| action.timeout = Duration::ZERO));
    let held = tokio::spawn({
        let mesh = mesh.clone();
        async move { outcome(&mesh, get("/")).await }
    });
    eventually("it is out", || metric(&mesh, "mesh_attempts_active", &[]) == 1).await;
    for _ in 0..50 {
        assert!(call(&mesh, get("/")).await.unwrap_err().is_overflow());
    }
    eventually("it is said", || codes.count("breaker_overflow") == 1).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(call(&mesh, get("/")).await.unwrap_err().is_overflow());
    eventually("it is said again", || codes.count("breaker_overflow") == 2).await;
    held.abort();
}

/// Forty of a hundred endpoints are ejected: each is counted, ten are said.
#[tokio::test(start_paused = true)]
async fn an_outage_is_counted_whole_and_said_in_part() {
    let (codes, _listening) = Codes::listen();
    let network = MemoryNetwork::new();
    let addresses: Vec<_> = (1..=40).map(at).collect();
    for address in &addresses {
        network.serve_fn(*address, |_| async { reply(500, "") });
    }
    let sick = cluster(|cluster| {
        let mut detection = OutlierDetection::default();
        detection.consecutive_5xx = Some(1);
        detection.max_ejection_percent = 100;
        cluster.outlier_detection = Some(detection);
    });
    let mesh = mesh(&network, config(sick, &addresses, |_| {}));
    let ejected =
        |mesh: &mesh_tower::Mesh| metric(mesh, "mesh_ejections_total", &[("outcome", "enforced")]);
    for _ in 0..400 {
        if ejected(&mesh) == 40 {
            break;
        }
        let _failed = outcome(&mesh, get("/")).await;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(ejected(&mesh), 40);
    assert_eq!(codes.count("outlier_ejected"), 10);
    assert_eq!(codes.count("panic_entered"), 1, "{:?}", codes.0.lock());
}
