//! `mesh proxy --otlp`: what a collector that is no good does to it, and what its variables say. What a good one
//! gets: `mesh-tower/tests/it/otlp.rs`, `tests/interop/otlp.rs`.

use crate::proxy::{PATIENCE, Place, Running, WEB, page, routes, server};
use std::net::TcpListener;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

/// Connections are taken, and nothing is ever said.
#[test]
fn a_collector_that_says_nothing_holds_up_no_call_and_no_end() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = format!("http://{}", silent.local_addr().unwrap());
    let place = Place::new(&(routes(server("hello", Duration::ZERO)) + WEB));
    let mut command = place.proxy(&["--admin", "127.0.0.1:0", "--otlp", &to]);
    command.env("OTEL_METRIC_EXPORT_INTERVAL", "50").env("OTEL_EXPORTER_OTLP_TIMEOUT", "100");
    let mut running = Running::start(&mut command);
    let line = running.line();
    let admin = line.strip_prefix("admin on http://").unwrap().trim_end_matches('/');
    running.line();
    let lost = "mesh_telemetry_dropped_total{signal=\"metrics\",reason=\"timeout\"} ";
    let until = Instant::now() + PATIENCE;
    loop {
        assert!(place.ask("web.sock").ends_with("hello"));
        let stats = page(admin, "GET /stats");
        assert!(stats.contains("mesh_telemetry_exported_total{signal=\"metrics\"} 0\n"), "{stats}");
        assert!(stats.contains("mesh_telemetry_queued{signal=\"metrics\"} "), "{stats}");
        let dropped = stats.lines().find_map(|line| line.strip_prefix(lost));
        if dropped.is_some_and(|dropped| dropped != "0") {
            break;
        }
        assert!(Instant::now() < until, "{stats}");
        thread::sleep(Duration::from_millis(20));
    }
    running.signal("TERM");
    assert_eq!(running.ended().code(), Some(0));
    assert!(silent.accept().is_ok(), "it was asked");
}

#[test]
fn what_cant_be_used_ends_it_at_once() {
    let place = Place::new(&(routes(server("hello", Duration::ZERO)) + WEB));
    let says = |arguments: &[&str], variable: Option<(&str, &str)>, parts: &[&str]| {
        let mut command = place.proxy(arguments);
        let output = command.envs(variable).stdout(Stdio::null()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(parts.iter().all(|part| said.contains(part)), "{said}");
    };
    says(&["--otlp", "127.0.0.1:4317"], None, &["--otlp", "127.0.0.1:4317", "write a URL"]);
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:4317/v1/metrics");
    says(&[], Some(endpoint), &[endpoint.0, endpoint.1, "no path", "[otlp]"]);
    let timeout = ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s");
    says(&["--otlp", "http://127.0.0.1:1"], Some(timeout), &[timeout.0, "`10s`", "milliseconds"]);
}

#[test]
fn a_variable_turns_all_of_it_off() {
    let place = Place::new(&(routes(server("hello", Duration::ZERO)) + WEB));
    let mut command = place.proxy(&["--admin", "127.0.0.1:0", "--otlp", "http://127.0.0.1:1"]);
    let running = Running::start(command.env("OTEL_SDK_DISABLED", "true"));
    let line = running.line();
    let admin = line.strip_prefix("admin on http://").unwrap().trim_end_matches('/');
    running.line();
    let stats = page(admin, "GET /stats");
    assert!(stats.contains("mesh_snapshot_swaps_total"), "{stats}");
    assert!(!stats.contains("mesh_telemetry_"), "{stats}");
}
