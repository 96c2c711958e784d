//! Words by rows of JSON: what is wrong is refused by its path, what is not known is reported, and
//! nothing panics.

use super::super::testing::{context, eds};
use super::super::{Decoded, decode};
use crate::{Resource, ResourceType};
use envoy_types::pb::envoy::config::cluster::v3::{Cluster, OutlierDetection};
use envoy_types::pb::envoy::config::core::v3::Metadata;
use envoy_types::pb::envoy::config::route::v3 as route;
use envoy_types::pb::google::protobuf::{ListValue, Struct, Value, value::Kind};
use mesh_core::model;
use proptest::prelude::*;
use prost::Message;
use serde_json::Value as Json;

fn value(json: &Json) -> Value {
    let kind = match json {
        Json::Null => Kind::NullValue(0),
        Json::Bool(flag) => Kind::BoolValue(*flag),
        Json::Number(number) => Kind::NumberValue(number.as_f64().unwrap()),
        Json::String(text) => Kind::StringValue(text.clone()),
        Json::Array(values) => {
            Kind::ListValue(ListValue { values: values.iter().map(value).collect() })
        }
        Json::Object(_) => Kind::StructValue(structure(json)),
    };
    Value { kind: Some(kind) }
}

fn structure(json: &Json) -> Struct {
    let fields = json.as_object().unwrap().iter();
    Struct { fields: fields.map(|(key, json)| (key.clone(), value(json))).collect() }
}

fn metadata(json: &Json) -> Option<Metadata> {
    let filter_metadata = [("mesh".to_owned(), structure(json))].into();
    Some(Metadata { filter_metadata, ..Metadata::default() })
}

fn cluster(json: &Json) -> Decoded {
    let outlier_detection = Some(OutlierDetection::default());
    let message = Cluster { metadata: metadata(json), outlier_detection, ..eds() };
    decode(ResourceType::Cluster, &message.encode_to_vec(), &context())
}

/// A route to a split, with a retry policy.
fn routed(json: &Json) -> Decoded {
    use route::route_action::ClusterSpecifier;
    let part = route::weighted_cluster::ClusterWeight {
        name: "c".into(),
        weight: super::super::testing::n(1),
        ..Default::default()
    };
    let split = route::WeightedCluster { clusters: vec![part], ..Default::default() };
    let action = route::RouteAction {
        cluster_specifier: Some(ClusterSpecifier::WeightedClusters(split)),
        retry_policy: Some(route::RetryPolicy::default()),
        ..Default::default()
    };
    let any = route::route_match::PathSpecifier::Prefix("/".into());
    let one = route::Route {
        r#match: Some(route::RouteMatch { path_specifier: Some(any), ..Default::default() }),
        action: Some(route::route::Action::Route(action)),
        metadata: metadata(json),
        ..Default::default()
    };
    let host = route::VirtualHost {
        name: "h".into(),
        domains: vec!["*".into()],
        routes: vec![one],
        ..Default::default()
    };
    let message = route::RouteConfiguration {
        name: "r".into(),
        virtual_hosts: vec![host],
        ..Default::default()
    };
    decode(ResourceType::RouteConfiguration, &message.encode_to_vec(), &context())
}

fn json(text: &str) -> Json {
    serde_json::from_str(text).unwrap()
}

/// One error, and nothing else: `PATH: TEXT`, the path within the words.
#[track_caller]
fn refused(decode: fn(&Json) -> Decoded, words: &str, expected: &str) {
    let decoded = decode(&json(words));
    let errors = decoded.resource.expect_err(words);
    assert_eq!(errors.len(), 1, "{words}: {errors:?}");
    let (path, text) = expected.split_once(": ").unwrap();
    let place = format!("metadata.filter_metadata[\"mesh\"].{path}");
    assert!(errors[0].path.ends_with(&place), "{words}: {}", errors[0]);
    assert!(errors[0].message.contains(text), "{words}: {}", errors[0]);
}

#[test]
fn a_wrong_value_is_refused_by_its_path() {
    for (words, error) in [
        (r#"{"protocol": "udp"}"#, "protocol: `udp` is wrong: write `tcp`"),
        (r#"{"protocol": 1}"#, "protocol: 1 is wrong"),
        (r#"{"protocol": null}"#, "protocol: null is wrong"),
        (r#"{"lb": []}"#, "lb: a list is wrong: write a struct"),
        (r#"{"lb": {"fail_traffic_on_panic": "yes"}}"#, "lb.fail_traffic_on_panic: `yes` is wrong"),
        (r#"{"retry_budget": {"ratio": -1}}"#, "retry_budget.ratio: -1 is not within 0 to 1000"),
        (
            r#"{"retry_budget": {"min_per_second": 0.5}}"#,
            "retry_budget.min_per_second: 0.5 is wrong",
        ),
        (r#"{"retry_budget": {"min_per_second": 1e300}}"#, "retry_budget.min_per_second: 1"),
        (r#"{"retry_budget": {"window": "0s"}}"#, "retry_budget.window: `0s` is wrong"),
        (
            r#"{"retry_budget": {"window": "10"}}"#,
            "retry_budget.window: `10` is wrong: write seconds",
        ),
        (r#"{"retry_budget": {"window": "1.0000000001s"}}"#, "retry_budget.window: `1.0"),
        (
            r#"{"connection": {"happy_eyeballs_delay": "-1s"}}"#,
            "connection.happy_eyeballs_delay: `-1s`",
        ),
        (
            r#"{"connection": {"keepalive_timeout": "315576000001s"}}"#,
            "connection.keepalive_timeout: `3",
        ),
        (r#"{"lb": {"hash_policy": [{}]}}"#, "lb.hash_policy[0]: it names no input"),
        (r#"{"lb": {"hash_policy": [1]}}"#, "lb.hash_policy[0]: 1 is wrong"),
        (r#"{"lb": {"hash_policy": [{"cookie": ""}]}}"#, "lb.hash_policy[0].cookie: it is empty"),
        (
            r#"{"lb": {"hash_policy": [{"header": "a", "regex": "("}]}}"#,
            "lb.hash_policy[0].regex: `(`",
        ),
        (
            r#"{"outlier_detection": {"success_rate": "on"}}"#,
            "outlier_detection.success_rate: `on`",
        ),
    ] {
        refused(cluster, words, error);
    }
    for (words, error) in [
        (r#"{"transparent_retry": 0}"#, "transparent_retry: 0 is wrong: write `true` or `false`"),
        (r#"{"prefix_rewrite": "/a#b"}"#, "prefix_rewrite: `/a#b`"),
        (r#"{"retry_policy": {"num_retries": 101}}"#, "retry_policy.num_retries: 101 is wrong"),
        (r#"{"split_by": {"header": "a"}}"#, "split_by: a struct is wrong: write a list"),
        (r#"{"split_by": [{"header": ":a"}]}"#, "split_by[0].header: `:a` is a pseudo header"),
    ] {
        refused(routed, words, error);
    }
}

#[test]
fn what_is_not_known_is_reported_and_changes_nothing() {
    let plain = cluster(&json("{}"));
    assert_eq!(plain.ignored, []);
    let words = r#"{"x": 1, "lb": {"z": null, "custom": "unknown"}, "dns_names": ["a:1"]}"#;
    let found = cluster(&json(words));
    assert_eq!(found.resource, plain.resource);
    let paths: Vec<_> = found.ignored.iter().map(|ignored| &*ignored.path).collect();
    let at = |key: &str| format!("metadata.filter_metadata[\"mesh\"].{key}");
    assert_eq!(paths, [at("lb.custom"), at("lb.z"), at("dns_names"), at("x")]);
}

#[test]
fn metadata_of_others_is_reported() {
    let mut others = metadata(&json("{}")).unwrap();
    others.filter_metadata.insert("istio".into(), Struct::default());
    for metadata in [others, Metadata::default()] {
        let message = Cluster { metadata: Some(metadata), ..eds() };
        let found = decode(ResourceType::Cluster, &message.encode_to_vec(), &context());
        let paths: Vec<_> = found.ignored.iter().map(|ignored| &*ignored.path).collect();
        assert_eq!(paths, ["metadata"]);
    }
}

#[test]
fn a_policy_that_is_registered_in_code_is_taken() {
    let found = cluster(&json(r#"{"lb": {"custom": "org.example.Mine"}}"#));
    let Ok(Resource::Cluster(found)) = found.resource else { panic!("{found:?}") };
    let mine = model::LbAlgorithm::Custom("org.example.Mine".into());
    assert_eq!(found.model.lb_policy.algorithm, mine);
}

/// Any value under the keys that are read, three deep.
fn any_words() -> impl Strategy<Value = Json> {
    const KEYS: &[&str] = &[
        "protocol",
        "retry_budget",
        "enabled",
        "ratio",
        "min_per_second",
        "window",
        "max_retries",
        "default",
        "high",
        "lb",
        "fail_traffic_on_panic",
        "overprovisioning_factor",
        "hash_policy",
        "slow_start",
        "aggression",
        "min_weight_percent",
        "peak_ewma",
        "decay",
        "custom",
        "outlier_detection",
        "success_rate",
        "local_origin_success_rate",
        "failure_percentage",
        "local_origin_failure_percentage",
        "on",
        "threshold",
        "connection",
        "keepalive_interval",
        "retry_policy",
        "num_retries",
        "retry_on",
        "back_off",
        "base_interval",
        "retry_after",
        "split_by",
        "hash_policy_of_split_only",
        "prefix_rewrite",
        "header",
        "regex",
        "cookie",
        "ttl",
        "terminal",
        "source_ip",
    ];
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        prop_oneof![Just(0.0), Just(-1.0), 0.0..1e6, any::<f64>()].prop_map(Json::from),
        prop::sample::select(vec!["", "1s", "0.25s", "off", "on", "tcp", "a", "s", "1.s", "é"])
            .prop_map(Json::from),
    ];
    let words = leaf.prop_recursive(3, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Json::from),
            prop::collection::vec((prop::sample::select(KEYS), inner), 0..6).prop_map(|fields| {
                Json::from_iter(fields.into_iter().map(|(key, value)| (key.to_owned(), value)))
            }),
        ]
    });
    words.prop_filter("a struct", Json::is_object)
}

proptest! {
    #[test]
    fn any_words_give_a_resource_or_errors(words in any_words()) {
        for decode in [cluster, routed] {
            let (first, again) = (decode(&words), decode(&words));
            prop_assert_eq!(&first.resource, &again.resource);
            prop_assert_eq!(first.ignored, again.ignored);
            if let Err(errors) = first.resource {
                prop_assert!(!errors.is_empty());
                prop_assert!(errors.iter().all(|error| !error.message.is_empty()));
            }
        }
    }
}
