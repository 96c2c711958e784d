//! Filters that ask somebody outside.

use super::{config_of, override_of};
use crate::decode::common::Walk;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::route::v3 as route;
use envoy_types::pb::envoy::extensions::filters::http::{
    ext_authz::v3 as authz, jwt_authn::v3 as jwt, ratelimit::v3 as limit,
};
use envoy_types::pb::google::protobuf::{Any, Duration as PbDuration, Empty};
use mesh_core::model::http_filter::*;
use mesh_core::model::{HttpFilterConfig, HttpFilterOverride};
use prost::{Message, Name};
use std::time::Duration;

fn any<M: Message + Name>(message: &M) -> Any {
    Any { type_url: M::type_url(), value: message.encode_to_vec() }
}

/// What a filter says, or everything that is wrong with it.
fn read<M: Message + Name>(message: &M) -> Result<HttpFilterConfig, String> {
    let mut walk = Walk::default();
    let found = config_of(&mut walk, &any(message)).unwrap();
    let (errors, _) = walk.into_parts();
    let errors: Vec<_> =
        errors.iter().map(|error| format!("{}: {}", error.path, error.message)).collect();
    match found {
        Some(found) if errors.is_empty() => Ok(found),
        _ => Err(errors.join("; ")),
    }
}

fn read_route<M: Message + Name>(message: &M) -> Option<HttpFilterOverride> {
    override_of(&mut Walk::default(), &any(message)).unwrap()
}

pub(super) fn grpc(cluster: &str) -> core::GrpcService {
    let target =
        core::grpc_service::EnvoyGrpc { cluster_name: cluster.into(), ..Default::default() };
    core::GrpcService {
        target_specifier: Some(core::grpc_service::TargetSpecifier::EnvoyGrpc(target)),
        ..Default::default()
    }
}

pub(super) fn uri(cluster: &str, timeout: Option<i64>) -> core::HttpUri {
    core::HttpUri {
        uri: "https://issuer/keys".into(),
        http_upstream_type: Some(core::http_uri::HttpUpstreamType::Cluster(cluster.into())),
        timeout: timeout.map(|seconds| PbDuration { seconds, nanos: 0 }),
    }
}

pub(super) fn remote(uri: core::HttpUri) -> jwt::JwtAuthentication {
    let remote = jwt::RemoteJwks { http_uri: Some(uri), ..Default::default() };
    let provider = jwt::JwtProvider {
        issuer: "me".into(),
        jwks_source_specifier: Some(jwt::jwt_provider::JwksSourceSpecifier::RemoteJwks(remote)),
        jwt_cache_config: Some(jwt::JwtCacheConfig::default()),
        ..Default::default()
    };
    let mut message = jwt::JwtAuthentication::default();
    message.providers.insert("p".into(), provider);
    message
}

fn rule(requires: jwt::jwt_requirement::RequiresType) -> jwt::RequirementRule {
    let requires = jwt::JwtRequirement { requires_type: Some(requires) };
    jwt::RequirementRule {
        r#match: Some(route::RouteMatch {
            path_specifier: Some(route::route_match::PathSpecifier::Prefix("/".into())),
            ..Default::default()
        }),
        requirement_type: Some(jwt::requirement_rule::RequirementType::Requires(requires)),
    }
}

#[test]
fn tokens_have_envoys_defaults() {
    let mut message = remote(uri("keys", Some(5)));
    use jwt::jwt_requirement::RequiresType;
    message.rules = vec![rule(RequiresType::ProviderName("p".into()))];
    let Ok(HttpFilterConfig::JwtAuthn(filter)) = read(&message) else {
        panic!("{:?}", read(&message))
    };
    let provider = &filter.providers["p"];
    assert_eq!(provider.clock_skew, Duration::from_secs(60));
    assert_eq!((provider.cache_size, provider.max_token_bytes), (100, 4096));
    let JwksSource::Remote(remote) = &provider.jwks else { panic!("{provider:?}") };
    assert_eq!(remote.cache_duration, Duration::from_secs(600));
    assert_eq!(remote.failed_refetch, Duration::from_secs(1));
    assert_eq!(remote.http_uri.timeout, Duration::from_secs(5));
    let config = HttpFilterConfig::JwtAuthn(filter);
    assert_eq!(config.clusters().iter().map(|name| &***name).collect::<Vec<_>>(), ["keys"]);
}

#[test]
fn tokens_that_can_not_be_meant_are_refused() {
    #[track_caller]
    fn check(change: impl FnOnce(&mut jwt::JwtAuthentication), expected: &str) {
        let mut message = remote(uri("keys", Some(5)));
        change(&mut message);
        assert_eq!(read(&message).unwrap_err(), expected);
    }
    use jwt::jwt_requirement::RequiresType;
    check(
        |message| message.rules = vec![rule(RequiresType::ProviderName("q".into()))],
        ": a requirement names the provider `q`, which is not configured",
    );
    check(
        |message| *message = remote(uri("keys", None)),
        "providers[p].remote_jwks.http_uri.timeout: it is needed (Envoy: required)",
    );
    check(
        |message| *message = remote(uri("", Some(1))),
        "providers[p].remote_jwks.http_uri.cluster: it is not empty (Envoy: min_len 1)",
    );
    check(
        |message| message.providers.get_mut("p").unwrap().jwks_source_specifier = None,
        "providers[p]: a provider has keys: set `remote_jwks` or `local_jwks`",
    );
    check(
        |message| {
            let mut rule = rule(RequiresType::AllowMissing(Empty::default()));
            rule.r#match.as_mut().unwrap().tls_context = Some(Default::default());
            message.rules = vec![rule];
        },
        "rules[0].match: it has a condition that can't be looked at here",
    );
    check(
        |message| {
            let extract = jwt::ExtractOnlyWithoutValidation::default();
            message.rules = vec![rule(RequiresType::ExtractOnlyWithoutValidation(extract))];
        },
        "rules[0].requires.extract_only_without_validation: claims that nobody verified are not passed \
         on: use `allow_missing_or_failed`",
    );
}

#[test]
fn routes_say_a_part_of_it() {
    use jwt::per_route_config::RequirementSpecifier;
    let per_route = |said| jwt::PerRouteConfig { requirement_specifier: Some(said) };
    assert_eq!(
        read_route(&per_route(RequirementSpecifier::Disabled(true))),
        Some(HttpFilterOverride::Disabled)
    );
    assert_eq!(
        read_route(&per_route(RequirementSpecifier::RequirementName("n".into()))),
        Some(HttpFilterOverride::JwtRequirement("n".into()))
    );
    assert_eq!(read_route(&jwt::PerRouteConfig::default()), None);
    let mut settings = authz::CheckSettings::default();
    settings.context_extensions.insert("a".into(), "b".into());
    let said = authz::ext_authz_per_route::Override::CheckSettings(settings);
    let Some(HttpFilterOverride::ExtAuthz(said)) =
        read_route(&authz::ExtAuthzPerRoute { r#override: Some(said) })
    else {
        panic!("it says something")
    };
    assert_eq!(&*said.context_extensions["a"], "b");
}

#[test]
fn authorizers_have_envoys_defaults_and_fail_closed() {
    let services = Some(authz::ext_authz::Services::GrpcService(grpc("authz")));
    let mut message = authz::ExtAuthz { services, ..Default::default() };
    let Ok(HttpFilterConfig::ExtAuthz(filter)) = read(&message) else {
        panic!("{:?}", read(&message))
    };
    let service = GrpcService::new("authz", Duration::from_millis(200));
    assert_eq!(*filter, ExtAuthz::new(AuthzService::Grpc(service)));
    assert!(!filter.failure_mode_allow);
    message.with_request_body = Some(authz::BufferSettings::default());
    assert_eq!(
        read(&message).unwrap_err(),
        "with_request_body.max_request_bytes: 0 is not within 1 to 4194304"
    );
    assert_eq!(
        read(&authz::ExtAuthz::default()).unwrap_err(),
        ": set `grpc_service` or `http_service`"
    );
    let http = authz::HttpService {
        server_uri: Some(uri("authz", Some(1))),
        path_prefix: "check".into(),
        ..Default::default()
    };
    let services = Some(authz::ext_authz::Services::HttpService(http));
    message = authz::ExtAuthz { services, ..Default::default() };
    assert_eq!(read(&message).unwrap_err(), "http_service.path_prefix: it begins with `/`");
}

#[test]
fn limits_have_envoys_defaults() {
    use route::rate_limit::action as pb_action;
    use route::rate_limit::action::ActionSpecifier;
    let service = envoy_types::pb::envoy::config::ratelimit::v3::RateLimitServiceConfig {
        grpc_service: Some(grpc("limits")),
        transport_api_version: 2,
    };
    let mut message = limit::RateLimit {
        domain: "shop".into(),
        rate_limit_service: Some(service),
        ..Default::default()
    };
    let generic = pb_action::GenericKey { descriptor_value: "v".into(), ..Default::default() };
    let action = |action| route::rate_limit::Action { action_specifier: Some(action) };
    message.rate_limits = vec![route::RateLimit {
        actions: vec![action(ActionSpecifier::GenericKey(generic))],
        ..Default::default()
    }];
    let Ok(HttpFilterConfig::RateLimit(filter)) = read(&message) else {
        panic!("{:?}", read(&message))
    };
    let mut expected =
        RateLimit::new("shop", GrpcService::new("limits", Duration::from_millis(20)));
    expected.rules = vec![RateLimitRule::new(vec![RateLimitAction::GenericKey {
        descriptor_key: "generic_key".into(),
        descriptor_value: "v".into(),
    }])];
    assert_eq!(*filter, expected);
    message.rate_limits[0].actions =
        vec![action(ActionSpecifier::SourceCluster(Default::default()))];
    assert!(
        read(&message)
            .unwrap_err()
            .starts_with("rate_limits[0].actions[0]: the action is not supported")
    );
    message.rate_limits.clear();
    for kind in ["internal", "external"] {
        message.request_type = kind.into();
        let refused = read(&message).unwrap_err();
        assert!(refused.starts_with("request_type: nothing says here who is inside"), "{refused}");
    }
    message.request_type = "some".into();
    message.domain.clear();
    assert_eq!(
        read(&message).unwrap_err(),
        "domain: it is not empty (Envoy: min_len 1); request_type: `some` is not `internal`, `external` or \
         `both`"
    );
}
