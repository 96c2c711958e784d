//! The text is read back by a parser that knows only the format.

use super::super::cell::Access;
use super::super::fixture::{HOSTILE, LDS, busy};
use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

type Labels = Vec<(String, String)>;

/// What a text says.
#[derive(Default)]
struct Parsed {
    kinds: BTreeMap<String, String>,
    helps: BTreeSet<String>,
    samples: Vec<(String, Labels, f64)>,
}

impl Parsed {
    /// Panics where the text breaks the format.
    fn new(text: &str) -> Self {
        assert!(text.is_empty() || text.ends_with('\n'));
        let mut parsed = Self::default();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, _) = rest.split_once(' ').unwrap();
                assert!(parsed.helps.insert(name.to_owned()), "second HELP of {name}");
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                let before = parsed.kinds.insert(name.to_owned(), kind.to_owned());
                assert_eq!(before, None, "second TYPE of {name}");
            } else {
                parsed.samples.push(parse_sample(line));
            }
        }
        parsed
    }

    fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let same = |held: &Labels| {
            labels.iter().all(|(name, value)| {
                held.iter().any(|held| (held.0.as_str(), held.1.as_str()) == (*name, *value))
            })
        };
        let mut found = self.samples.iter().filter(|sample| sample.0 == name && same(&sample.1));
        let value = found.next()?.2;
        assert!(found.next().is_none(), "{name} {labels:?} is not one series");
        Some(value)
    }
}

fn parse_sample(line: &str) -> (String, Labels, f64) {
    let end = line.find(['{', ' ']).unwrap();
    let (name, mut rest) = line.split_at(end);
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (label, after) = rest.split_once("=\"").unwrap();
            let (value, after) = quoted(after);
            labels.push((label.to_owned(), value));
            rest = after;
            match rest.split_at(1) {
                (",", after) => rest = after,
                ("}", after) => break rest = after,
                _ => panic!("after a label: {rest}"),
            }
        }
    }
    (name.to_owned(), labels, rest.strip_prefix(' ').unwrap().parse().unwrap())
}

/// The text up to the closing quote, and what follows it.
fn quoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut letters = text.char_indices();
    loop {
        match letters.next().unwrap() {
            (index, '"') => return (value, &text[index + 1..]),
            (_, '\\') => match letters.next().unwrap().1 {
                'n' => value.push('\n'),
                letter @ ('\\' | '"') => value.push(letter),
                letter => panic!("escape of {letter}"),
            },
            (_, letter) => value.push(letter),
        }
    }
}

fn text(registry: &Arc<Registry>) -> String {
    super::super::Metrics::new(Arc::clone(registry)).prometheus_text()
}

/// The metric that a sample belongs to.
fn family<'a>(parsed: &Parsed, name: &'a str) -> &'a str {
    let histogram = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
    let is_histogram =
        |name: &&str| parsed.kinds.get(*name).is_some_and(|kind| kind == "histogram");
    histogram.filter(is_histogram).unwrap_or(name)
}

#[test]
fn every_metric_of_the_table_is_exported_with_its_labels() {
    let parsed = Parsed::new(&text(&busy().registry));
    let mut seen = BTreeSet::new();
    for (name, labels, _) in &parsed.samples {
        let family = family(&parsed, name);
        let metric = Metric::ALL.iter().find(|metric| metric.name() == family).unwrap();
        let names: Vec<_> = labels.iter().map(|(name, _)| name.as_str()).collect();
        let names: Vec<_> = names.into_iter().filter(|name| *name != "le").collect();
        assert_eq!(names, metric.labels(), "{name}");
        assert_eq!(parsed.kinds[family], metric.kind().as_str());
        assert!(parsed.helps.contains(family));
        seen.insert(family);
    }
    let all: BTreeSet<_> = Metric::ALL.iter().map(|metric| metric.name()).collect();
    assert_eq!(seen, all);
}

#[test]
fn no_series_comes_twice_and_metrics_are_not_mixed() {
    let parsed = Parsed::new(&text(&busy().registry));
    let mut series = BTreeSet::new();
    for (name, labels, _) in &parsed.samples {
        assert!(series.insert((name, labels)), "second {name} {labels:?}");
    }
    let mut families: Vec<_> =
        parsed.samples.iter().map(|(name, ..)| family(&parsed, name)).collect();
    families.dedup();
    assert_eq!(families.len(), Metric::ALL.len());
}

#[test]
fn values_are_what_was_counted() {
    let busy = busy();
    let parsed = Parsed::new(&text(&busy.registry));
    #[track_caller]
    fn check(parsed: &Parsed, name: &str, labels: &[(&str, &str)], expected: f64) {
        let value = parsed.value(name, labels);
        assert!(value.is_some_and(|value| (value - expected).abs() < 1e-12), "{name}: {value:?}");
    }
    let route = ("route", HOSTILE);
    check(&parsed, "mesh_calls_total", &[route, ("status", "200")], 2.0);
    check(&parsed, "mesh_calls_total", &[route, ("status", "503")], 1.0);
    check(&parsed, "mesh_calls_active", &[route], 1.0);
    check(&parsed, "mesh_call_extra_attempts_total", &[route], 6.0);
    check(&parsed, "mesh_call_duration_seconds_sum", &[route], 0.111);
    check(&parsed, "mesh_call_duration_seconds_count", &[route], 3.0);
    check(&parsed, "mesh_attempts_total", &[("locality", "eu/eu-1/a"), ("status", "200")], 2.0);
    check(&parsed, "mesh_attempts_total", &[("locality", ""), ("response_flag", "UO")], 1.0);
    check(&parsed, "mesh_attempts_active", &[], 1.0);
    check(&parsed, "mesh_attempts_pending", &[], 4.0);
    check(&parsed, "mesh_phase_seconds_count", &[("phase", "first_byte")], 3.0);
    check(&parsed, "mesh_phase_seconds_count", &[("phase", "body")], 3.0);
    check(&parsed, "mesh_retries_total", &[("outcome", "budget_exhausted")], 1.0);
    check(&parsed, "mesh_overflow_total", &[("limit", "max_requests")], 1.0);
    let ejection = [("kind", "success_rate"), ("outcome", "enforced")];
    check(&parsed, "mesh_ejections_total", &ejection, 1.0);
    check(&parsed, "mesh_endpoints", &[("state", "healthy")], 3.0);
    check(&parsed, "mesh_endpoints", &[("state", "degraded")], 0.0);
    check(&parsed, "mesh_endpoints", &[("state", "ejected")], 2.0);
    check(&parsed, "mesh_cluster_panic", &[], 0.0);
    check(&parsed, "mesh_connections_active", &[], 1.0);
    check(&parsed, "mesh_connections_closed_total", &[("reason", "idle")], 1.0);
    check(&parsed, "mesh_connections_failed_total", &[("reason", "refused")], 1.0);
    check(&parsed, "mesh_config_info", &[("source", "mesh.yaml"), ("version", "7")], 1.0);
    check(&parsed, "mesh_config_applied_timestamp_seconds", &[], 1_700_000_000.0);
    check(&parsed, "mesh_config_updates_total", &[("outcome", "rejected")], 1.0);
    check(&parsed, "mesh_config_rejected_resources", &[], 4.0);
    check(&parsed, "mesh_config_source_connected", &[], 1.0);
    let xds = [("grpc_target", "#mesh"), ("grpc_xds_server", "xds:1")];
    check(&parsed, "grpc_xds_client_connected", &xds, 1.0);
    check(&parsed, "grpc_xds_client_server_failure_total", &xds, 3.0);
    let kind = ("grpc_xds_resource_type", LDS);
    check(&parsed, "grpc_xds_client_resource_updates_valid_total", &[kind], 5.0);
    check(&parsed, "grpc_xds_client_resource_updates_invalid_total", &[kind], 1.0);
    let state = ("grpc_xds_cache_state", "nacked_but_cached");
    let resources = [("grpc_xds_authority", "#old"), state, kind];
    check(&parsed, "grpc_xds_client_resources", &resources, 2.0);
    let kind = ("resource_type", LDS);
    check(&parsed, "mesh_xds_ack_duration_seconds_sum", &[kind], 0.002);
    check(&parsed, "mesh_xds_live_duration_seconds_sum", &[kind], 0.007);
    check(&parsed, "mesh_xds_version_info", &[kind, ("version", "v9")], 1.0);
    check(&parsed, "mesh_xds_last_good_timestamp_seconds", &[kind], 1_700_000_001.0);
    check(&parsed, "mesh_config_stale_since_timestamp_seconds", &[], 1_600_000_000.0);
}

#[test]
fn state_series_go_with_the_state() {
    let mut busy = busy();
    busy.state = Arc::new(Nothing);
    let parsed = Parsed::new(&text(&busy.registry));
    assert_eq!(parsed.value("mesh_cluster_panic", &[]), None);
}

struct Nothing;

impl super::super::cluster::ReadCluster for Nothing {
    fn read(&self) -> super::super::cluster::ClusterReading {
        super::super::cluster::ClusterReading::default()
    }
}

#[test]
fn the_text_is_stable() {
    let busy = busy();
    assert_eq!(text(&busy.registry), text(&busy.registry));
}

#[test]
fn an_idle_mesh_says_only_what_is_known_of_it() {
    let registry = Registry::new();
    let _target = registry.target(&super::super::fixture::labels("v", "r", "c"));
    let parsed = Parsed::new(&text(&registry));
    assert!(parsed.samples.iter().all(|(name, ..)| !name.contains("call")));
    assert_eq!(parsed.value("mesh_snapshot_swaps_total", &[]), Some(0.0));
}

#[test]
fn exported_bounds_are_internal_ones() {
    for le in LE {
        assert!(BOUNDS.contains(&le), "{le}");
    }
    assert!(LE.is_sorted());
}

#[test]
fn seconds_are_exact_decimals() {
    let texts = [0, 1, 1_000, 250_000, 2_500_000, SECOND, 60 * SECOND, 1_000_000_010, u64::MAX]
        .map(|nanos| Seconds(nanos).to_string());
    let expected = [
        "0",
        "0.000000001",
        "0.000001",
        "0.00025",
        "0.0025",
        "1",
        "60",
        "1.00000001",
        "18446744073.709551615",
    ];
    assert_eq!(texts, expected);
}

proptest! {
    #[test]
    fn buckets_are_cumulative_and_exact(
        exponents in prop::collection::vec(1.0_f64..12.0, 0..50),
        at_bounds in prop::collection::vec(0..LE.len(), 0..20),
    ) {
        let nanos: Vec<u64> = exponents.iter().map(|exponent| 10_f64.powf(*exponent) as u64)
            .chain(at_bounds.iter().map(|index| LE[*index]))
            .collect();
        let histogram = super::super::histogram::Histogram::default();
        let durations = nanos.iter().map(|nanos| std::time::Duration::from_nanos(*nanos));
        durations.for_each(|duration| histogram.record(&Access::SHARED, duration));
        let mut snapshot = HistogramSnapshot::default();
        histogram.add_to(&mut snapshot);

        let mut text = String::new();
        super::histogram(&mut text, Metric::AttemptDuration, &["c"], &snapshot).unwrap();
        let parsed = Parsed::new(&text);
        for le in LE {
            let bound = Seconds(le).to_string();
            let count = parsed.value("mesh_attempt_duration_seconds_bucket", &[("le", &bound)]);
            let expected = nanos.iter().filter(|nanos| **nanos <= le).count() as f64;
            prop_assert_eq!(count, Some(expected));
        }
        let infinity = parsed.value("mesh_attempt_duration_seconds_bucket", &[("le", "+Inf")]);
        prop_assert_eq!(infinity, Some(nanos.len() as f64));
        let count = parsed.value("mesh_attempt_duration_seconds_count", &[("cluster", "c")]);
        prop_assert_eq!(count, infinity);
    }

    #[test]
    fn any_label_value_reads_back(value in "\\PC*|[\\\\\"\n]*") {
        let mut out = String::new();
        sample(&mut out, Metric::Hedges, &[&value], 1).unwrap();
        let (_, labels, _) = parse_sample(out.trim_end());
        prop_assert_eq!(&labels[0].1, &value);
    }
}
