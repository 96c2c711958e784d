//! What `mesh proxy` is told: `outbound`, `forward` of a port, ports of bytes.

use super::port::{port, told};
use super::*;
use crate::explain::{InboundRequest, explain_inbound};
use crate::head::RequestHead;
use crate::inbound::{Carries, CompiledListener};
use crate::model::{
    Address, Capture, ClusterSpecifier, ForwardAction, ForwardTo, Listener, Protocol,
    ProxyProtocol, RouteAction, TlsPolicy,
};
use crate::proxy::detect::Beginning;
use crate::random::SplitMix64;
use crate::router::{Decision, Router};
use std::time::Duration;

pub(super) const FILE: &str = include_str!("proxy.yaml");

fn update() -> ConfigUpdate {
    let loaded = read(FILE);
    loaded.update.unwrap_or_else(|| panic!("{:#?}", loaded.diagnostics))
}

/// What the routes do with a request that came to the port of this name, whatever its own authority is.
fn route(update: &ConfigUpdate, port: &str) -> ForwardAction {
    let listener = &update.listeners[port];
    let authority = listener.forward.as_ref().and_then(|forward| forward.authority()).unwrap();
    let slots: BTreeMap<Arc<str>, u32> = update.clusters.keys().cloned().zip(0..).collect();
    let router = Router::compile(&update.route_configuration, &slots, None).unwrap();
    let (method, headers) = (http::Method::GET, http::HeaderMap::new());
    let head = RequestHead::new(&method, authority, "/a", &headers);
    let decision = router.route(&head, &mut SplitMix64::new(1)).unwrap();
    let Decision::Forward { target, .. } = decision else { panic!("{decision:?}") };
    let target = router.targets().nth(target as usize).unwrap();
    let RouteAction::Forward(forward) = &target.route.model().action else { panic!() };
    forward.clone()
}

fn listener<'u>(update: &'u ConfigUpdate, name: &str) -> &'u Listener {
    &update.listeners[name]
}

#[test]
fn a_port_by_the_authority_of_each_request() {
    let update = update();
    let web = listener(&update, "outbound|web");
    assert_eq!(web.address, Some(Address::Socket("127.0.0.1:15001".parse().unwrap())));
    let forward = web.forward.as_ref().unwrap();
    assert_eq!((&forward.to, forward.authority()), (&ForwardTo::EachAuthority, None));
    assert_eq!(forward.idle_timeout, Some(Duration::from_secs(3600)));
    assert!(forward.is_outbound() && !web.proxy_protocol);
    let chain = &web.filter_chains[0];
    let http = chain.http.as_ref().unwrap();
    assert!(chain.tls.is_none() && http.http_filters.is_empty() && !http.path.normalize);
}

#[test]
fn a_port_of_one_cluster_has_the_options_of_a_route() {
    let update = update();
    let reviews = listener(&update, "outbound|reviews");
    assert!(reviews.filter_chains[0].http.is_some());
    let action = route(&update, "outbound|reviews");
    assert_eq!(action.cluster, ClusterSpecifier::Cluster("reviews".into()));
    assert_eq!((action.timeout, action.retry_policy.is_some()), (Duration::from_secs(3), true));
}

#[test]
fn a_port_of_bytes_is_told_by_its_clusters() {
    let update = update();
    let db = listener(&update, "outbound|db");
    assert!(db.filter_chains[0].http.is_none() && db.proxy_protocol);
    let idle = db.forward.as_ref().unwrap().idle_timeout;
    assert_eq!(idle, Some(Duration::from_secs(300)));
    let action = route(&update, "outbound|db");
    let ClusterSpecifier::Split(split) = &action.cluster else { panic!("{action:?}") };
    assert_eq!((split.clusters.len(), action.idle_timeout), (2, None));
    assert_eq!(update.clusters["db"].cluster.proxy_protocol, Some(ProxyProtocol::V2));
    // Authorities are compared in lower case.
    assert_eq!(route(&update, "outbound|Other").hash_policy.len(), 1);
}

#[test]
fn the_application_is_a_cluster_of_its_own() {
    let update = update();
    let application = |name: &str| &update.clusters[name];
    let web = application("inbound|web");
    assert_eq!((web.cluster.protocol, &web.cluster.tls), (Protocol::Auto, &TlsPolicy::Off));
    assert_eq!(web.endpoints.as_ref().map(|endpoints| endpoints.len()), Some(1));
    assert_eq!(route(&update, "web").timeout, Duration::ZERO);
    let grpc = application("inbound|grpc");
    assert_eq!(grpc.cluster.protocol, Protocol::Http2);
    assert_eq!(grpc.cluster.connection.connect_timeout, Duration::from_secs(1));
    assert_eq!(listener(&update, "grpc").forward.as_ref().unwrap().idle_timeout, None);
    let other = route(&update, "other").cluster;
    assert_eq!(other, ClusterSpecifier::Cluster("reviews".into()));
    assert!(!update.clusters.contains_key("inbound|other"));
}

#[test]
fn of_bytes_only_who_connects_is_asked() {
    let update = update();
    let port = listener(&update, "bytes");
    let chain = &port.filter_chains[0];
    assert!(chain.http.is_none() && port.proxy_protocol);
    assert_eq!(chain.network_rbac.len(), 2);
    let cluster = &update.clusters["inbound|bytes"].cluster;
    let expected = (Protocol::Tcp, Some(ProxyProtocol::V1));
    assert_eq!((cluster.protocol, cluster.proxy_protocol), expected);
}

#[test]
fn what_a_port_carries_is_found_out() {
    let update = update();
    let chain = |name: &str| Arc::clone(&listener(&update, name).filter_chains[0]);
    let any = chain("any");
    assert_eq!(any.detect, Some(Duration::from_secs(2)));
    // It is judged as HTTP, until it turns out to be bytes.
    assert!(any.http.is_some() && any.network_rbac.is_empty());
    assert_eq!(update.clusters["inbound|any"].cluster.protocol, Protocol::Auto);
    let captured = chain("outbound|any");
    assert_eq!(captured.detect, Some(Duration::from_secs(5)));
    assert!(captured.http.is_some());
    for declared in ["bytes", "web", "outbound|web", "outbound|captured"] {
        assert_eq!(chain(declared).detect, None, "{declared}");
    }
}

/// What becomes of bytes at a port of these keys: the number of filters that are asked, or why they are refused.
#[track_caller]
fn bytes_at(keys: &str) -> String {
    let text = port(&format!("protocol: detect, forward: \"127.0.0.1:1\", {keys}"));
    let loaded = read(&text);
    let update = loaded.update.unwrap_or_else(|| panic!("{keys}: {:?}", loaded.diagnostics));
    let compiled = CompiledListener::compile(&update.listeners["web"], None).unwrap();
    let told = compiled.chains().iter().map(|chain| {
        match chain.detection().unwrap().decide(Beginning::Other) {
            Ok(Carries::Bytes(filters)) => filters.len().to_string(),
            Ok(Carries::Requests) => "requests".to_owned(),
            Err(needs) => needs.to_string(),
        }
    });
    told.collect::<Vec<_>>().join("; ")
}

#[test]
fn bytes_pass_where_only_from_is_asked() {
    assert_eq!(bytes_at("allow: []"), "1");
    let from = "deny: [{ from: { ip: 10.0.0.0/8 } }], allow: [{ from: authenticated }]";
    assert_eq!(bytes_at(from), "2");
    assert_eq!(bytes_at(&format!("{from}, proxy_protocol: true")), "2");
    // A permissive port is two chains.
    assert_eq!(bytes_at(&format!("{from}, mtls: permissive")), "2; 2");
    assert_eq!(bytes_at(&format!("{from}, forward_client_cert: sanitize")), "2");
    let path = "match: { prefix: /admin }";
    assert_eq!(
        bytes_at(&format!("deny: [{{ {path} }}], allow: [{{ from: anyone }}]")),
        "the policy `deny[0]` of `deny` looks at requests"
    );
    assert_eq!(
        bytes_at(&format!("allow: [{{ from: anyone }}, {{ name: some, from: anyone, {path} }}]")),
        "the policy `some` of `allow` looks at requests"
    );
    let all = "allow: [{ from: anyone }]";
    for (more, why) in [
        ("rate_limit: { requests: 1, per: 1s }", "`rate_limit` is asked about requests"),
        ("limits: { max_body_bytes: 5 }", "there are limits of requests"),
    ] {
        assert_eq!(bytes_at(&format!("{all}, {more}")), why);
    }
}

#[test]
fn what_becomes_of_bytes_is_explained() {
    let explained = |keys: &str| {
        let update = read(&port(&format!("mtls: off, forward: \"127.0.0.1:1\", {keys}"))).update;
        let compiled = CompiledListener::compile(&update.unwrap().listeners["web"], None).unwrap();
        explain_inbound(&compiled, &InboundRequest::new("/")).to_string()
    };
    let all = "allow: [{ from: anyone }]";
    assert!(!explained(all).contains("not HTTP"));
    let passed = explained(&format!("{all}, protocol: detect"));
    assert!(passed.contains("\nnot HTTP    passed on as bytes, by the same rules\n"), "{passed}");
    let limited = explained(&format!("{all}, protocol: detect, limits: {{ max_headers: 5 }}"));
    assert!(limited.contains("\nnot HTTP    refused: there are limits of requests\n"), "{limited}");
}

#[test]
fn mistakes_of_ports_that_find_out() {
    let check = |keys: &str, code: &str, part: &str| told(&port(keys), code, part);
    let all = "allow: [{ from: anyone }]";
    check(&format!("{all}, protocol: detect"), "inconsistent_values", "forward: ");
    let forward = "forward: \"127.0.0.1:1\"";
    let late = format!("{all}, {forward}, detect_timeout: 1s");
    check(&late, "misplaced_key", "protocol: detect");
    check(&format!("{late}, protocol: tcp"), "misplaced_key", "protocol: detect");
    check(&format!("{all}, {forward}, protocol: detekt"), "unknown_word", "did you mean `detect`");
    let zero = format!("{all}, {forward}, protocol: detect, detect_timeout: 0s");
    check(&zero, "out_of_range", "");
    let proxied = "forward: { address: \"1.2.3.4:5\", proxy_protocol: v1 }";
    check(&format!("{all}, protocol: detect, {proxied}"), "misplaced_key", "protocol: tcp");
    let cluster = format!("{all}, protocol: detect, forward: {{ cluster: db }}");
    let bytes = "clusters: { db: { endpoints: [\"127.0.0.1:2\"], protocol: tcp } }\n";
    told(&(port(&cluster) + bytes), "inconsistent_values", "takes HTTP, too");

    let check = |keys: &str, code: &str, part: &str| told(&outbound(keys), code, part);
    let at = "listen: \"127.0.0.1:1\"";
    check(&format!("{at}, protocol: detect"), "inconsistent_values", "`capture`");
    let cluster = format!("{at}, protocol: detect, capture: 80, cluster: web");
    check(&cluster, "inconsistent_values", "leave `protocol` out");
    check(&format!("{at}, detect_timeout: 1s"), "misplaced_key", "protocol: detect");
    good(&outbound(&format!("{at}, protocol: detect, detect_timeout: 1s, capture: [80]")));
}

/// A document with clusters for HTTP and for bytes, and the port `p` of `outbound` of these keys.
fn outbound(keys: &str) -> String {
    format!(
        "version: 1\nclusters: {{ web: {{ dns: \"a:80\" }}, db: {{ dns: \"b:5\", protocol: tcp }} }}\noutbound: {{ p: {{ {keys} }} }}\n"
    )
}

#[test]
fn mistakes_of_outbound() {
    let check = |keys: &str, code: &str, part: &str| told(&outbound(keys), code, part);
    let at = "listen: \"127.0.0.1:1\"";
    check("cluster: web", "missing_key", "`listen` is missing");
    check(&format!("{at}, cluster: wep"), "unknown_cluster", "did you mean `web`");
    check(&format!("{at}, cluster: web, split: {{ db: 1 }}"), "conflicting_keys", "keep one of");
    check(&format!("{at}, protocol: tcp"), "missing_key", "names where its bytes go");
    check(&format!("{at}, protocol: tcp, cluster: web"), "inconsistent_values", "speaks HTTP");
    check(&format!("{at}, protocol: http, cluster: db"), "inconsistent_values", "plain TCP");
    check(&format!("{at}, split: {{ web: 1, db: 1 }}"), "inconsistent_values", "`web` speaks HTTP");
    check(&format!("{at}, timeout: 1s"), "misplaced_key", "routes say it");
    good(&outbound(&format!("{at}, idle_timeout: 5m")));
    check(&format!("{at}, cluster: db, retry: off"), "misplaced_key", "protocol: tcp");
    check(&format!("{at}, cluster: web, split_by: random"), "misplaced_key", "without `split`");
    check("listen: \"0.0.0.0:1\"", "outbound_opened 3:26", "127.0.0.1:1");
    check("listen: \"[::]:1\", open: false", "outbound_opened", "open: true");
    check(&format!("{at}, hash: {{ regex: \"(\" }}, cluster: web"), "missing_key", "");
    good(&outbound("listen: \"0.0.0.0:1\", open: true"));
    let open = outbound("listen: \"0.0.0.0:1\", open: true");
    for passes in ["mode: observe", "unknown_hosts: passthrough", "unknown_hosts: log"] {
        told(&format!("{open}{passes}\n"), "outbound_opened", "leads anybody anywhere");
    }
    good(&outbound("listen: \"[::ffff:127.0.0.1]:1\""));
}

#[test]
fn what_a_port_captures() {
    let of = |keys: &str| {
        let loaded = read(&outbound(&format!("listen: \"127.0.0.1:1\", {keys}")));
        let update = loaded.update.unwrap_or_else(|| panic!("{keys}: {:?}", loaded.diagnostics));
        listener(&update, "outbound|p").capture.clone()
    };
    assert_eq!(of("capture: true"), Some(Capture::Rest));
    assert_eq!(of("capture: false"), None);
    assert_eq!(of("open: false"), None);
    assert_eq!(of("capture: 80"), Some(Capture::Ports(vec![80])));
    assert_eq!(of("capture: [80, 65535]"), Some(Capture::Ports(vec![80, 65_535])));
    // Bytes go where they were meant to.
    assert_eq!(of("capture: 443, protocol: tcp"), Some(Capture::Ports(vec![443])));
    let check = |keys: &str, code: &str, part: &str| {
        told(&outbound(&format!("listen: \"127.0.0.1:1\", {keys}")), code, part);
    };
    check("capture: 0", "out_of_range", "");
    check("capture: [80, 65536]", "out_of_range", "");
    check("capture: []", "inconsistent_values", "nothing is captured");
    check("capture: some", "wrong_type", "");
    check("capture: [80, 80]", "inconsistent_values", "port 80 are captured already");
    let unix = outbound("listen: \"unix:/s\", capture: true");
    told(&unix, "inconsistent_values", "this one is a Unix socket");
    let two = |one: &str, other: &str, address: &str| {
        format!(
            "version: 1\noutbound: {{ p: {{ listen: \"127.0.0.1:1\", capture: {one} }}, q: {{ listen: \"{address}:2\", capture: {other} }} }}\n"
        )
    };
    told(&two("true", "true", "127.0.0.1"), "inconsistent_values", "is captured already");
    told(&two("[1, 2]", "2", "127.0.0.1"), "inconsistent_values", "port 2 are captured already");
    good(&two("true", "true", "[::1]"));
    good(&two("true", "[80]", "127.0.0.1"));
}

#[test]
fn mistakes_of_forward() {
    let check = |keys: &str, code: &str, part: &str| told(&port(keys), code, part);
    check("allow: [], forward: { protocol: http1 }", "missing_key", "`address` or `cluster`");
    check("allow: [], forward: { address: \"1.2.3.4\" }", "invalid_address", "port is missing");
    check("allow: [], forward: { cluster: x }", "unknown_cluster", "no cluster `x`");
    let both = "allow: [], forward: { cluster: x, address: \"1.2.3.4:5\" }";
    check(both, "conflicting_keys", "exclude each other");
    let of_cluster = "allow: [], forward: { cluster: x, protocol: http1 }";
    check(of_cluster, "misplaced_key", "the cluster says it");
    let proxied = "allow: [], forward: { address: \"1.2.3.4:5\", proxy_protocol: v1 }";
    check(proxied, "misplaced_key", "protocol: tcp");
    for forward in ["127.0.0.1:8443", "0.0.0.0:8443", "[::ffff:127.0.0.1]:8443"] {
        let keys = format!("listen: \"0.0.0.0:8443\", allow: [], forward: \"{forward}\"");
        check(&keys, "forward_loop", "where the application itself listens");
    }
    let itself = "clusters: { own: { endpoints: [\"127.0.0.9:1\", \"127.0.0.1:8443\"] } }\n";
    let keys = "listen: \"0.0.0.0:8443\", allow: [], forward: { cluster: own }";
    told(
        &(port(keys) + itself),
        "forward_loop",
        "`127.0.0.1:8443` of the cluster `own` is this port",
    );
    let another = itself.replace("8443", "8444");
    assert!(read(&(port(keys) + &another)).update.is_some());
    let elsewhere = "listen: \"127.0.0.1:1\", allow: [], forward: \"127.0.0.2:1\"";
    assert!(read(&port(elsewhere)).update.is_some());
}

#[test]
fn limits_of_a_port_of_outbound() {
    let text = outbound("listen: \"127.0.0.1:1\", limits: { max_headers: 7, idle_timeout: 0s }");
    let update = read(&text).update.unwrap();
    let port = update.listeners.values().next().unwrap();
    let http = port.filter_chains[0].http.as_ref().unwrap();
    assert_eq!((http.limits.max_headers, http.timeouts.idle), (7, None));
    assert_eq!(http.timeouts.stream_flush, Some(Duration::from_secs(300)));
    let bytes = outbound(
        "listen: \"127.0.0.1:1\", capture: true, protocol: tcp, limits: { max_headers: 7 }",
    );
    told(&bytes, "misplaced_key", "`limits`");
}

#[test]
fn mistakes_of_ports_of_bytes() {
    let check = |keys: &str, code: &str, part: &str| told(&port(keys), code, part);
    let bytes = |keys: &str| format!("protocol: tcp, {keys}");
    let matching = bytes("allow: [{ from: anyone, match: { prefix: / } }]");
    check(&matching, "misplaced_key", "no requests");
    check(&bytes("allow: [], limits: { max_headers: 5 }"), "misplaced_key", "`limits`");
    check(&bytes("allow: [], rate_limit: { requests: 1, per: 1s }"), "misplaced_key", "rate_limit");
}

#[test]
fn ports_listen_in_one_place_each() {
    let text = outbound("listen: \"127.0.0.1:1\"")
        + "inbound: { q: { listen: \"127.0.0.1:1\", mtls: off, allow: [] } }\n";
    told(&text, "duplicate_listen", "listened at already");
    let two = |one: &str, two: &str| {
        format!(
            "inbound: {{ p: {{ listen: \"{one}\", mtls: off, allow: [] }}, q: {{ listen: \"{two}\", mtls: off, allow: [] }} }}\n"
        )
    };
    for (one, other) in [
        ("0.0.0.0:1", "127.0.0.1:1"),
        ("127.0.0.1:1", "0.0.0.0:1"),
        ("[::]:1", "10.0.0.1:1"),
        ("[::]:1", "0.0.0.0:1"),
        ("[::ffff:127.0.0.1]:1", "127.0.0.1:1"),
        ("[::]:1", "[::1]:1"),
    ] {
        told(&two(one, other), "duplicate_listen", &format!("by `{one}`"));
    }
    for (one, other) in
        [("0.0.0.0:1", "[::1]:1"), ("0.0.0.0:1", "127.0.0.1:2"), ("127.0.0.1:1", "127.0.0.2:1")]
    {
        let text = outbound("listen: \"127.0.0.1:9\"") + &two(one, other);
        assert!(read(&text).update.is_some(), "{one} {other}");
    }
}
