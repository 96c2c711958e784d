//! What good documents mean.

use super::*;
use crate::model::matcher::{HeaderMatcherKind, StringPattern};
use crate::model::outlier_detection::CapRule;
use crate::model::tls::TlsRoots;
use crate::model::{
    AppendAction, Cluster, ClusterSpecifier, Discovery, DnsLookupFamily, Domain, ForwardAction,
    Fraction, HashSource, HeaderMutation, HostRewrite, LbAlgorithm, PathMatcher, PathRewrite,
    Protocol, RetryOn, Route, RouteAction, RoutingPriority, SplitBy, TlsPolicy, VirtualHost,
};
use crate::update::{Mode, UnknownHosts};
use std::sync::Arc;
use std::time::Duration;

const EVERYTHING: &str = include_str!("everything.yaml");

fn everything() -> ConfigUpdate {
    let loaded = read(EVERYTHING);
    let unused: Vec<_> = loaded.diagnostics.iter().filter(|d| d.code != "unused_cluster").collect();
    assert!(unused.is_empty(), "{unused:#?}");
    loaded.update.unwrap()
}

fn host(update: &ConfigUpdate) -> &VirtualHost {
    &update.route_configuration.virtual_hosts[0]
}

fn route(update: &ConfigUpdate, index: usize) -> &Route {
    &host(update).routes[index]
}

#[track_caller]
fn forward(route: &Route) -> &ForwardAction {
    match &route.action {
        RouteAction::Forward(forward) => forward,
        other => panic!("{other:?}"),
    }
}

fn cluster<'u>(update: &'u ConfigUpdate, name: &str) -> &'u Cluster {
    &update.clusters[name].cluster
}

#[test]
fn the_top_of_the_document() {
    let update = everything();
    assert_eq!(update.mode, Mode::Enforce);
    assert_eq!(update.unknown_hosts, UnknownHosts::Passthrough);
    assert_eq!(&*update.origin.source, "a.yaml");
    assert_eq!(update.origin.version.len(), 16);
    assert_eq!(update.route_configuration.headers.response.len(), 1);
    assert_eq!(update.clusters.len(), 9);
}

#[test]
fn a_virtual_host() {
    let update = everything();
    let host = host(&update);
    assert_eq!(&*host.name, "reviews");
    let domains = ["reviews", "reviews.shop:9080", "*.reviews.internal"];
    assert_eq!(host.domains, domains.map(|text| Domain::parse(text).unwrap()));
    assert!(host.include_request_attempt_count);
    let retry = host.retry_policy.as_ref().unwrap();
    assert_eq!(retry.retry_on, RetryOn::SERVER_ERROR | RetryOn::UNAVAILABLE);
    let removed = &host.headers.request[0];
    assert_eq!(*removed, HeaderMutation::Remove("x-internal".parse().unwrap()));
    assert!(matches!(
        &host.headers.request[2],
        HeaderMutation::Append { action: AppendAction::AddIfAbsent, .. }
    ));
}

#[test]
fn matchers() {
    let update = everything();
    let matcher = &route(&update, 0).matcher;
    assert_eq!(&*route(&update, 0).name, "by-version");
    assert_eq!(matcher.path, PathMatcher::PathSeparatedPrefix("/v2".into()));
    assert!(!matcher.case_sensitive);
    assert_eq!(matcher.methods, [http::Method::GET, http::Method::HEAD]);
    assert_eq!(matcher.runtime_fraction, Some(Fraction::per_million(125_000)));
    let header = |name: &str| {
        let found: Vec<_> = matcher.headers.iter().filter(|h| h.name == name).collect();
        found[0].clone()
    };
    let HeaderMatcherKind::String(version) = header("version").kind else { panic!() };
    assert_eq!(version.pattern, StringPattern::Exact("v2".into()));
    assert_eq!(header("x-old").kind, HeaderMatcherKind::Present(true));
    assert!(header("x-old").invert);
    assert_eq!(header("x-level").kind, HeaderMatcherKind::Range(1..10));
    assert!(header("x-level").treat_missing_as_empty);
    assert_eq!(matcher.headers.iter().filter(|h| h.name == "accept").count(), 3);
    assert_eq!(matcher.query_parameters.len(), 5);
    assert_eq!(matcher.query_parameters[0].value, None);
}

#[test]
fn grpc_services_and_methods_are_paths() {
    let update = everything();
    let list = &route(&update, 1).matcher;
    assert_eq!((&list.path, list.grpc), (&PathMatcher::Path("/shop.Reviews/List".into()), true));
    let service = &route(&update, 2).matcher;
    assert_eq!(service.path, PathMatcher::Prefix("/shop.Reviews/".into()));
    let any = &route(&update, 3).matcher;
    assert_eq!((&any.path, any.grpc), (&PathMatcher::Prefix("/any".into()), true));
}

#[test]
fn splits() {
    let update = everything();
    let ClusterSpecifier::Split(split) = &forward(route(&update, 1)).cluster else { panic!() };
    let weights: Vec<_> = split.clusters.iter().map(|p| (&*p.cluster, p.weight)).collect();
    assert_eq!(weights, [("reviews-v1", 90), ("reviews-v2", 10)]);
    assert!(matches!(&split.by, SplitBy::Hash(inputs) if inputs.len() == 2));
    let ClusterSpecifier::Split(split) = &forward(route(&update, 2)).cluster else { panic!() };
    assert_eq!(split.by, SplitBy::HeaderValue("x-draw".parse().unwrap()));
    assert_eq!(split.clusters[0].headers.request.len(), 1);
}

#[test]
fn options_of_forwarding() {
    let update = everything();
    let options = forward(route(&update, 2));
    assert_eq!(options.timeout, Duration::ZERO);
    let limits = options.max_stream_duration.unwrap();
    assert_eq!(limits.max_stream_duration, Some(Duration::from_secs(3600)));
    assert_eq!(limits.grpc_timeout_header_max, Some(Duration::from_secs(7200)));
    assert_eq!(options.idle_timeout, Some(Duration::from_secs(300)));
    assert_eq!(options.priority, RoutingPriority::High);
    assert!(!options.transparent_retry && options.peek_trailers_wait);
    assert!(options.hedge_policy.unwrap().hedge_on_per_try_timeout);
    let retry = options.retry_policy.as_ref().unwrap();
    assert_eq!(retry.retriable_status_codes, [409, 503]);
    assert_eq!(retry.back_off.max_interval, Duration::from_secs(1));
    assert_eq!(retry.rate_limited_back_off.as_ref().unwrap().reset_headers.len(), 2);
    assert!(!retry.previous_hosts);
    let hash = &forward(route(&update, 0)).hash_policy;
    assert!(hash[0].terminal && hash.len() == 8);
    assert_eq!(hash[5].source, HashSource::ChannelId);
    assert_eq!(hash[7].source, HashSource::PeerIdentity);
}

#[test]
fn actions_and_rewrites() {
    let update = everything();
    let ClusterSpecifier::Header(name) = &forward(route(&update, 3)).cluster else { panic!() };
    assert_eq!(name, "x-cluster");
    let RouteAction::Redirect(redirect) = &route(&update, 4).action else { panic!() };
    assert_eq!((redirect.status.as_u16(), redirect.port), (308, Some(8443)));
    assert_eq!(redirect.path, Some(PathRewrite::Full("/new".into())));
    let RouteAction::DirectResponse(answer) = &route(&update, 7).action else { panic!() };
    assert_eq!((answer.status.as_u16(), &answer.body[..]), (200, &b"pong"[..]));
    let rewrites: Vec<_> =
        [0, 8, 9, 10].map(|i| forward(route(&update, i)).host_rewrite.clone()).into();
    assert!(matches!(rewrites[0], Some(HostRewrite::Auto)));
    assert!(matches!(rewrites[1], Some(HostRewrite::Literal(_))));
    assert!(matches!(rewrites[2], Some(HostRewrite::Header(_))));
    assert!(matches!(rewrites[3], Some(HostRewrite::PathRegex { .. })));
    let off = forward(route(&update, 10)).retry_policy.as_ref().unwrap();
    assert_eq!((off.retry_on, off.num_retries), (RetryOn::NONE, 0));
    assert_eq!(&*route(&update, 11).name, "reviews.routes[11]");
}

#[test]
fn clusters_and_endpoints() {
    let update = everything();
    let v1 = cluster(&update, "reviews-v1");
    assert_eq!(v1.protocol, Protocol::Http2);
    assert_eq!(v1.circuit_breakers.default.max_retries, Some(3));
    assert_eq!(v1.circuit_breakers.max_connections_per_endpoint, Some(2));
    assert_eq!(v1.connection.keepalive_interval, Duration::from_secs(30));
    assert_eq!(v1.connection.idle_timeout, Duration::ZERO);
    assert_eq!(v1.retry_budget.concurrency.unwrap().min_retry_concurrency, 5);
    let TlsPolicy::On(tls) = &v1.tls else { panic!() };
    assert_eq!(tls.roots, TlsRoots::Pem(PEM.into()));
    assert_eq!(tls.san.len(), 2);
    let endpoints = update.clusters["reviews-v1"].endpoints.as_ref().unwrap();
    assert_eq!(endpoints.localities.len(), 2);
    let far = &endpoints.localities[1];
    assert_eq!((&*far.locality.zone, far.priority, far.endpoints[0].weight), ("b", 1, 2));
    let orders = update.clusters["orders"].endpoints.as_ref().unwrap();
    let weights: Vec<_> = orders.localities.iter().map(|l| (l.weight, l.priority)).collect();
    assert_eq!(weights, [(3, 0), (1, 0), (1, 1)]);
    let drops = orders.drop_overloads.iter();
    let drops: Vec<_> = drops.map(|d| (&*d.category, d.share.as_per_million())).collect();
    assert_eq!(drops, [("throttle", 5_000), ("lb", 100_000)]);
}

#[test]
fn names_are_resolved_elsewhere() {
    let update = everything();
    let Discovery::StrictDns(one) = &cluster(&update, "reviews-v2").discovery else { panic!() };
    assert_eq!(one.names, [(Arc::from("reviews-v2.internal"), 8080)]);
    assert_eq!(update.clusters["reviews-v2"].endpoints, None);
    let Discovery::StrictDns(two) = &cluster(&update, "names").discovery else { panic!() };
    assert_eq!((two.names.len(), two.respect_ttl), (2, false));
    assert_eq!(two.min_refresh_rate, Duration::from_secs(2));
    assert_eq!(two.lookup_family, Some(DnsLookupFamily::V6Only));
    assert_eq!(one.lookup_family, None);
    assert!(matches!(cluster(&update, "db").discovery, Discovery::LogicalDns(_)));
}

#[test]
fn load_balancing_and_ejection() {
    let update = everything();
    let lb = |name| &cluster(&update, name).lb_policy;
    assert_eq!(lb("reviews-v1").algorithm, LbAlgorithm::least_request());
    let ring = lb("reviews-v2");
    assert!(matches!(
        ring.algorithm,
        LbAlgorithm::RingHash {
            minimum_ring_size: 2048,
            maximum_ring_size: 4096,
            hash_balance_factor: Some(125)
        }
    ));
    assert_eq!((ring.panic_threshold, ring.fail_traffic_on_panic), (0, true));
    assert_eq!(ring.slow_start.unwrap().window, Duration::from_secs(30));
    assert_eq!(ring.hash_policy.len(), 1);
    assert!(lb("orders").locality_weighted);
    assert_eq!(lb("own").algorithm, LbAlgorithm::Custom("my_policy".into()));
    assert_eq!(lb("hashed").algorithm, LbAlgorithm::Custom("my_policy".into()));
    assert_eq!(lb("hashed").hash_policy.len(), 1);
    let rules = cluster(&update, "reviews-v2").outlier_detection.as_ref().unwrap();
    assert_eq!((rules.consecutive_5xx, rules.cap_rule), (None, CapRule::Grpc));
    assert_eq!(rules.local_origin_success_rate, None);
    assert_eq!(rules.failure_percentage.unwrap().threshold, 50);
    assert!(cluster(&update, "turns").outlier_detection.is_some());
    assert!(!cluster(&update, "reviews-v2").retry_budget.enabled);
}

#[test]
fn defaults_fill_what_is_left_out_and_nothing_deeper() {
    let update = good(
        "version: 1
defaults:
  route: { timeout: 3s, retry: { retry_on: [5xx], num_retries: 7 } }
  cluster: { connect_timeout: 9s, circuit_breakers: { max_requests: 1, max_connections: 1 } }
virtual_hosts:
  plain: { routes: [{ cluster: a }] }
  own: { routes: [{ cluster: b, timeout: 1s, retry: { retry_on: [reset] } }] }
  shared: { retry: { retry_on: [reset] }, routes: [{ cluster: a }] }
clusters:
  a: { dns: \"a:80\" }
  b: { dns: \"b:80\", connect_timeout: 1s, circuit_breakers: { max_requests: 5 } }
",
    );
    let hosts = &update.route_configuration.virtual_hosts;
    let forward = |index: usize| forward(&hosts[index].routes[0]);
    assert_eq!(forward(0).timeout, Duration::from_secs(3));
    assert_eq!(forward(0).retry_policy.as_ref().unwrap().num_retries, 7);
    assert_eq!(forward(1).timeout, Duration::from_secs(1));
    assert_eq!(forward(1).retry_policy.as_ref().unwrap().num_retries, 1, "taken whole");
    assert_eq!(forward(2).retry_policy, None, "the virtual host's wins over the default");
    assert_eq!(cluster(&update, "a").connection.connect_timeout, Duration::from_secs(9));
    let breakers = cluster(&update, "b").circuit_breakers.default;
    assert_eq!((breakers.max_requests, breakers.max_connections), (5, 1024));
}

#[test]
fn variables_work_in_every_scalar() {
    let environment = given(&[("PORT", "81"), ("N", "4"), ("CLUSTER", "one")]);
    let text = with_routes("{ cluster: \"${CLUSTER}\", timeout: \"${T:-2}s\", headers: { request: { set: { x: \"$${N}\" } } }, retry: { retry_on: [5xx], num_retries: \"${N}\" } }")
        .replace("one:80", "one:${PORT}")
        .replace("cluster: two", "cluster: one");
    let loaded = read_all(&[&text], &environment);
    let errors: Vec<_> =
        loaded.diagnostics.iter().filter(|d| d.severity == Severity::Error).collect();
    assert!(errors.is_empty(), "{errors:#?}");
    let update = loaded.update.unwrap();
    let route = route(&update, 0);
    assert_eq!(forward(route).cluster, ClusterSpecifier::Cluster("one".into()));
    assert_eq!(forward(route).timeout, Duration::from_secs(2));
    assert_eq!(forward(route).retry_policy.as_ref().unwrap().num_retries, 4);
    assert!(matches!(&route.headers.request[0],
        HeaderMutation::Append { value, .. } if value == "${N}"));
    let Discovery::StrictDns(dns) = &cluster(&update, "one").discovery else { panic!() };
    assert_eq!(dns.names[0].1, 81);
}

#[test]
fn documents_unite_by_name() {
    let a = "version: 1\nvirtual_hosts:\n  x: { routes: [{ cluster: one }] }\n";
    let b = "version: 1\nmode: observe\ndefaults: { cluster: { connect_timeout: 3s } }\nclusters:\n  one: { dns: \"one:80\" }\n";
    let loaded = read_all(&[a, b], &Given::default());
    assert_eq!(summary(&loaded), [""; 0]);
    let update = loaded.update.unwrap();
    assert_eq!((update.mode, &*update.origin.source), (Mode::Observe, "a.yaml, b.yaml"));
    assert_eq!(cluster(&update, "one").connection.connect_timeout, Duration::from_secs(3));
}

#[test]
fn no_document_is_no_configuration() {
    let loaded = load(&[], &(), &Bounds::default());
    assert!(loaded.update.is_none() && loaded.diagnostics.is_empty());
}

#[test]
fn variables_may_hold_the_words_that_are_compared() {
    let text = "version: ${V:-1}
virtual_hosts:
  a:
    routes:
      - split: { one: 1, two: 1 }
        split_by: ${BY:-random}
        retry: ${R:-off}
clusters:
  one:
    dns: 'one:80'
    retry_budget: '${B:-off}'
    outlier_detection:
      success_rate: ${S:-off}
      consecutive_5xx: ${C:-off}
      consecutive_gateway_failure: ${G:-7}
  two: { dns: 'two:80', outlier_detection: '${O:-off}' }
";
    let update = good(text);
    let forward = forward(route(&update, 0));
    assert_eq!(forward.retry_policy.as_ref().map(|policy| policy.num_retries), Some(0));
    assert!(
        matches!(&forward.cluster, ClusterSpecifier::Split(split) if split.by == SplitBy::Random)
    );
    let one = cluster(&update, "one");
    assert!(!one.retry_budget.enabled);
    let rules = one.outlier_detection.as_ref().unwrap();
    assert_eq!((rules.success_rate, rules.consecutive_5xx), (None, None));
    assert_eq!(rules.consecutive_gateway_failure, Some(7));
    assert_eq!(cluster(&update, "two").outlier_detection, None);
    // What is no such word is said to be wrong, and what is not defined is said once.
    let wrong = |old: &str, new: &str| summary(&read(&text.replace(old, new)));
    assert_eq!(wrong("${V:-1}", "${V:-2}"), ["unsupported_version 1:10"]);
    assert_eq!(wrong("${V:-1}", "${V}"), ["undefined_variable 1:10"]);
    assert_eq!(wrong("${R:-off}", "${R}"), ["undefined_variable 7:16"]);
}
