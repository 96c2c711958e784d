//! A user's classifier: what it says counts in retries, in ejection and in metrics.

use crate::fixture::{Count, at, call, cluster, config, get, metric, outcome, over_h2};
use crate::retry::retry;
use crate::wire::{Act, OK, scripted};
use mesh_core::model::{OutlierDetection, RetryOn};
use mesh_core::outcome::Class;
use mesh_tower::Mesh;
use mesh_tower::testing::MemoryNetwork;
use std::time::Duration;

/// Errors hide in a header of answers that look fine; 503 of this service means "nothing found".
fn classify(head: &http::response::Parts) -> Option<Class> {
    match head.headers.get("x-result").and_then(|value| value.to_str().ok()) {
        Some("later") => Some(Class::Retryable),
        Some("broken") => Some(Class::Failure),
        Some("fine") => Some(Class::Success),
        _ => None,
    }
}

fn mesh(network: &MemoryNetwork, update: mesh_core::ConfigUpdate) -> Mesh {
    Mesh::builder()
        .seed(0)
        .connector(network.clone())
        .config(update)
        .classify(classify)
        .build()
        .unwrap()
}

const LATER: Act = Act::Head(200, &[("x-result", "later")]);
const BROKEN: Act = Act::Head(503, &[("x-result", "broken")]);
const FINE: Act = Act::Head(503, &[("x-result", "fine")]);

#[tokio::test(start_paused = true)]
async fn what_it_calls_retryable_is_retried_and_nothing_else_is() {
    for (acts, attempts, status) in [
        (&[LATER, OK], 2, 200),
        (&[BROKEN, OK], 1, 503),
        (&[FINE, OK], 1, 503),
        (&[Act::Head(503, &[]), OK], 2, 200),
    ] as [(&'static [Act], usize, u16); 4]
    {
        let network = MemoryNetwork::new();
        let (_, calls) = scripted(&network, 1, acts);
        let update = config(cluster(|_| {}), &[at(1)], retry(RetryOn::SERVER_ERROR, |_| {}));
        let mesh = mesh(&network, update);
        assert_eq!(outcome(&mesh, over_h2(get("/"))).await.map(|(status, _)| status), Ok(status));
        assert_eq!(calls.get(), attempts, "{acts:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_policy_nothing_is_retried_whatever_it_says() {
    let network = MemoryNetwork::new();
    let (_, calls) = scripted(&network, 1, &[LATER, OK]);
    let mesh = mesh(&network, config(cluster(|_| {}), &[at(1)], |_| {}));
    assert!(call(&mesh, over_h2(get("/"))).await.is_ok());
    assert_eq!(calls.get(), 1);
}

/// How often each of two endpoints was asked by 60 calls, when the first does `act` for ever.
async fn shares(act: &'static [Act]) -> (usize, usize) {
    let network = MemoryNetwork::new();
    let counts: [Count; 2] = [scripted(&network, 1, act).1, scripted(&network, 2, &[OK]).1];
    let mut rules = OutlierDetection::default();
    rules.consecutive_5xx = Some(3);
    rules.max_ejection_percent = 50;
    let watched = cluster(|cluster| cluster.outlier_detection = Some(rules));
    let mesh = mesh(&network, config(watched, &[at(1), at(2)], |_| {}));
    for _ in 0..60 {
        drop(outcome(&mesh, over_h2(get("/"))).await);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    (counts[0].get(), counts[1].get())
}

#[tokio::test(start_paused = true)]
async fn what_it_calls_a_failure_ejects_and_what_it_calls_fine_does_not() {
    assert_eq!(shares(&[FINE]).await, (30, 30));
    assert_eq!(shares(&[BROKEN]).await, (3, 57));
    assert_eq!(shares(&[LATER]).await, (3, 57));
    assert_eq!(shares(&[Act::Head(503, &[])]).await, (3, 57));
}

#[tokio::test(start_paused = true)]
async fn metrics_tell_what_it_said() {
    let network = MemoryNetwork::new();
    scripted(&network, 1, &[LATER, FINE, OK]);
    let mesh = mesh(&network, config(cluster(|_| {}), &[at(1)], |_| {}));
    for _ in 0..3 {
        drop(outcome(&mesh, over_h2(get("/"))).await);
    }
    assert_eq!(metric(&mesh, "mesh_calls_total", &[]), 3);
    // A failure in disguise counts as 500, and what is fine as 200, whatever the status said.
    assert_eq!(metric(&mesh, "mesh_calls_total", &[("status", "500")]), 1);
    assert_eq!(metric(&mesh, "mesh_calls_total", &[("status", "200")]), 2);
}
