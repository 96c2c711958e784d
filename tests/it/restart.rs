//! Takes the place of a proxy under load, again and again, and says what that cost. It takes a minute, and is asked for:
//!
//! ```text
//! MESH_BINARY=target/release/mesh cargo test --test it -- --ignored --nocapture restart::
//! ```

use crate::ads::Ads;
use crate::proxy::{Place, Running, ask, binary, routes, server};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Requests in a second, of all callers.
const RATE: u32 = 2_000;
const CALLERS: u32 = 16;

fn duration() -> Duration {
    let seconds = std::env::var("MESH_RESTART_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(60))
}

fn proxy(place: &Place, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary().canonicalize().unwrap());
    command.arg("proxy").arg("--config").arg(place.path("mesh.yaml"));
    command.args(arguments).current_dir(place.0.path());
    command
}

/// What became of the calls of one caller.
#[derive(Default)]
struct Ended {
    times: Vec<Duration>,
    failed: Vec<String>,
}

/// Calls in an even pace until `ends`, over connections that are kept as long as the other lets it.
async fn caller(to: SocketAddr, is_h2: bool, ends: Arc<AtomicBool>) -> Ended {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let mut builder = Client::builder(TokioExecutor::new());
    builder.http2_only(is_h2);
    let client: Client<_, Empty<Bytes>> = builder.build(connector);
    let mut ended = Ended::default();
    let mut pace = tokio::time::interval(Duration::from_secs(1) * CALLERS / RATE);
    while !ends.load(Ordering::Relaxed) {
        pace.tick().await;
        let request = http::Request::get(format!("http://{to}/")).header("host", "a");
        let request = match is_h2 {
            true => http::Request::get(format!("http://{to}/")),
            false => request,
        };
        let begun = Instant::now();
        let called = async {
            let response = client.request(request.body(Empty::new()).unwrap()).await?;
            let status = response.status();
            let body = response.into_body().collect().await?.to_bytes();
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>((status, body))
        };
        match called.await {
            Ok((status, body)) if status == 200 && *body == *b"hello" => {
                ended.times.push(begun.elapsed());
            }
            Ok((status, body)) => ended.failed.push(format!("{status}: {body:?}")),
            Err(error) => ended.failed.push(format!("{error}: {:?}", error.source())),
        }
    }
    ended
}

#[test]
#[ignore = "it takes a minute: see the head of this file"]
fn restarts_at_2000_requests_a_second() {
    let web = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let port = format!("outbound: {{ web: {{ listen: \"{web}\", cluster: a }} }}\n");
    // What it is asked for over HTTP/2 it asks over HTTP/1.1.
    let text = routes(server("hello", Duration::ZERO))
        .replace("endpoints:", "protocol: http1, endpoints:");
    let place = Place::new(&(text + &port));
    let start = || {
        let arguments = ["--takeover", "t.sock", "--drain-timeout", "10s"];
        let running = Running::start(&mut proxy(&place, &arguments));
        assert!(running.line().starts_with("outbound|web on "));
        running
    };
    let mut running = start();
    let ends = Arc::new(AtomicBool::new(false));
    let ended = Arc::clone(&ends);
    let calling = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let callers = (0..CALLERS).map(|at| caller(web, at % 2 == 0, Arc::clone(&ended)));
            futures_util::future::join_all(callers).await
        })
    });
    let (begun, mut restarts) = (Instant::now(), 0);
    while begun.elapsed() < duration() {
        thread::sleep(Duration::from_secs(2));
        let next = start();
        assert_eq!(running.ended().code(), Some(0));
        (running, restarts) = (next, restarts + 1);
    }
    ends.store(true, Ordering::Relaxed);
    let took = begun.elapsed();
    let all = calling.join().unwrap();
    let mut times: Vec<_> = all.iter().flat_map(|ended| &ended.times).copied().collect();
    let failed: Vec<_> = all.iter().flat_map(|ended| &ended.failed).collect();
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!(
        "{restarts} restarts in {took:.1?}: {} calls, {:.0} a second, {} failed; median {:?}, p99 {:?}, longest {:?}",
        times.len() + failed.len(),
        times.len() as f64 / took.as_secs_f64(),
        failed.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
    assert!(failed.is_empty(), "{:?}", &failed[..failed.len().min(10)]);
}

/// From the start of the process to the first answer, without the control plane.
#[test]
#[ignore = "for its figures: see the head of this file"]
fn starts_from_the_last_good_configuration() {
    let place = Place::new("outbound: { sock: { listen: \"unix:DIR/web.sock\" } }\n");
    let file = place.path("served.yaml");
    fs::write(&file, format!("version: 1\n{}", routes(server("hello", Duration::ZERO)))).unwrap();
    let ads = Ads::start_with(&[], &file);
    let (listen, _) = ads.addresses();
    ads.says("serving ");
    let bootstrap = format!(
        "{{ \"xds_servers\": [{{ \"server_uri\": \"{listen}\", \"channel_creds\": [{{ \"type\": \"insecure\" }}], \"server_features\": [\"xds_v3\"] }}], \"node\": {{ \"id\": \"n\" }} }}"
    );
    fs::write(place.path("bootstrap.json"), bootstrap).unwrap();
    let arguments = ["--xds", "bootstrap.json", "--last-good", "good"];
    let mut running = Running::start(&mut proxy(&place, &arguments));
    running.line();
    assert!(place.ask("web.sock").ends_with("hello"));
    while !place.path("good").exists() {
        thread::sleep(Duration::from_millis(20));
    }
    drop(ads);
    let mut times = Vec::new();
    for _ in 0..11 {
        running.child.kill().unwrap();
        running.ended();
        let begun = Instant::now();
        running = Running::start(&mut proxy(&place, &arguments));
        running.line();
        assert!(ask(&place.path("web.sock")).ends_with("hello"));
        times.push(begun.elapsed());
    }
    times.sort();
    println!("killed and started again, 11 times: median {:?}, longest {:?}", times[5], times[10]);
}
