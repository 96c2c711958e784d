//! Backends that die, hang, reset and half-close under load, on real sockets.
//!
//! What must hold whatever they do: every call ends by its deadline, idempotent calls succeed while
//! any endpoint lives, retries stay within the budget, and nothing is processed twice unasked.

use crate::fixture::{
    Count, Server, bounded, call, cluster, config, eventually, get, idle, metric, outcome, over_h2,
    post,
};
use crate::proxy::{Fault, Proxy};
use crate::retry::retry;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use mesh_core::model::{Cluster, ForwardAction, OutlierDetection, RetryOn};
use mesh_tower::{Mesh, MeshBody};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const DEADLINE: Duration = Duration::from_secs(2);
/// What a busy machine may add.
const SLACK: Duration = Duration::from_secs(1);

/// How often each body was received.
type Received = Arc<Mutex<HashMap<Vec<u8>, u32>>>;

async fn world(
    endpoints: usize,
    change: impl FnOnce(&mut ForwardAction),
) -> (Vec<Server>, Vec<Proxy>, Mesh, Received) {
    let (mut servers, mut proxies) = (Vec::new(), Vec::new());
    let received = Received::default();
    for _ in 0..endpoints {
        let received = Arc::clone(&received);
        let server = Server::start(move |request: Request<Incoming>| {
            let received = Arc::clone(&received);
            async move {
                if let Ok(body) = request.into_body().collect().await {
                    *received.lock().entry(body.to_bytes().to_vec()).or_default() += 1;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
                // Whole in one frame: an answer that is cut in its middle has an end of its own, and is not repeated.
                Response::new(Full::<Bytes>::default())
            }
        })
        .await;
        proxies.push(Proxy::before(server.address).await);
        servers.push(server);
    }
    let addresses: Vec<_> = proxies.iter().map(|proxy| proxy.address).collect();
    let update = config(watched(), &addresses, |action| {
        action.timeout = DEADLINE;
        change(action);
    });
    (servers, proxies, Mesh::builder().config(update).build().unwrap(), received)
}

fn watched() -> Cluster {
    let mut rules = OutlierDetection::default();
    rules.interval = Duration::from_millis(200);
    rules.base_ejection_time = Duration::from_millis(300);
    rules.max_ejection_percent = 67;
    rules.consecutive_5xx = Some(3);
    cluster(|cluster| {
        cluster.outlier_detection = Some(rules);
        cluster.connection.connect_timeout = Duration::from_millis(200);
    })
}

fn insistent(action: &mut ForwardAction) {
    let on = RetryOn::SERVER_ERROR | RetryOn::RESET | RetryOn::CONNECT_FAILURE;
    retry(on, |policy| {
        policy.num_retries = 4;
        policy.per_try_timeout = Some(Duration::from_millis(250));
    })(action);
}

/// What became of the calls of a load.
#[derive(Default)]
struct Ended {
    calls: usize,
    failed: Vec<String>,
    longest: Duration,
}

/// Why a call failed, with all that was tried, and whether its head had come.
async fn told(mesh: &Mesh, request: Request<MeshBody>) -> Result<(), String> {
    let response = call(mesh, request).await.map_err(|error| format!("head: {error}"))?;
    let status = response.status();
    let body = bounded(response.into_body().collect()).await;
    body.map_err(|error| format!("body of a {status}: {error}"))?;
    if status == 200 { Ok(()) } else { Err(status.to_string()) }
}

/// `workers` callers, one call after another, for `duration`.
async fn load(
    mesh: &Mesh,
    workers: usize,
    duration: Duration,
    make: impl Fn(usize) -> Request<MeshBody> + Send + Sync + 'static,
) -> Ended {
    let (make, number, end) = (Arc::new(make), Count::default(), Instant::now() + duration);
    let mut all = JoinSet::new();
    for _ in 0..workers {
        let (mesh, make, number) = (mesh.clone(), Arc::clone(&make), number.clone());
        all.spawn(async move {
            let mut ended = Ended::default();
            while Instant::now() < end {
                let begun = Instant::now();
                let result = told(&mesh, make(number.add())).await;
                ended.longest = ended.longest.max(begun.elapsed());
                ended.calls += 1;
                if let Err(why) = result {
                    ended.failed.push(why);
                }
            }
            ended
        });
    }
    let mut sum = Ended::default();
    while let Some(ended) = all.join_next().await {
        let ended = ended.unwrap();
        sum.calls += ended.calls;
        sum.longest = sum.longest.max(ended.longest);
        sum.failed.extend(ended.failed);
    }
    sum
}

/// The budget's own bound (`mesh_core::call::budget`), which holds from the first call of a mesh on:
/// `calls` and `duration` are all that there was.
fn check_budget(mesh: &Mesh, calls: usize, duration: Duration) {
    let retries = metric(mesh, "mesh_retries_total", &[("outcome", "started")]);
    let budget = calls as f64 * 0.2 + 10.0 * (duration.as_secs_f64() + 1.0);
    assert!(retries as f64 <= budget, "{retries} retries for {calls} calls in {duration:?}");
}

/// One endpoint of three at a time does `fault`, under GETs over both protocols.
async fn one_of_three(fault: Fault) {
    let (_servers, proxies, mesh, _) = world(3, insistent).await;
    let duration = Duration::from_secs(4);
    let begun = Instant::now();
    let loaded =
        load(
            &mesh,
            24,
            duration,
            |number| {
                if number % 2 == 0 { over_h2(get("/")) } else { get("/") }
            },
        );
    let disturbed = async {
        for round in 0..5 {
            tokio::time::sleep(Duration::from_millis(300)).await;
            proxies[round % 3].set(fault);
            tokio::time::sleep(Duration::from_millis(400)).await;
            proxies[round % 3].set(Fault::None);
        }
    };
    let (ended, ()) = tokio::join!(loaded, disturbed);
    assert!(ended.calls > 100, "{} calls only", ended.calls);
    assert!(ended.longest < DEADLINE + SLACK, "{:?}", ended.longest);
    let some: Vec<_> = ended.failed.iter().take(5).collect();
    // Few calls, as on a busy machine, have a small budget for retries; nothing else may fail them.
    let refused = metric(&mesh, "mesh_retries_total", &[("outcome", "budget_exhausted")]);
    assert!(
        ended.failed.len() as u64 <= refused,
        "{fault:?}: {} of {} failed, {refused} for want of a budget: {some:?}",
        ended.failed.len(),
        ended.calls
    );
    check_budget(&mesh, ended.calls, begun.elapsed());
    idle(&mesh).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killing_one_of_three_fails_no_idempotent_call() {
    one_of_three(Fault::Killed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hanging_one_of_three_fails_no_idempotent_call() {
    one_of_three(Fault::Hangs).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resetting_one_of_three_fails_no_idempotent_call() {
    one_of_three(Fault::Resets).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_closing_one_of_three_fails_no_idempotent_call() {
    one_of_three(Fault::HalfClosed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_all_do_every_call_ends_by_its_deadline_and_then_all_is_well() {
    let (_servers, proxies, mesh, _) = world(2, insistent).await;
    let (begun, mut calls) = (Instant::now(), 0);
    for fault in [Fault::Hangs, Fault::Resets, Fault::HalfClosed, Fault::Killed] {
        let loaded = load(&mesh, 12, Duration::from_millis(1200), |number| {
            if number % 2 == 0 { over_h2(get("/")) } else { get("/") }
        });
        let disturbed = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            proxies.iter().for_each(|proxy| proxy.set(fault));
        };
        let (ended, ()) = tokio::join!(loaded, disturbed);
        calls += ended.calls;
        assert!(ended.longest < DEADLINE + SLACK, "{fault:?}: {:?}", ended.longest);
        assert!(!ended.failed.is_empty(), "{fault:?} did nothing");
        check_budget(&mesh, calls, begun.elapsed());
        idle(&mesh).await;
        proxies.iter().for_each(|proxy| proxy.set(Fault::None));
        let well = async {
            let mut in_a_row = 0;
            while in_a_row < 20 {
                calls += 1;
                in_a_row = if outcome(&mesh, get("/")).await.is_ok() { in_a_row + 1 } else { 0 };
            }
        };
        tokio::time::timeout(Duration::from_secs(5), well).await.expect("it never recovers");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_policy_nothing_is_processed_twice_whatever_happens() {
    let (_servers, proxies, mesh, received) = world(3, |_| {}).await;
    let loaded = load(&mesh, 24, Duration::from_secs(5), |number| {
        let request = post("/", format!("call {number}"));
        if number % 2 == 0 { over_h2(request) } else { request }
    });
    let disturbed = async {
        let faults = [Fault::Killed, Fault::Resets, Fault::HalfClosed];
        for round in 0..24 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            proxies[round % 3].set(faults[round / 3 % 3]);
            tokio::time::sleep(Duration::from_millis(80)).await;
            proxies[round % 3].set(Fault::None);
        }
    };
    let (ended, ()) = tokio::join!(loaded, disturbed);
    let received = received.lock();
    let twice: Vec<_> = received.iter().filter(|(_, times)| **times > 1).take(5).collect();
    assert!(twice.is_empty(), "processed more than once: {twice:?}");
    assert!(received.len() >= ended.calls - ended.failed.len());
    assert!(ended.longest < DEADLINE + SLACK, "{:?}", ended.longest);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_was_out_is_used_again() {
    let (_servers, proxies, mesh, _) = world(2, insistent).await;
    proxies[0].set(Fault::Killed);
    let ended = load(&mesh, 4, Duration::from_millis(500), |_| over_h2(get("/"))).await;
    assert!(ended.failed.is_empty(), "{:?}", ended.failed.first());
    proxies[0].set(Fault::None);
    proxies[1].set(Fault::Killed);
    let ended = load(&mesh, 4, Duration::from_millis(500), |_| over_h2(get("/"))).await;
    assert!(
        ended.failed.len() <= 4,
        "{} failed, first: {:?}",
        ended.failed.len(),
        ended.failed.first()
    );
    eventually("it settles", || metric(&mesh, "mesh_calls_active", &[]) == 0).await;
}
