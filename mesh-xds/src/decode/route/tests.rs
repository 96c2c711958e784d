//! What route configurations mean, and what is wrong with them.

mod fields;
mod meaning;
mod meaning_action;
mod properties;
mod rate_limits;
mod refused;
mod refused_action;
mod retry;
mod round_trip;
mod routing;
mod skipped;

use super::pb;
use crate::decode::{Context, Decoded, decode};
use crate::{Resource, ResourceType, XdsRouteConfiguration};
use envoy_types::pb::envoy::config::core::v3 as pb_core;
use envoy_types::pb::envoy::r#type::matcher::v3 as matcher;
use envoy_types::pb::envoy::r#type::v3 as types;
use envoy_types::pb::google::protobuf::{Any, BoolValue, Duration, UInt32Value};
use mesh_core::model::{self, Route};
use mesh_core::router::Router;
use prost::Message;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A configuration of one virtual host with one route, to `c`.
pub(in crate::decode) fn base() -> pb::RouteConfiguration {
    let action = pb::RouteAction {
        cluster_specifier: Some(pb::route_action::ClusterSpecifier::Cluster("c".into())),
        ..Default::default()
    };
    let matcher = pb::RouteMatch {
        path_specifier: Some(pb::route_match::PathSpecifier::Prefix("/".into())),
        ..Default::default()
    };
    let route = pb::Route {
        r#match: Some(matcher),
        action: Some(pb::route::Action::Route(action)),
        ..Default::default()
    };
    let host = pb::VirtualHost {
        name: "all".into(),
        domains: vec!["*".into()],
        routes: vec![route],
        ..Default::default()
    };
    pb::RouteConfiguration { name: "r".into(), virtual_hosts: vec![host], ..Default::default() }
}

fn host(message: &mut pb::RouteConfiguration) -> &mut pb::VirtualHost {
    &mut message.virtual_hosts[0]
}

fn route(message: &mut pb::RouteConfiguration) -> &mut pb::Route {
    &mut host(message).routes[0]
}

fn matches(message: &mut pb::RouteConfiguration) -> &mut pb::RouteMatch {
    route(message).r#match.as_mut().unwrap()
}

fn action(message: &mut pb::RouteConfiguration) -> &mut pb::RouteAction {
    match route(message).action.as_mut() {
        Some(pb::route::Action::Route(action)) => action,
        other => panic!("{other:?}"),
    }
}

fn retry(message: &mut pb::RouteConfiguration) -> &mut pb::RetryPolicy {
    action(message)
        .retry_policy
        .get_or_insert_with(|| pb::RetryPolicy { retry_on: "5xx".into(), ..Default::default() })
}

fn redirect(message: &mut pb::RouteConfiguration) -> &mut pb::RedirectAction {
    route(message).action = Some(pb::route::Action::Redirect(Default::default()));
    match route(message).action.as_mut() {
        Some(pb::route::Action::Redirect(redirect)) => redirect,
        other => panic!("{other:?}"),
    }
}

fn direct(message: &mut pb::RouteConfiguration, status: u32) -> &mut pb::DirectResponseAction {
    let response = pb::DirectResponseAction { status, ..Default::default() };
    route(message).action = Some(pb::route::Action::DirectResponse(response));
    match route(message).action.as_mut() {
        Some(pb::route::Action::DirectResponse(response)) => response,
        other => panic!("{other:?}"),
    }
}

/// A split of `a` and `b`.
fn split(message: &mut pb::RouteConfiguration, a: u32, b: u32) -> &mut pb::WeightedCluster {
    use pb::route_action::ClusterSpecifier;
    let part = |name: &str, weight| pb::weighted_cluster::ClusterWeight {
        name: name.into(),
        weight: number(weight),
        ..Default::default()
    };
    let clusters = vec![part("a", a), part("b", b)];
    let split = pb::WeightedCluster { clusters, ..Default::default() };
    action(message).cluster_specifier = Some(ClusterSpecifier::WeightedClusters(split));
    match action(message).cluster_specifier.as_mut() {
        Some(ClusterSpecifier::WeightedClusters(split)) => split,
        other => panic!("{other:?}"),
    }
}

fn path(message: &mut pb::RouteConfiguration, specifier: pb::route_match::PathSpecifier) {
    matches(message).path_specifier = Some(specifier);
}

/// Adds a condition on a header.
fn header<'m>(
    message: &'m mut pb::RouteConfiguration,
    name: &str,
    kind: impl Into<Option<pb::header_matcher::HeaderMatchSpecifier>>,
) -> &'m mut pb::HeaderMatcher {
    matches(message).headers.push(pb::HeaderMatcher {
        name: name.into(),
        header_match_specifier: kind.into(),
        ..Default::default()
    });
    matches(message).headers.last_mut().unwrap()
}

fn string(pattern: matcher::string_matcher::MatchPattern) -> matcher::StringMatcher {
    matcher::StringMatcher { ignore_case: false, match_pattern: Some(pattern) }
}

fn regex(text: &str) -> matcher::RegexMatcher {
    matcher::RegexMatcher { regex: text.into(), ..Default::default() }
}

fn substitution(pattern: &str, substitution: &str) -> matcher::RegexMatchAndSubstitute {
    matcher::RegexMatchAndSubstitute {
        pattern: Some(regex(pattern)),
        substitution: substitution.into(),
    }
}

fn add(name: &str, value: &str) -> pb_core::HeaderValueOption {
    pb_core::HeaderValueOption {
        header: Some(pb_core::HeaderValue {
            key: name.into(),
            value: value.into(),
            raw_value: vec![],
        }),
        ..Default::default()
    }
}

fn millis(millis: i64) -> Option<Duration> {
    let nanos = i32::try_from(millis % 1000 * 1_000_000).unwrap();
    Some(Duration { seconds: millis / 1000, nanos })
}

fn number(value: u32) -> Option<UInt32Value> {
    Some(UInt32Value { value })
}

fn flag(value: bool) -> Option<BoolValue> {
    Some(BoolValue { value })
}

pub(in crate::decode) fn packed(message: &str, value: Vec<u8>) -> Any {
    Any { type_url: format!("type.googleapis.com/{message}"), value }
}

fn extension(name: &str) -> pb_core::TypedExtensionConfig {
    pb_core::TypedExtensionConfig { name: name.into(), typed_config: None }
}

fn share(numerator: u32, denominator: i32) -> pb_core::RuntimeFractionalPercent {
    pb_core::RuntimeFractionalPercent {
        default_value: Some(types::FractionalPercent { numerator, denominator }),
        runtime_key: String::new(),
    }
}

fn read(message: &pb::RouteConfiguration) -> Decoded {
    decode(ResourceType::RouteConfiguration, &message.encode_to_vec(), &Context::default())
}

/// What was decoded, which the router takes: nothing is accepted here that is refused later.
#[track_caller]
fn accepted(decoded: &Decoded) -> Arc<XdsRouteConfiguration> {
    let Ok(Resource::RouteConfiguration(routes)) = &decoded.resource else {
        panic!("{decoded:#?}")
    };
    Router::compile(&routes.model, &BTreeMap::<Arc<str>, u32>::new(), None).unwrap();
    assert_eq!(routes.clusters.len(), routes.model.virtual_hosts.len());
    routes.clone()
}

/// Edits the base and compares what is found: `! path: text` is an error, `~ path: text` is reported as
/// ignored, and there is nothing else. `H` is the virtual host, `R` its route. `rule` says why.
#[track_caller]
fn check(rule: &str, edit: impl FnOnce(&mut pb::RouteConfiguration), expected: &[&str]) -> Decoded {
    let mut message = base();
    edit(&mut message);
    let decoded = read(&message);
    let errors: Vec<String> = match &decoded.resource {
        Ok(_) => {
            drop(accepted(&decoded));
            Vec::new()
        }
        Err(errors) => {
            errors.iter().map(|error| format!("! {}: {}", error.path, error.message)).collect()
        }
    };
    let ignored =
        decoded.ignored.iter().map(|ignored| format!("~ {}: {}", ignored.path, ignored.reason));
    let found: Vec<String> = errors.into_iter().chain(ignored).collect();
    let full = |text: &str| {
        let text = text.replacen(" R.", " virtual_hosts[0].routes[0].", 1);
        let text = text.replacen(" R:", " virtual_hosts[0].routes[0]:", 1);
        text.replacen(" H.", " virtual_hosts[0].", 1).replacen(" H:", " virtual_hosts[0]:", 1)
    };
    assert_eq!(found.len(), expected.len(), "{rule}: {found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        let expected = full(expected);
        let (place, text) = expected.split_once(": ").unwrap();
        let (at, why) = found.split_once(": ").unwrap();
        assert_eq!(at, place, "{rule}: {found}");
        assert!(why.contains(text), "{rule}: {found} lacks `{text}`");
    }
    decoded
}

/// The edited base is accepted without a report, and its route is the base's with `expected` done to it.
#[track_caller]
fn means(
    rule: &str,
    edit: impl FnOnce(&mut pb::RouteConfiguration),
    expected: impl FnOnce(&mut Route),
) {
    let found = accepted(&check(rule, edit, &[])).model.virtual_hosts[0].routes[0].clone();
    let action = model::RouteAction::Forward(model::ForwardAction::to("c"));
    let mut route = Route::new("all.routes[0]", model::RouteMatch::any(), action);
    expected(&mut route);
    assert_eq!(*found, route, "{rule}");
}

/// The forwarding action of a model's route.
fn forward(route: &mut Route) -> &mut model::ForwardAction {
    match &mut route.action {
        model::RouteAction::Forward(forward) => forward,
        other => panic!("{other:?}"),
    }
}
