//! What an OpenTelemetry Collector makes of what `mesh proxy --otlp` sends.

use crate::client::{get, mesh, send};
use crate::process::{Peer, free_ports, installed};
use http::Version;
use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The collector: its pages, and its port of OTLP.
fn collector() -> Peer {
    Peer::that_says_its_ports(&mut Command::new(installed("go-otlp-peer")))
}

/// A proxy that runs; killed when dropped.
struct Proxy(Child);

impl Drop for Proxy {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _status = self.0.wait();
    }
}

impl Proxy {
    /// Passes on what comes to `port` to the application at `to`, and exports to `collector`.
    fn start(directory: &Path, [port, admin]: [u16; 2], to: u16, collector: u16) -> Self {
        let file = directory.join("mesh.yaml");
        let text = format!(
            "version: 1\noutbound: {{ web: {{ listen: \"127.0.0.1:{port}\", cluster: app }} }}\n\
             clusters: {{ app: {{ endpoints: [\"127.0.0.1:{to}\"] }} }}\n"
        );
        fs::write(&file, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_mesh"));
        command.arg("proxy").arg("--config").arg(file);
        command.args(["--admin", &format!("127.0.0.1:{admin}")]);
        command.args(["--otlp", &format!("http://127.0.0.1:{collector}")]);
        command.env("OTEL_SERVICE_NAME", "shop").env("OTEL_RESOURCE_ATTRIBUTES", "zone=eu%2d1");
        command.env("OTEL_METRIC_EXPORT_INTERVAL", "100");
        command.env("OTEL_EXPORTER_OTLP_TIMEOUT", "300").env("OTEL_BSP_SCHEDULE_DELAY", "100");
        let child = command.stdout(Stdio::null()).spawn().unwrap();
        let proxy = Self(child);
        let until = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < until, "it does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        proxy
    }
}

const PATIENCE: Duration = Duration::from_secs(30);

/// What a page answers, whose server wants to be called by its address.
fn ask(port: u16, method: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("{method} {path} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(" 200 "), "{path}: {answer}");
    body.to_owned()
}

/// The figure of the admin's page whose line begins so.
fn figure(admin: u16, start: &str) -> u64 {
    let stats = ask(admin, "GET", "/stats");
    let line = stats.lines().find_map(|line| line.strip_prefix(start));
    line.unwrap_or_else(|| panic!("{start}: {stats}")).trim().parse().unwrap()
}

/// How the collector treats requests from now on.
fn mode(collector: &Peer, mode: &str) {
    ask(collector.ports[0], "POST", &format!("/mode?{mode}"));
}

/// All that the collector took, oldest first.
fn taken(collector: &Peer, page: &str) -> Vec<Value> {
    let text = ask(collector.ports[0], "GET", page);
    let Value::Array(requests) = serde_json::from_str(&text).unwrap() else { panic!("{text}") };
    requests
}

/// The points of a metric in a request, and the metric.
fn metric<'r>(request: &'r Value, name: &str, kind: &str) -> Option<&'r Value> {
    let scopes = request["resourceMetrics"][0]["scopeMetrics"].as_array()?;
    let mut metrics = scopes.iter().filter_map(|scope| scope["metrics"].as_array()).flatten();
    metrics.find(|metric| metric["name"] == name).map(|metric| &metric[kind])
}

/// 64 bits are texts in JSON.
fn number(value: &Value) -> u64 {
    value.as_str().map_or_else(|| value.as_u64(), |text| text.parse().ok()).unwrap()
}

fn attribute<'v>(attributes: &'v Value, key: &str) -> Option<&'v str> {
    let pairs = attributes.as_array()?;
    pairs.iter().find(|pair| pair["key"] == key)?["value"]["stringValue"].as_str()
}

/// The calls that a request tells of.
fn calls(request: &Value) -> Option<u64> {
    let sum = metric(request, "mesh.calls", "sum")?;
    let points = sum["dataPoints"].as_array()?;
    Some(points.iter().map(|point| number(&point["asInt"])).sum())
}

async fn eventually_calls(collector: &Peer, wanted: u64) -> Value {
    let until = Instant::now() + PATIENCE;
    loop {
        let taken = taken(collector, "/metrics");
        if let Some(found) = taken.into_iter().find(|request| calls(request) == Some(wanted)) {
            return found;
        }
        assert!(Instant::now() < until, "{wanted} calls are never told");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn call(port: u16, count: usize) {
    let mesh = mesh(port, "");
    for _ in 0..count {
        let answer = send(&mesh, get(Version::HTTP_11, "/seen")).await;
        assert_eq!(answer.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Go: tests/interop/install"]
async fn a_collector_reads_metrics_as_they_are_meant() {
    let (go, collector) = (crate::go::start(), collector());
    let directory = tempfile::tempdir().unwrap();
    let [port, admin] = free_ports();
    let _proxy = Proxy::start(directory.path(), [port, admin], go.ports[0], collector.ports[1]);
    call(port, 10).await;
    let request = eventually_calls(&collector, 10).await;
    let resource = &request["resourceMetrics"][0]["resource"]["attributes"];
    assert_eq!(attribute(resource, "service.name"), Some("shop"), "{resource}");
    assert_eq!(attribute(resource, "zone"), Some("eu-1"), "{resource}");
    assert!(attribute(resource, "service.instance.id").is_some(), "{resource}");
    let sum = metric(&request, "mesh.calls", "sum").unwrap();
    assert_eq!((&sum["isMonotonic"], number(&sum["aggregationTemporality"])), (&true.into(), 2));
    let point = &sum["dataPoints"][0];
    assert_eq!(attribute(&point["attributes"], "cluster"), Some("app"), "{point}");
    assert_eq!(attribute(&point["attributes"], "status"), Some("200"), "{point}");
    assert!(number(&point["startTimeUnixNano"]) < number(&point["timeUnixNano"]), "{point}");
    let histogram = metric(&request, "mesh.call_duration", "histogram").unwrap();
    let point = &histogram["dataPoints"][0];
    let (counts, bounds) = (&point["bucketCounts"], &point["explicitBounds"]);
    let counts = counts.as_array().unwrap();
    assert_eq!(counts.len(), bounds.as_array().unwrap().len() + 1, "{point}");
    assert_eq!(counts.iter().map(number).sum::<u64>(), 10, "{point}");
    assert_eq!(number(&point["count"]), 10, "{point}");
    let sum = point["sum"].as_f64().unwrap();
    assert!(sum > 0.0 && sum < 60.0, "{point}");
    assert!(metric(&request, "mesh.endpoints", "gauge").is_some());
    assert!(figure(admin, "mesh_telemetry_exported_total{signal=\"metrics\"}") > 10);
    assert_eq!(
        figure(admin, "mesh_telemetry_dropped_total{signal=\"metrics\",reason=\"rejected\"}"),
        0
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Go: tests/interop/install"]
async fn a_collector_that_hangs_is_down_or_busy_costs_no_call() {
    let (go, collector) = (crate::go::start(), collector());
    let directory = tempfile::tempdir().unwrap();
    let [port, admin] = free_ports();
    mode(&collector, "hang");
    let _proxy = Proxy::start(directory.path(), [port, admin], go.ports[0], collector.ports[1]);
    let dropped = |reason: &str| {
        format!("mesh_telemetry_dropped_total{{signal=\"metrics\",reason=\"{reason}\"}}")
    };
    let until = Instant::now() + PATIENCE;
    let mut calls = 0;
    let mut most = 0;
    while figure(admin, &dropped("timeout")) == 0 {
        assert!(Instant::now() < until, "nothing is dropped");
        call(port, 20).await;
        calls += 20;
        most = most.max(figure(admin, "mesh_telemetry_queued{signal=\"metrics\"}"));
    }
    let stats = ask(admin, "GET", "/stats");
    assert!(most <= stats.lines().count() as u64, "one batch: {most}");
    assert!(taken(&collector, "/metrics").is_empty());
    // Whoever is busy says when to come again, and is not asked before.
    mode(&collector, "busy");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(figure(admin, &dropped("export_failed")) > 0);
    mode(&collector, "ok");
    eventually_calls(&collector, calls).await;
    // It goes away, and nobody minds.
    drop(collector);
    let failed = figure(admin, &dropped("export_failed"));
    let until = Instant::now() + PATIENCE;
    while figure(admin, &dropped("export_failed")) == failed {
        assert!(Instant::now() < until, "nothing is dropped");
        call(port, 20).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Go: tests/interop/install"]
async fn a_collector_has_the_spans_of_what_its_callers_sampled() {
    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    let (go, collector) = (crate::go::start(), collector());
    let directory = tempfile::tempdir().unwrap();
    let [port, admin] = free_ports();
    let _proxy = Proxy::start(directory.path(), [port, admin], go.ports[0], collector.ports[1]);
    let mesh = mesh(port, "");
    let mut seen = Vec::new();
    for traceparent in [None, Some("00"), Some("01")] {
        let mut request = get(Version::HTTP_11, "/seen?secret");
        if let Some(flags) = traceparent {
            let value = format!("00-{TRACE}-b7ad6b7169203331-{flags}").parse().unwrap();
            request.headers_mut().insert("traceparent", value);
        }
        seen.push(send(&mesh, request).await.json()["headers"]["traceparent"].clone());
    }
    assert_eq!(seen[0], Value::Null, "nothing is begun here");
    assert_eq!(seen[1], format!("00-{TRACE}-b7ad6b7169203331-00"));
    let until = Instant::now() + PATIENCE;
    while figure(admin, "mesh_telemetry_exported_total{signal=\"spans\"}") < 2 {
        assert!(Instant::now() < until, "no spans");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let requests = taken(&collector, "/traces");
    assert!(!requests.iter().any(|request| request.to_string().contains("secret")));
    let scopes = requests.iter().map(|request| &request["resourceSpans"][0]);
    let scopes = scopes.inspect(|resource| {
        let attributes = &resource["resource"]["attributes"];
        assert_eq!(attribute(attributes, "service.name"), Some("shop"), "{resource}");
    });
    let spans = scopes.filter_map(|resource| resource["scopeSpans"][0]["spans"].as_array());
    let spans: Vec<_> = spans.flatten().collect();
    assert_eq!(spans.len(), 2, "{spans:?}");
    let of = |kind: u64| spans.iter().find(|span| number(&span["kind"]) == kind).unwrap();
    let (server, client) = (of(2), of(3));
    assert_eq!((&server["traceId"], &client["traceId"]), (&TRACE.into(), &TRACE.into()));
    assert_eq!(server["parentSpanId"], "b7ad6b7169203331");
    assert_eq!(client["parentSpanId"], server["spanId"]);
    let own = client["spanId"].as_str().unwrap();
    assert_eq!(seen[2], format!("00-{TRACE}-{own}-01"));
    assert_eq!(attribute(&server["attributes"], "mesh.listener"), Some("outbound|web"), "{server}");
    assert_eq!(attribute(&client["attributes"], "mesh.cluster"), Some("app"), "{client}");
    let time = |span: &Value, key: &str| number(&span[key]);
    let inside = time(server, "startTimeUnixNano") <= time(client, "startTimeUnixNano");
    assert!(inside && time(client, "startTimeUnixNano") < time(client, "endTimeUnixNano"));
}
