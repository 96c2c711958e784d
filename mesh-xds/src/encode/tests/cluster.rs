//! Clusters: the model → Envoy's fields; their security and their endpoints are beside it.

use super::super::cluster;
use super::{short, words};
use envoy_types::pb::envoy::config::cluster::v3::{
    self as pb,
    cluster::{ClusterDiscoveryType, DiscoveryType},
};
use envoy_types::pb::envoy::extensions::clusters::aggregate::v3::ClusterConfig;
use envoy_types::pb::envoy::extensions::load_balancing_policies::{
    least_request::v3::LeastRequest, maglev::v3::Maglev, ring_hash::v3::RingHash,
    round_robin::v3::RoundRobin,
};
use envoy_types::pb::envoy::extensions::upstreams::http::v3::{
    HttpProtocolOptions, http_protocol_options::UpstreamProtocolOptions,
};
use mesh_core::model::cluster::RetryConcurrency;
use mesh_core::model::outlier_detection::{CapRule, FailurePercentage, SuccessRate};
use mesh_core::model::tls::UpstreamTls;
use mesh_core::model::{
    Cluster, Discovery, DnsOptions, HashPolicy, HashSource, LbAlgorithm, LbPolicy,
    OutlierDetection, Protocol, SlowStart, TlsPolicy,
};
use prost::{Message, Name};
use std::sync::Arc;
use std::time::Duration;

pub(super) type Look = fn(&pb::Cluster) -> String;

#[track_caller]
pub(super) fn check(
    edit: impl FnOnce(&mut Cluster),
    look: Look,
    expected: &str,
    expected_words: &str,
) {
    let mut model = Cluster::new("c");
    edit(&mut model);
    let encoded = cluster(&model);
    assert_eq!(look(&encoded), expected);
    assert_eq!(words(encoded.metadata.as_ref()), expected_words);
}

const NOTHING: Look = |_| String::new();

/// The policies of `load_balancing_policy`, by the last part of their names, and `lb_policy`.
const POLICIES: Look = |c| {
    let list = c.load_balancing_policy.iter().flat_map(|list| &list.policies);
    let names = list.filter_map(|one| one.typed_extension_config.as_ref()?.name.rsplit('.').next());
    let names: Vec<_> = names.collect();
    format!("{:?} {}", c.lb_policy(), names.join(","))
};

/// The first of `load_balancing_policy`.
fn first<M: Message + Name + Default>(c: &pb::Cluster) -> M {
    let list = c.load_balancing_policy.as_ref().expect("a list");
    let extension = list.policies[0].typed_extension_config.as_ref().expect("a policy");
    let any = extension.typed_config.as_ref().expect("a configuration");
    assert_eq!(any.type_url, M::type_url());
    M::decode(&*any.value).expect("a message")
}

fn http(c: &pb::Cluster) -> HttpProtocolOptions {
    let key = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    HttpProtocolOptions::decode(&*c.typed_extension_protocol_options[key].value).expect("a message")
}

#[test]
fn discovery() {
    let kind: Look = |c| {
        let names =
            c.load_assignment.iter().flat_map(|a| &a.endpoints).flat_map(|l| &l.lb_endpoints);
        let kind = match c.cluster_discovery_type {
            Some(ClusterDiscoveryType::Type(kind)) => DiscoveryType::try_from(kind).ok(),
            _ => None,
        };
        format!("{} {} {}", short(&kind), names.count(), c.eds_cluster_config.is_some())
    };
    check(|_| {}, kind, "Eds 0 true", "");
    let mut options = DnsOptions::new("a", 1);
    options.lookup_family = Some(mesh_core::model::DnsLookupFamily::V6Only);
    options.names.push(("b".into(), 2));
    let strict = Discovery::StrictDns(options.clone());
    check(|c| c.discovery = strict, kind, "StrictDns 2 false", "");
    options.min_refresh_rate = Duration::from_secs(1);
    let logical = Discovery::LogicalDns(options);
    let said = "{ dns_min_refresh_rate: \"1s\", dns_names: [\"a:1\", \"b:2\"] }";
    check(|c| c.discovery = logical, kind, "LogicalDns 1 false", said);
    let family: Look = |c| short(&c.dns_lookup_family());
    let default = "{ dns_lookup_family: \"default\" }";
    let strict = Discovery::StrictDns(DnsOptions::new("a", 1));
    check(|c| c.discovery = strict, family, "V4Preferred", default);
    let logical = Discovery::LogicalDns(DnsOptions::new("a", 1));
    check(|c| c.discovery = logical, family, "All", default);
}

#[test]
fn aggregates_say_what_counts_of_them() {
    let said: Look = |c| {
        let Some(ClusterDiscoveryType::ClusterType(custom)) = &c.cluster_discovery_type else {
            return String::new();
        };
        let config = custom.typed_config.as_ref().map(|config| &*config.value).unwrap_or_default();
        let clusters = ClusterConfig::decode(config).map(|config| config.clusters);
        let sets = c.circuit_breakers.iter().flat_map(|breakers| &breakers.thresholds);
        let retries: Vec<_> = sets.map(|set| short(&set.max_retries)).collect();
        let names = clusters.unwrap_or_default().join(" then ");
        format!("{} {names} {:?} {}", custom.name, c.lb_policy(), retries.join(" "))
    };
    let of =
        |names: &[&str]| Discovery::Aggregate(names.iter().map(|name| (*name).into()).collect());
    let two = of(&["a", "b"]);
    check(
        |c| {
            c.discovery = two;
            c.circuit_breakers.default.max_requests = 5;
            c.circuit_breakers.default.max_retries = Some(7);
        },
        said,
        "envoy.clusters.aggregate a then b ClusterProvided 7",
        "",
    );
    let one = of(&["a"]);
    check(
        |c| {
            c.discovery = one;
            c.retry_budget.ratio = 0.5;
        },
        said,
        "envoy.clusters.aggregate a ClusterProvided ",
        "{ retry_budget: { ratio: 0.5 } }",
    );
}

#[test]
fn load_balancing() {
    let lb = |policy: LbPolicy| move |c: &mut Cluster| c.lb_policy = policy;
    let plain = |algorithm| lb(LbPolicy::new(algorithm));
    check(|_| {}, POLICIES, "RoundRobin ", "");
    let list = "LoadBalancingPolicyConfig ";
    let check_list = |algorithm, names: &str, words: &str| {
        check(plain(algorithm), POLICIES, &format!("{list}{names}"), words);
    };
    check_list(LbAlgorithm::Random, "random,round_robin", "");
    check_list(LbAlgorithm::least_request(), "least_request,round_robin", "");
    check_list(LbAlgorithm::ring_hash(), "ring_hash", "");
    check_list(LbAlgorithm::maglev(), "maglev,round_robin", "");
    check_list(
        LbAlgorithm::peak_ewma(),
        "least_request,round_robin",
        "{ lb: { peak_ewma: { decay: \"10s\", default_rtt: \"0.03s\", failure_penalty: \"5s\" } } }",
    );
    let custom = LbAlgorithm::Custom("mine".into());
    check_list(custom, "round_robin", "{ lb: { custom: \"mine\" } }");
    let biased = LbAlgorithm::LeastRequest { choice_count: 3, active_request_bias: 0.5 };
    let look: Look = |c| {
        let policy = first::<LeastRequest>(c);
        format!("{} {}", short(&policy.choice_count), short(&policy.active_request_bias))
    };
    let bias = "3 RuntimeDouble { default_value: 0.5, runtime_key: \"mesh.active_request_bias\" }";
    check(plain(biased), look, bias, "");
    let mut ring = LbPolicy::new(LbAlgorithm::RingHash {
        minimum_ring_size: 2048,
        maximum_ring_size: 1024,
        hash_balance_factor: Some(150),
    });
    ring.hash_policy = vec![HashPolicy::new(HashSource::SourceIp)];
    let look: Look = |c| {
        let policy = first::<RingHash>(c);
        let hashing = policy.consistent_hashing_lb_config.as_ref().expect("said");
        let sizes = (policy.minimum_ring_size, policy.maximum_ring_size);
        format!(
            "{} {} {}",
            short(&sizes),
            short(&hashing.hash_balance_factor),
            hashing.hash_policy.len()
        )
    };
    let ours = "{ lb: { hash_policy: [{ source_ip: true }] } }";
    check(lb(ring), look, "(1024, 1024) 150 1", ours);
    // What comes first is Envoy's own, and needs no words.
    let mut first_of_all = LbPolicy::new(LbAlgorithm::Random);
    first_of_all.hash_policy = vec![HashPolicy::new(HashSource::SourceIp)];
    first_of_all.hash_policy_first = true;
    check(lb(first_of_all), |c| http(c).hash_policy.len().to_string(), "1", "");
    let look: Look = |c| short(&first::<Maglev>(c).table_size);
    check(plain(LbAlgorithm::maglev()), look, "65537", "");
}

#[test]
fn around_load_balancing() {
    let mut policy = LbPolicy::default();
    policy.panic_threshold = 0;
    policy.overprovisioning_factor = 100;
    policy.locality_weighted = true;
    let common: Look = |c| {
        let common = c.common_lb_config.as_ref().expect("said");
        let panic = short(&common.healthy_panic_threshold);
        format!("{panic} {}", short(&common.locality_config_specifier))
    };
    check(
        |c| c.lb_policy = policy,
        common,
        "0.0 LocalityWeightedLbConfig(LocalityWeightedLbConfig)",
        "{ lb: { overprovisioning_factor: 100 } }",
    );
    // Envoy: refused beside a `load_balancing_policy`.
    let mut policy = LbPolicy::new(LbAlgorithm::least_request());
    policy.locality_weighted = true;
    check(|c| c.lb_policy = policy.clone(), common, "50.0 None", "");
    let inner: Look = |c| short(&first::<LeastRequest>(c).locality_lb_config);
    let expected = "LocalityLbConfig { locality_config_specifier: \
                    LocalityWeightedLbConfig(LocalityWeightedLbConfig) }";
    check(|c| c.lb_policy = policy.clone(), inner, expected, "");
    let mut policy = LbPolicy::default();
    policy.fail_traffic_on_panic = true;
    let look: Look = |c| match c.common_lb_config.clone().and_then(|c| c.locality_config_specifier)
    {
        Some(pb::cluster::common_lb_config::LocalityConfigSpecifier::ZoneAwareLbConfig(zone)) => {
            format!("{} {}", short(&zone.routing_enabled), zone.fail_traffic_on_panic)
        }
        other => short(&other),
    };
    check(|c| c.lb_policy = policy, look, "0.0 true", "{ lb: { fail_traffic_on_panic: true } }");
    let mut slow = SlowStart::new(Duration::from_secs(30));
    slow.aggression = 2.0;
    let slowed = |algorithm| {
        let mut policy = LbPolicy::new(algorithm);
        policy.slow_start = Some(slow);
        move |c: &mut Cluster| c.lb_policy = policy
    };
    let legacy: Look = |c| short(&c.lb_config);
    let config = "SlowStartConfig { slow_start_window: 30s, aggression: RuntimeDouble { \
                  default_value: 2.0, runtime_key: \"mesh.slow_start_aggression\" }, \
                  min_weight_percent: 10.0 }";
    let expected =
        format!("RoundRobinLbConfig(RoundRobinLbConfig {{ slow_start_config: {config} }})");
    check(slowed(LbAlgorithm::RoundRobin), legacy, &expected, "");
    let inner: Look = |c| short(&first::<LeastRequest>(c).slow_start_config);
    check(slowed(LbAlgorithm::least_request()), inner, config, "");
    let said = "{ lb: { slow_start: { aggression: 2, min_weight_percent: 10, window: \"30s\" } } }";
    check(slowed(LbAlgorithm::Random), NOTHING, "", said);
    let said = "{ lb: { custom: \"x\" } }";
    let inner: Look = |c| short(&first::<RoundRobin>(c).slow_start_config);
    check(slowed(LbAlgorithm::Custom("x".into())), inner, config, said);
}

#[test]
fn limits() {
    let look: Look = |c| {
        let breakers = c.circuit_breakers.as_ref().expect("always said");
        let sets = breakers.thresholds.iter().map(|set| {
            let limits = (set.max_connections, set.max_pending_requests, set.max_requests);
            let (limits, retries) = (short(&limits), short(&set.max_retries));
            format!("{:?} {limits} {retries}", set.priority())
        });
        let sets: Vec<_> = sets.collect();
        let each = breakers.per_host_thresholds.iter().map(|set| short(&set.max_connections));
        format!("{}; {}", sets.join(", "), each.collect::<String>())
    };
    let default = "Default (1024, 1024, 1024) None, High (1024, 1024, 1024) None; ";
    check(|_| {}, look, default, "");
    let edit = |c: &mut Cluster| {
        c.circuit_breakers.default.max_requests = 0;
        c.circuit_breakers.high.max_connections = u32::MAX;
        c.circuit_breakers.high.max_retries = Some(7);
        c.circuit_breakers.max_connections_per_endpoint = Some(2);
    };
    check(edit, look, "Default (1024, 1024, 0) None, High (4294967295, 1024, 1024) 7; 2", "");
    let budget: Look = |c| {
        let breakers = c.circuit_breakers.as_ref().expect("always said");
        let budget = breakers.thresholds[1].retry_budget.as_ref();
        short(&budget.map(|budget| (budget.budget_percent, budget.min_retry_concurrency)))
    };
    let edit = |c: &mut Cluster| c.retry_budget.concurrency = Some(RetryConcurrency::default());
    check(edit, budget, "(20.0, 3)", "");
    let edit = |c: &mut Cluster| {
        c.retry_budget.concurrency = Some(RetryConcurrency::default());
        c.circuit_breakers.default.max_retries = Some(7);
    };
    check(edit, budget, "(20.0, 3)", "{ max_retries: { default: 7 } }");
    let edit = |c: &mut Cluster| {
        c.retry_budget.enabled = false;
        c.retry_budget.ratio = 0.5;
        c.retry_budget.min_per_second = 1;
        c.retry_budget.window = Duration::from_secs(5);
    };
    let said =
        "{ retry_budget: { enabled: false, min_per_second: 1, ratio: 0.5, window: \"5s\" } }";
    check(edit, budget, "None", said);
}

#[test]
fn outliers() {
    let outlier = |edit: fn(&mut OutlierDetection)| {
        let mut model = OutlierDetection::default();
        edit(&mut model);
        move |c: &mut Cluster| c.outlier_detection = Some(model)
    };
    fn said(c: &pb::Cluster) -> &pb::OutlierDetection {
        c.outlier_detection.as_ref().expect("said")
    }
    check(|_| {}, |c| short(&c.outlier_detection), "None", "");
    let off =
        "{ outlier_detection: { local_origin_success_rate: \"off\", success_rate: \"off\" } }";
    let rates: Look = |c| {
        let o = said(c);
        let enforced = (o.enforcing_success_rate, o.enforcing_local_origin_success_rate);
        format!("{} {}", short(&enforced), short(&o.success_rate_stdev_factor))
    };
    check(outlier(|_| {}), rates, "(100, 100) 1900", "");
    let edit = outlier(|o| (o.success_rate, o.local_origin_success_rate) = (None, None));
    check(edit, rates, "(0, 0) 1900", off);
    let edit = outlier(|o| {
        let mut local = SuccessRate::default();
        local.stdev_factor = 1000;
        o.local_origin_success_rate = Some(local);
    });
    let own = "{ outlier_detection: { local_origin_success_rate: { stdev_factor: 1000 } } }";
    check(edit, rates, "(100, 100) 1900", own);
    let runs: Look = |c| {
        let o = said(c);
        short(&(
            o.consecutive_5xx,
            o.consecutive_gateway_failure,
            o.consecutive_local_origin_failure,
        ))
    };
    check(outlier(|_| {}), runs, "(5, 5, 5)", "");
    check(outlier(|o| o.consecutive_5xx = None), runs, "(0, 5, 5)", "");
    let times: Look = |c| short(&(said(c).base_ejection_time, said(c).max_ejection_time));
    check(outlier(|_| {}), times, "(30s, 300s)", "");
    let edit = outlier(|o| o.max_ejection_time = Duration::from_secs(5));
    check(edit, times, "(30s, 30s)", "{ outlier_detection: { max_ejection_time: \"5s\" } }");
    let edit = outlier(|o| {
        o.cap_rule = CapRule::Grpc;
        o.count_cancelled_after = Some(Duration::from_secs(1));
    });
    let ours = "{ outlier_detection: { a50_cap: true, count_cancelled_after: \"1s\" } }";
    check(edit, NOTHING, "", ours);
    let failures: Look = |c| {
        let o = said(c);
        let enforced =
            (o.enforcing_failure_percentage, o.enforcing_failure_percentage_local_origin);
        format!("{} {}", short(&enforced), short(&o.failure_percentage_threshold))
    };
    check(outlier(|_| {}), failures, "(0, 0) None", "");
    let edit = outlier(|o| o.failure_percentage = Some(FailurePercentage::default()));
    let on = "{ outlier_detection: { failure_percentage: \"on\" } }";
    check(edit, failures, "(0, 0) 85", on);
}

#[test]
fn connections() {
    let upstream: Look = |c| match http(c).upstream_protocol_options {
        Some(UpstreamProtocolOptions::ExplicitHttpConfig(explicit)) => {
            let text = short(&explicit.protocol_config);
            text.split('(').next().unwrap_or_default().to_owned()
        }
        Some(UpstreamProtocolOptions::UseDownstreamProtocolConfig(_)) => "downstream".to_owned(),
        Some(UpstreamProtocolOptions::AutoConfig(_)) => "alpn".to_owned(),
        None => "none".to_owned(),
    };
    let tls = || TlsPolicy::On(Arc::new(UpstreamTls::default()));
    check(|_| {}, upstream, "downstream", "");
    check(|c| c.tls = tls(), upstream, "alpn", "");
    check(|c| c.protocol = Protocol::Http1, upstream, "HttpProtocolOptions", "");
    check(|c| c.protocol = Protocol::Http2, upstream, "Http2ProtocolOptions", "");
    let keys: Look = |c| c.typed_extension_protocol_options.keys().cloned().collect();
    let tcp = "envoy.extensions.upstreams.tcp.v3.TcpProtocolOptions";
    check(|c| c.protocol = Protocol::Tcp, keys, tcp, "{ protocol: \"tcp\" }");
    let common: Look = |c| {
        let options = http(c).common_http_protocol_options.expect("always said");
        let life = (options.idle_timeout, options.max_connection_duration);
        let (life, most) = (short(&life), short(&options.max_requests_per_connection));
        let (kib, headers) = (options.max_response_headers_kb, options.max_headers_count);
        format!("{life} {most} {} {}", short(&kib), short(&headers))
    };
    check(|_| {}, common, "(3600s, None) None 64 100", "");
    let edit = |c: &mut Cluster| {
        c.connection.idle_timeout = Duration::ZERO;
        c.connection.max_connection_age = Duration::from_secs(60);
        c.connection.max_requests_per_connection = 9;
        c.connection.max_response_head = 1500;
        c.connection.max_response_headers = 0;
    };
    let said = "{ connection: { max_response_head: 1500, max_response_headers: 0 } }";
    check(edit, common, "(0s, 60s) 9 2 1", said);
    let pings: Look = |c| match http(c).upstream_protocol_options {
        Some(UpstreamProtocolOptions::UseDownstreamProtocolConfig(config)) => {
            let http2 = config.http2_protocol_options.expect("always said");
            let pings = http2.connection_keepalive.map(|pings| (pings.interval, pings.timeout));
            format!("{} {}", short(&http2.max_concurrent_streams), short(&pings))
        }
        other => short(&other),
    };
    check(|_| {}, pings, "1024 None", "");
    let edit = |c: &mut Cluster| {
        c.connection.keepalive_interval = Duration::from_secs(3);
        c.connection.keepalive_timeout = Duration::from_secs(2);
        c.connection.keepalive_while_idle = true;
        c.connection.max_concurrent_streams = 0;
    };
    check(edit, pings, "1 (3s, 2s)", "{ connection: { max_concurrent_streams: 0 } }");
    check(
        |c| c.connection.connect_timeout = Duration::ZERO,
        |c| short(&c.connect_timeout),
        "None",
        "{ connection: { connect_timeout: \"0s\" } }",
    );
}
