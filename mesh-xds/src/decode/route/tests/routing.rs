//! Whole ways: from Envoy's messages to where a request goes. The first rows are what other clients do
//! wrong: a condition that is dropped takes requests that it was there to keep out.

use super::*;
use envoy_types::pb::envoy::config::core::v3::Metadata;
use envoy_types::pb::google::protobuf::{Struct, Value, value::Kind};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use mesh_core::random::SplitMix64;
use mesh_core::router::Decision;
use mesh_core::{RequestHead, model::ClusterSpecifier};
use pb::header_matcher::HeaderMatchSpecifier as Header;
use pb::route_match::PathSpecifier as Path;

/// Where `POST {path}` with `headers` goes: the route of the base, edited, or the one after it to
/// `rest`.
fn goes(
    edit: impl FnOnce(&mut pb::RouteConfiguration),
    path: &str,
    headers: &[(&str, &str)],
) -> String {
    let mut message = base();
    let mut rest = route(&mut message).clone();
    rest.name = "rest".into();
    edit(&mut message);
    route(&mut message).name = "first".into();
    host(&mut message).routes.push(rest);
    let decoded = read(&message);
    let model = accepted(&decoded).model.clone();
    let slots = BTreeMap::from([("c".into(), 0)]);
    let router = Router::compile(&model, &slots, None).unwrap();
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        map.append(name, HeaderValue::from_str(value).unwrap());
    }
    let head = RequestHead::new(&Method::POST, "shop", path, &map);
    let decision = router.route(&head, &mut SplitMix64::new(1)).unwrap();
    assert!(matches!(decision, Decision::Forward { .. }));
    decision.route().name().to_string()
}

const GRPC: (&str, &str) = ("content-type", "application/grpc+proto");

#[test]
#[expect(deprecated, reason = "the old kinds are read")]
fn a_condition_takes_no_more_than_meant() {
    let on = |name: &'static str, kind: Header, invert| {
        move |m: &mut pb::RouteConfiguration| header(m, name, kind).invert_match = invert
    };
    let value = ("trace-bin", "AAE=");
    let present = || Header::PresentMatch(true);
    // gRFC A28: for gRPC, `-bin` headers are not there.
    assert_eq!(goes(on("trace-bin", present(), false), "/", &[GRPC, value]), "rest");
    assert_eq!(goes(on("trace-bin", present(), false), "/", &[value]), "first");
    // Envoy: a missing header never matches, even inverted.
    let exact = || Header::ExactMatch("v".into());
    assert_eq!(goes(on("a", exact(), true), "/", &[]), "rest");
    assert_eq!(goes(on("a", exact(), true), "/", &[("a", "w")]), "first");
    assert_eq!(goes(on("a", present(), true), "/", &[]), "first");
    // gRFC A28: several values are joined.
    assert_eq!(
        goes(on("a", Header::ExactMatch("v,w".into()), false), "/", &[("a", "v"), ("a", "w")]),
        "first"
    );
    assert_eq!(goes(on("a", Header::PrefixMatch("v".into()), false), "/", &[("a", "vw")]), "first");
    assert_eq!(goes(on(":authority", Header::ExactMatch("shop".into()), false), "/", &[]), "first");
    assert_eq!(goes(on(":method", Header::ExactMatch("GET".into()), false), "/", &[]), "rest");
    assert_eq!(goes(on(":method", Header::ExactMatch("POST".into()), false), "/", &[]), "first");
    // What can't be evaluated is skipped, never dropped.
    assert_eq!(goes(on(":path", exact(), false), "/", &[]), "rest");
    assert_eq!(goes(|m| matches(m).cookies = vec![Default::default()], "/", &[]), "rest");
    assert_eq!(goes(|m| matches(m).tls_context = Some(Default::default()), "/", &[]), "rest");
    assert_eq!(goes(|m| matches(m).grpc = Some(Default::default()), "/", &[]), "rest");
    assert_eq!(goes(|m| matches(m).grpc = Some(Default::default()), "/", &[GRPC]), "first");
}

#[test]
fn paths_lead_to_their_routes() {
    let rows = [
        (Path::Prefix("/a".into()), "/ab", "first"),
        (Path::Prefix("/a?b".into()), "/a?bc", "first"),
        (Path::Prefix(String::new()), "/x", "first"),
        (Path::Path("/a".into()), "/a?b", "first"),
        (Path::Path("/a".into()), "/a/", "rest"),
        (Path::PathSeparatedPrefix("/a".into()), "/a/b", "first"),
        (Path::PathSeparatedPrefix("/a".into()), "/ab", "rest"),
        (Path::SafeRegex(regex("/a|/b")), "/b", "first"),
        (Path::SafeRegex(regex("/a|/b")), "/bc", "rest"),
    ];
    for (specifier, text, expected) in rows {
        assert_eq!(
            goes(|m| path(m, specifier.clone()), text, &[]),
            expected,
            "{specifier:?} {text}"
        );
    }
    assert_eq!(
        goes(
            |m| {
                path(m, Path::Path("/A".into()));
                matches(m).case_sensitive = flag(false);
            },
            "/a",
            &[]
        ),
        "first"
    );
}

/// Metadata of a route as istiod writes it, a word of ours beside.
fn of_istio() -> Metadata {
    let text = |text: &str| Value { kind: Some(Kind::StringValue(text.to_owned())) };
    let said = |key: &str, value: &str| Struct { fields: [(key.to_owned(), text(value))].into() };
    let istio = said("config", "/apis/networking.istio.io/v1/namespaces/ns/virtual-service/echo");
    let ours = said("unheard_of", "x");
    Metadata {
        filter_metadata: [("istio".to_owned(), istio), ("mesh".to_owned(), ours)].into(),
        ..Metadata::default()
    }
}

/// What istiod sends to a proxyless client: routes come from the same builder as for Envoy.
#[test]
fn routes_as_istiod_sends_them() {
    const PREVIOUS: &str = "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate";
    let decoded = check(
        "Istio: core.BuildSidecarOutboundVirtualHosts",
        |m| {
            m.validate_clusters = flag(false);
            m.ignore_port_in_host_matching = true;
            m.max_direct_response_body_size_bytes = number(1 << 20);
            host(m).domains =
                vec!["echo.ns.svc.cluster.local".into(), "echo".into(), "10.0.0.1".into()];
            host(m).include_request_attempt_count = true;
            route(m).name = "default".into();
            route(m).decorator = Some(Default::default());
            route(m).metadata = Some(of_istio());
            let cluster = "outbound|7070||echo.ns.svc.cluster.local".to_owned();
            action(m).cluster_specifier =
                Some(pb::route_action::ClusterSpecifier::Cluster(cluster));
            action(m).timeout = millis(0);
            action(m).max_stream_duration = Some(pb::route_action::MaxStreamDuration {
                max_stream_duration: millis(0),
                grpc_timeout_header_max: millis(0),
                grpc_timeout_header_offset: None,
            });
            let retry = retry(m);
            retry.retry_on =
                "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"
                    .into();
            retry.num_retries = number(2);
            retry.host_selection_retry_max_attempts = 5;
            let previous = packed(PREVIOUS, Vec::new());
            retry.retry_host_predicate = vec![pb::retry_policy::RetryHostPredicate {
                name: "envoy.retry_host_predicates.previous_hosts".into(),
                config_type: Some(pb::retry_policy::retry_host_predicate::ConfigType::TypedConfig(
                    previous,
                )),
            }];
        },
        &[
            "~ validate_clusters: missing",
            "~ ignore_port_in_host_matching: port",
            "~ max_direct_response_body_size_bytes: 4096",
            "~ R.decorator: spans",
            "~ R.metadata.filter_metadata[\"mesh\"].unheard_of: it is no word",
        ],
    );
    let routes = accepted(&decoded);
    let mut found = (*routes.model.virtual_hosts[0].routes[0]).clone();
    assert_eq!(found.metadata.0.keys().map(|key| &**key).collect::<Vec<_>>(), ["istio"]);
    let forward = forward(&mut found);
    let cluster: Arc<str> = "outbound|7070||echo.ns.svc.cluster.local".into();
    assert!(routes.clusters[0].contains(&cluster));
    assert_eq!(forward.cluster, ClusterSpecifier::Cluster(cluster));
    assert!(forward.timeout.is_zero());
    assert_eq!(forward.retry_policy.as_ref().map(|policy| policy.num_retries), Some(2));
}
