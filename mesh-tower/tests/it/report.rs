//! What a call went through is told: in reports, in errors, as `Server-Timing`.

use crate::fixture::{at, call, cluster, config, get, mesh, metric, over_h2, simple, text};
use crate::retry::retry;
use crate::wire::{Act, OK, scripted};
use http_body_util::BodyExt;
use mesh_core::model::{Address, Locality, RetryOn};
use mesh_core::outcome::{ConnectFailure, Failure, Overflow};
use mesh_tower::observe::{AttemptOutcome, CallReport, Phase};
use mesh_tower::source::Updates;
use mesh_tower::testing::MemoryNetwork;
use mesh_tower::{CallOptions, Mesh};
use std::sync::Arc;
use std::time::Duration;

fn reported(path: &str) -> http::Request<mesh_tower::MeshBody> {
    let mut request = over_h2(get(path));
    request.extensions_mut().insert(CallOptions::new().report());
    request
}

/// The endpoint and outcome of each attempt, as `2 503`.
fn attempts(report: &CallReport) -> Vec<String> {
    let attempts = report.attempts.iter().map(|attempt| {
        let endpoint = match &attempt.endpoint {
            Some(Address::Socket(address)) => {
                address.ip().to_string().split('.').next_back().unwrap().to_owned()
            }
            Some(other) => other.to_string(),
            None => "-".to_owned(),
        };
        format!("{endpoint} {}", attempt.outcome)
    });
    attempts.collect()
}

#[tokio::test(start_paused = true)]
async fn a_report_tells_every_attempt_with_endpoint_outcome_and_times() {
    let network = MemoryNetwork::new();
    scripted(&network, 1, &[Act::Head(503, &[])]);
    scripted(&network, 2, &[Act::Slow(Duration::from_secs(2))]);
    let mesh = simple(
        &network,
        2,
        retry(RetryOn::SERVER_ERROR, |policy| {
            policy.back_off.base_interval = Duration::from_secs(4);
            policy.back_off.max_interval = Duration::from_secs(4);
        }),
    );
    for round in 0..2 {
        let response = call(&mesh, reported("/")).await.unwrap();
        let report = response.extensions().get::<CallReport>().unwrap().clone();
        for attempt in &report.attempts {
            let connection = attempt.connection.as_ref().unwrap();
            assert_eq!(connection.version, http::Version::HTTP_2);
            assert_eq!((connection.reused, &connection.tls), (round > 0, &None));
        }
        // Round robin: both calls begin at the first.
        assert_eq!(attempts(&report), ["1 503", "2 200"]);
        let last = report.attempts.last().unwrap();
        assert_eq!(last.duration, Duration::from_secs(2));
        assert_eq!(last.started + last.duration, report.duration);
        let paused = report.phases.get(Phase::Backoff).unwrap();
        assert_eq!(report.attempts[0].started + report.attempts[0].duration + paused, last.started);
        assert_eq!(report.phases.get(Phase::Routing), Some(Duration::ZERO), "the clock is paused");
        assert_eq!(last.phases.get(Phase::FirstByte), Some(Duration::from_secs(2)));
        let timing = report.server_timing();
        let timing = timing.to_str().unwrap();
        assert!(
            timing.starts_with("mesh;dur=")
                && timing.contains("desc=\"10.0.0.2:80 200\";dur=2000.000"),
            "{timing}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_who_did_not_ask_gets_a_report() {
    let network = MemoryNetwork::new();
    scripted(&network, 1, &[OK]);
    let update = || config(cluster(|_| {}), &[at(1)], |_| {});
    let quiet = mesh(&network, update());
    assert!(
        call(&quiet, over_h2(get("/"))).await.unwrap().extensions().get::<CallReport>().is_none()
    );
    let all = Mesh::builder()
        .seed(0)
        .connector(network)
        .config(update())
        .report_every_call()
        .build()
        .unwrap();
    let response = call(&all, over_h2(get("/"))).await.unwrap();
    assert_eq!(attempts(response.extensions().get().unwrap()), ["1 200"]);
}

#[tokio::test(start_paused = true)]
async fn the_time_of_the_body_is_told_when_it_has_ended() {
    let network = MemoryNetwork::new();
    scripted(&network, 1, &[Act::Grpc(Duration::from_secs(3), &[])]);
    let mesh = simple(&network, 1, |_| {});
    let response = call(&mesh, reported("/")).await.unwrap();
    let report = response.extensions().get::<CallReport>().unwrap().clone();
    assert_eq!(report.body_duration(), None);
    text(response).await;
    assert_eq!(report.body_duration(), Some(Duration::from_secs(3)));
    assert!(report.server_timing().to_str().unwrap().contains(", body;dur=3000.000"));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_off_tells_what_the_call_went_through() {
    let network = MemoryNetwork::new();
    scripted(&network, 1, &[Act::Head(503, &[])]);
    scripted(&network, 2, &[Act::Break(Duration::from_secs(2), h2::Reason::INTERNAL_ERROR)]);
    for ask in [false, true] {
        let mesh = simple(&network, 2, retry(RetryOn::SERVER_ERROR, |_| {}));
        let request = if ask { reported("/") } else { over_h2(get("/")) };
        let response = call(&mesh, request).await.unwrap();
        let error = response.into_body().collect().await.unwrap_err();
        let report = error.report().unwrap();
        assert_eq!(attempts(report), ["1 503", "2 200"], "asked: {ask}");
        assert_eq!(error.station().attempts, 2);
        assert_eq!(report.body_duration(), Some(Duration::from_secs(2)));
        assert_eq!(report.attempts[1].phases.get(Phase::FirstByte).is_some(), ask);
    }
}

#[tokio::test(start_paused = true)]
async fn waiting_for_an_endpoint_is_a_phase_and_no_latency_of_it() {
    let network = MemoryNetwork::new();
    scripted(&network, 1, &[Act::Slow(Duration::from_secs(1))]);
    let (updates, source) = Updates::new();
    let mesh = Mesh::builder()
        .seed(0)
        .connector(network)
        .config(config(cluster(|_| {}), &[], |_| {}))
        .source(source)
        .build()
        .unwrap();
    let mut request = over_h2(get("/"));
    request.extensions_mut().insert(CallOptions::new().report().wait_for_ready());
    let waiting = tokio::spawn({
        let mesh = mesh.clone();
        async move { call(&mesh, request).await }
    });
    tokio::time::sleep(Duration::from_secs(5)).await;
    let mut update = config(cluster(|_| {}), &[at(1)], |_| {});
    let clusters = update.clusters.values_mut().next().unwrap();
    let mut assignment = (**clusters.endpoints.as_ref().unwrap()).clone();
    Arc::make_mut(&mut assignment.localities[0]).locality = Locality::new("r", "z", "s");
    clusters.endpoints = Some(Arc::new(assignment));
    updates.apply(update);
    let response = waiting.await.unwrap().unwrap();
    let report = response.extensions().get::<CallReport>().unwrap();
    let attempt = &report.attempts[0];
    assert_eq!((attempt.started, attempt.duration), (Duration::ZERO, Duration::from_secs(6)));
    assert_eq!(attempt.phases.get(Phase::Waiting), Some(Duration::from_secs(5)));
    assert_eq!(attempt.phases.get(Phase::FirstByte), Some(Duration::from_secs(1)));
    assert_eq!(attempt.locality, Locality::new("r", "z", "s"));
    let waits = metric(&mesh, "mesh_phase_seconds_count", &[("phase", "waiting")]);
    let first_bytes = metric(&mesh, "mesh_phase_seconds_count", &[("phase", "first_byte")]);
    assert_eq!((waits, first_bytes), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn connecting_is_a_phase_of_its_own() {
    let network = MemoryNetwork::new();
    let (server, _) = scripted(&network, 1, &[Act::Slow(Duration::from_secs(1))]);
    server.delay(Duration::from_secs(3));
    let mesh = simple(&network, 1, |_| {});
    let response = call(&mesh, reported("/")).await.unwrap();
    let phases = response.extensions().get::<CallReport>().unwrap().attempts[0].phases;
    assert_eq!(phases.get(Phase::Connect), Some(Duration::from_secs(3)));
    assert_eq!(phases.get(Phase::FirstByte), Some(Duration::from_secs(1)));
    let response = call(&mesh, reported("/")).await.unwrap();
    let phases = response.extensions().get::<CallReport>().unwrap().attempts[0].phases;
    assert_eq!(phases.get(Phase::Connect), None);
}

#[tokio::test(start_paused = true)]
async fn errors_say_what_was_tried_and_where() {
    let network = MemoryNetwork::new();
    scripted(&network, 2, &[Act::Hang]);
    let mesh = simple(&network, 2, |action| {
        retry(RetryOn::RESET, |policy| policy.per_try_timeout = Some(Duration::from_secs(1)))(
            action,
        );
        action.timeout = Duration::from_millis(1500);
    });
    let error = call(&mesh, over_h2(get("/"))).await.unwrap_err();
    let report = error.report().unwrap();
    let told = attempts(report);
    // The retry may look whether the refusing endpoint is back, and then waits at the other one.
    assert_eq!(report.duration, Duration::from_millis(1500));
    assert_eq!(told[..2], ["1 UF connect_refused", "2 UT per_try_timeout"]);
    assert_eq!(told.last().unwrap(), "2 UT per_try_timeout");
    let station = error.station();
    assert_eq!(station.virtual_host.as_deref(), Some("any"));
    assert_eq!((station.route.as_deref(), station.cluster.as_deref()), (Some("all"), Some("a")));
    assert_eq!(station.endpoint, Some(at(2).into()));
    let text = error.to_string();
    assert!(text.contains("cluster a") && text.ends_with("[timeout]"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_timeout_names_the_endpoint_that_was_silent() {
    let network = MemoryNetwork::new();
    scripted(&network, 1, &[Act::Hang]);
    let mesh = simple(&network, 1, |action| action.timeout = Duration::from_secs(2));
    let error = call(&mesh, over_h2(get("/"))).await.unwrap_err();
    assert_eq!(error.station().endpoint, Some(at(1).into()));
    assert!(error.to_string().contains("10.0.0.1:80"), "{error}");
    let attempts = &error.report().unwrap().attempts;
    assert_eq!(attempts.len(), 1, "the attempt that was out is not told");
    assert_eq!(
        (&attempts[0].endpoint, attempts[0].duration),
        (&Some(at(1).into()), Duration::from_secs(2))
    );
}

#[tokio::test(start_paused = true)]
async fn an_attempt_without_an_endpoint_names_none() {
    let network = MemoryNetwork::new();
    let full = cluster(|cluster| cluster.circuit_breakers.default.max_requests = 0);
    let mesh = mesh(&network, config(full, &[at(1)], |_| {}));
    let error = call(&mesh, get("/")).await.unwrap_err();
    let attempt = &error.report().unwrap().attempts[0];
    let overflow = Failure::Overflow(Overflow::Requests);
    assert_eq!((&attempt.endpoint, &attempt.outcome), (&None, &AttemptOutcome::Failed(overflow)));
    assert_eq!(error.station().endpoint, None);
}

#[tokio::test(start_paused = true)]
async fn a_refused_authority_is_told_with_the_configurations_origin() {
    let network = MemoryNetwork::new();
    let mut update = config(cluster(|_| {}), &[at(1)], |_| {});
    update.origin = mesh_core::update::Origin::new("here", "v7");
    let routes = Arc::make_mut(&mut update.route_configuration);
    let host = Arc::make_mut(&mut routes.virtual_hosts[0]);
    host.domains = vec![mesh_core::model::Domain::Exact("b".into())];
    let mesh = mesh(&network, update);
    let error = call(&mesh, get("/")).await.unwrap_err();
    assert!(error.is_no_route());
    assert_eq!((error.code(), error.http_status().as_u16()), ("no_virtual_host", 404));
    assert_eq!(error.station().origin, Some(("here".into(), "v7".into())));
    assert_eq!(crate::fixture::flags(&mesh), "NR:1");
}

#[tokio::test(start_paused = true)]
async fn the_source_of_a_failure_is_the_transports_own_error() {
    let network = MemoryNetwork::new();
    scripted(&network, 1, &[Act::Reset(h2::Reason::INTERNAL_ERROR)]);
    let mesh = simple(&network, 1, |_| {});
    let error = call(&mesh, over_h2(get("/"))).await.unwrap_err();
    let source = std::error::Error::source(&error).unwrap().downcast_ref::<h2::Error>().unwrap();
    assert_eq!(source.reason(), Some(h2::Reason::INTERNAL_ERROR));
    let refused = simple(&MemoryNetwork::new(), 1, |_| {});
    let error = call(&refused, get("/")).await.unwrap_err();
    assert!(matches!(
        error.reason(),
        mesh_core::local_reply::Reason::Attempt(Failure::Connect(ConnectFailure::Refused))
    ));
    assert!(std::error::Error::source(&error).is_some());
}
