//! What the mesh says about calls: every metric is fed, retries that were not made are told.

use crate::fixture::{
    at, bounded, call, cluster, config, flags, get, grpc, idle, mesh, metric, outcome, over_h2,
    simple, text,
};
use crate::retry::retry;
use crate::wire::{Act, GRPC_OK, OK, scripted};
use http_body_util::BodyExt;
use mesh_core::ConfigUpdate;
use mesh_core::model::{DropOverload, Fraction, HedgePolicy, OutlierDetection, RetryOn};
use mesh_tower::observe::CallReport;
use mesh_tower::source::Updates;
use mesh_tower::testing::MemoryNetwork;
use mesh_tower::{CallOptions, Mesh};
use std::sync::Arc;
use std::time::Duration;

/// Counters and histograms, from the table in the documentation. Those of xDS are fed by a control plane,
/// in the tests of `source/xds_status.rs`; those of listeners in `server_layer/policies.rs`.
fn documented() -> impl Iterator<Item = (&'static str, &'static str)> {
    let table = include_str!("../../src/observe/metrics.md");
    let all = table.lines().skip(2).filter_map(|line| {
        let mut cells = line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`'));
        Some((cells.next()?, cells.next()?))
    });
    // What is about servers, identities, access logs and collectors is fed where those are tested.
    let elsewhere = [
        "mesh_overload_",
        "mesh_server_",
        "mesh_identity_",
        "mesh_egress_",
        "mesh_access_log_",
        "mesh_telemetry_",
    ];
    all.filter(move |(name, _)| {
        !name.contains("_xds_") && !elsewhere.iter().any(|start| name.starts_with(start))
    })
}

/// A mesh to which everything happens that is counted.
#[tokio::test(start_paused = true)]
async fn every_counter_and_histogram_is_fed() {
    let network = MemoryNetwork::new();
    let (server, _) = scripted(
        &network,
        1,
        &[Act::Head(503, &[]), OK, Act::Reset(h2::Reason::REFUSED_STREAM), Act::Hang, OK],
    );
    let sick = || {
        cluster(|cluster| {
            let mut rules = OutlierDetection::default();
            rules.consecutive_5xx = Some(1);
            rules.max_ejection_percent = 100;
            cluster.outlier_detection = Some(rules);
        })
    };
    let update = |max_requests| {
        let mut cluster = sick();
        cluster.circuit_breakers.default.max_requests = max_requests;
        config(cluster, &[at(1), at(2)], |action| {
            retry(RetryOn::SERVER_ERROR, |policy| {
                policy.per_try_timeout = Some(Duration::from_millis(100));
            })(action);
            let mut hedge = HedgePolicy::default();
            hedge.hedge_on_per_try_timeout = true;
            action.hedge_policy = Some(hedge);
        })
    };
    let (updates, source) = Updates::new();
    let mesh = Mesh::builder()
        .connector(network)
        .config(update(1024))
        .source(source)
        .report_every_call()
        .build()
        .unwrap();
    for _ in 0..4 {
        drop(outcome(&mesh, over_h2(get("/"))).await);
    }
    updates.apply(update(0));
    bounded(mesh.applied(2)).await.unwrap();
    drop(outcome(&mesh, over_h2(get("/"))).await);
    let mut overloaded = update(1);
    let cluster = overloaded.clusters.get_mut("a").unwrap();
    let endpoints = Arc::make_mut(cluster.endpoints.as_mut().unwrap());
    endpoints.drop_overloads = vec![DropOverload::new("lb", Fraction::ALL)];
    updates.apply(overloaded);
    bounded(mesh.applied(3)).await.unwrap();
    drop(outcome(&mesh, over_h2(get("/"))).await);
    server.close();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut unfed = Vec::new();
    for (name, kind) in documented() {
        let fed = match kind {
            "counter" => metric(&mesh, name, &[]),
            "histogram" => metric(&mesh, &format!("{name}_count"), &[]),
            _ => 1,
        };
        if fed == 0 {
            unfed.push(name);
        }
    }
    assert_eq!(unfed, [""; 0], "{}", mesh.metrics().prometheus_text());
    for phase in ["routing", "waiting", "connect", "first_byte", "body", "backoff"] {
        let count = metric(&mesh, "mesh_phase_seconds_count", &[("phase", phase)]);
        assert!(count > 0, "no {phase}");
    }
    let unplaced = [("locality", ""), ("response_flag", "UO")];
    assert_eq!(metric(&mesh, "mesh_attempts_total", &unplaced), 1);
}

#[tokio::test(start_paused = true)]
async fn connections_are_counted_from_first_to_last() {
    let network = MemoryNetwork::new();
    let (server, _) = scripted(&network, 1, &[OK]);
    let mesh = simple(&network, 1, |_| {});
    assert!(outcome(&mesh, over_h2(get("/"))).await.is_ok());
    assert_eq!(metric(&mesh, "mesh_connections_active", &[]), 1);
    server.close();
    server.refuse();
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert!(outcome(&mesh, over_h2(get("/"))).await.is_err());
    let counts = [("opened_total", "opened"), ("active", "active")]
        .map(|(name, _)| metric(&mesh, &format!("mesh_connections_{name}"), &[]));
    assert_eq!(counts, [1, 0]);
    assert_eq!(metric(&mesh, "mesh_connections_closed_total", &[("reason", "remote")]), 1);
    assert!(metric(&mesh, "mesh_connections_failed_total", &[("reason", "refused")]) > 0);
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_was_not_made_is_told_beside_the_answer() {
    let network = MemoryNetwork::new();
    scripted(&network, 1, &[Act::Head(503, &[])]);
    let mesh = simple(&network, 1, retry(RetryOn::SERVER_ERROR, |policy| policy.num_retries = 1));
    let mut request = over_h2(get("/"));
    request.extensions_mut().insert(CallOptions::new().server_timing());
    let response = call(&mesh, request).await.unwrap();
    assert_eq!(response.status(), 503);
    let report = response.extensions().get::<CallReport>().unwrap().clone();
    assert_eq!(report.retry_stop.map(|stop| stop.code()), Some("retry_limit"));
    let header = response.headers()["server-timing"].to_str().unwrap().to_owned();
    assert!(header.starts_with("mesh;dur=") && header.contains("attempt2;desc="), "{header}");
    drop(text(response).await);
    idle(&mesh).await;
    assert_eq!(flags(&mesh), "URX:1");
    let labels = [("status", "503"), ("response_flag", "URX")];
    assert_eq!(metric(&mesh, "mesh_calls_total", &labels), 1);
}

fn detection(change: impl FnOnce(&mut OutlierDetection)) -> ConfigUpdate {
    let mut rules = OutlierDetection::default();
    rules.max_ejection_percent = 50;
    change(&mut rules);
    let watched = cluster(|cluster| cluster.outlier_detection = Some(rules));
    config(watched, &[at(1), at(2)], |action| action.timeout = Duration::from_millis(200))
}

/// Its head says 200, and then nothing good comes.
#[tokio::test(start_paused = true)]
async fn an_endpoint_that_fails_after_the_head_is_ejected() {
    let hangs_after_head = Act::Grpc(Duration::from_secs(60), &[]);
    let breaks = Act::Break(Duration::from_millis(5), h2::Reason::INTERNAL_ERROR);
    let in_a_row = |rules: &mut OutlierDetection| rules.consecutive_5xx = Some(3);
    let in_share = |rules: &mut OutlierDetection| {
        rules.failure_percentage = Some(Default::default());
        let share = rules.failure_percentage.as_mut().unwrap();
        (share.minimum_hosts, share.request_volume, share.threshold) = (1, 5, 50);
        share.enforcing = 100;
        rules.interval = Duration::from_secs(1);
    };
    for (act, rules, is_grpc) in [
        (hangs_after_head, detection(in_a_row), true),
        (breaks, detection(in_a_row), true),
        (breaks, detection(in_share), false),
    ] {
        let network = MemoryNetwork::new();
        scripted(&network, 1, &[act]);
        scripted(&network, 2, &[GRPC_OK]);
        let mesh = mesh(&network, rules);
        for _ in 0..20 {
            let request = if is_grpc { grpc("/s/m") } else { over_h2(get("/")) };
            if let Ok(response) = call(&mesh, request).await {
                drop(response.into_body().collect().await);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let ejected = metric(&mesh, "mesh_ejections_total", &[("outcome", "enforced")]);
        assert!(ejected > 0, "{act:?} gRPC: {is_grpc}");
    }
}
