//! The table of fields and what is read of filters that ask somebody agree.

use super::ask_tests::{grpc, remote, uri};
use super::{config_of, override_of};
use crate::decode::common::Walk;
use crate::decode::support::Support;
use crate::decode::support::agreement::check_fields;
use crate::decode::support::asking::ROWS;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::extensions::filters::http::{
    ext_authz::v3 as authz, jwt_authn::v3 as jwt, ratelimit::v3 as limit,
};
use envoy_types::pb::google::protobuf::Any;
use prost::{Message, Name};

#[test]
fn every_field_is_in_the_table() {
    check_fields(ROWS, "JwtAuthentication", &jwt::JwtAuthentication::default(), &[]);
    let keys: &[(&str, &[&str])] = &[("jwks_source_specifier", &["remote_jwks", "local_jwks"])];
    check_fields(ROWS, "JwtProvider", &jwt::JwtProvider::default(), keys);
    check_fields(ROWS, "RemoteJwks", &jwt::RemoteJwks::default(), &[]);
    let kinds: &[(&str, &[&str])] = &[("requirement_type", &["requires", "requirement_name"])];
    check_fields(ROWS, "RequirementRule", &jwt::RequirementRule::default(), kinds);
    let kinds: &[(&str, &[&str])] = &[("requirement_specifier", &["disabled", "requirement_name"])];
    check_fields(ROWS, "PerRouteConfig (jwt_authn)", &jwt::PerRouteConfig::default(), kinds);
    let services: &[&str] = &["grpc_service", "http_service"];
    let kinds: &[(&str, &[&str])] = &[("services", services)];
    check_fields(ROWS, "ExtAuthz", &authz::ExtAuthz::default(), kinds);
    check_fields(ROWS, "HttpService (ext_authz)", &authz::HttpService::default(), &[]);
    let kinds: &[(&str, &[&str])] = &[("service_override", services)];
    check_fields(ROWS, "CheckSettings", &authz::CheckSettings::default(), kinds);
    check_fields(ROWS, "RateLimit", &limit::RateLimit::default(), &[]);
    check_fields(ROWS, "RateLimitPerRoute", &limit::RateLimitPerRoute::default(), &[]);
}

/// Sets a field.
type Set<M> = (&'static str, fn(&mut M));

/// What `read` makes of a message agrees with the table, for each field that is not used.
#[track_caller]
fn all_agree<M: Message + Name + Clone>(
    message: &str,
    base: &M,
    sets: &[Set<M>],
    read: fn(&mut Walk, &Any) -> bool,
) {
    for (field, set) in sets {
        let mut changed = base.clone();
        set(&mut changed);
        let mut walk = Walk::default();
        let any = Any { type_url: M::type_url(), value: changed.encode_to_vec() };
        let found = read(&mut walk, &any);
        let (errors, ignored) = walk.into_parts();
        let hit = |path: &str| path.split(['.', '[']).any(|part| part == *field);
        let row = ROWS.iter().find(|row| (row.message, row.field) == (message, *field)).unwrap();
        match row.support {
            Support::Used => panic!("{message}.{field} needs no setter"),
            Support::Ignored => {
                assert!(found && errors.is_empty(), "{message}.{field}: {errors:?}");
                let told = ignored.iter().any(|ignored| hit(&ignored.path));
                assert!(told, "{message}.{field}: {ignored:?}");
            }
            Support::Refused => {
                let told = errors.iter().any(|error| hit(&error.path));
                assert!(!found && told, "{message}.{field}: {errors:?}");
            }
        }
    }
    let rows = ROWS.iter().filter(|row| row.message == message && row.support != Support::Used);
    assert_eq!(rows.count(), sets.len(), "{message}");
}

fn filter(walk: &mut Walk, any: &Any) -> bool {
    config_of(walk, any).expect("its type is known").is_some()
}

fn route(walk: &mut Walk, any: &Any) -> bool {
    override_of(walk, any).expect("its type is known").is_some()
}

#[test]
fn tokens_agree_with_the_table() {
    let base = remote(uri("keys", Some(5)));
    let sets: &[Set<jwt::JwtAuthentication>] = &[
        ("filter_state_rules", |m| m.filter_state_rules = Some(Default::default())),
        ("stat_prefix", |m| m.stat_prefix = "x".into()),
    ];
    all_agree("JwtAuthentication", &base, sets, filter);
    fn provider(message: &mut jwt::JwtAuthentication) -> &mut jwt::JwtProvider {
        message.providers.get_mut("p").unwrap()
    }
    let sets: &[Set<jwt::JwtAuthentication>] =
        &[("clear_route_cache", |m| provider(m).clear_route_cache = true)];
    all_agree("JwtProvider", &base, sets, filter);
    let sets: &[Set<jwt::JwtAuthentication>] = &[("retry_policy", |m| {
        use jwt::jwt_provider::JwksSourceSpecifier;
        match &mut provider(m).jwks_source_specifier {
            Some(JwksSourceSpecifier::RemoteJwks(remote)) => {
                remote.retry_policy = Some(Default::default());
            }
            other => panic!("{other:?}"),
        }
    })];
    all_agree("RemoteJwks", &base, sets, filter);
}

#[test]
fn authorizers_agree_with_the_table() {
    use authz::ext_authz::Services;
    let services = Some(Services::GrpcService(grpc("authz")));
    let base = authz::ExtAuthz { services, ..Default::default() };
    let sets: &[Set<authz::ExtAuthz>] = &[
        ("transport_api_version", |m| m.transport_api_version = 1),
        ("clear_route_cache", |m| m.clear_route_cache = true),
        ("typed_metadata_context_namespaces", |m| {
            m.typed_metadata_context_namespaces = vec!["x".into()];
        }),
        ("route_metadata_context_namespaces", |m| {
            m.route_metadata_context_namespaces = vec!["x".into()];
        }),
        ("route_typed_metadata_context_namespaces", |m| {
            m.route_typed_metadata_context_namespaces = vec!["x".into()];
        }),
        ("stat_prefix", |m| m.stat_prefix = "x".into()),
        ("bootstrap_metadata_labels_key", |m| m.bootstrap_metadata_labels_key = "x".into()),
        ("charge_cluster_response_stats", |m| {
            m.charge_cluster_response_stats = Some(Default::default());
        }),
        ("encode_raw_headers", |m| m.encode_raw_headers = true),
        ("decoder_header_mutation_rules", |m| {
            m.decoder_header_mutation_rules = Some(Default::default());
        }),
        ("enable_dynamic_metadata_ingestion", |m| {
            m.enable_dynamic_metadata_ingestion = Some(Default::default());
        }),
        ("filter_metadata", |m| m.filter_metadata = Some(Default::default())),
        ("emit_filter_state_stats", |m| m.emit_filter_state_stats = true),
        ("max_denied_response_body_bytes", |m| m.max_denied_response_body_bytes = 1),
        ("enforce_response_header_limits", |m| m.enforce_response_header_limits = true),
        ("emit_client_span", |m| m.emit_client_span = Some(Default::default())),
    ];
    all_agree("ExtAuthz", &base, sets, filter);
    let http = authz::HttpService { server_uri: Some(uri("authz", Some(1))), ..Default::default() };
    let services = Some(Services::HttpService(http));
    let base = authz::ExtAuthz { services, ..Default::default() };
    fn http_of(message: &mut authz::ExtAuthz) -> &mut authz::HttpService {
        match &mut message.services {
            Some(Services::HttpService(http)) => http,
            other => panic!("{other:?}"),
        }
    }
    let sets: &[Set<authz::ExtAuthz>] = &[
        ("path_override", |m| http_of(m).path_override = "/x".into()),
        ("retry_policy", |m| http_of(m).retry_policy = Some(core::RetryPolicy::default())),
    ];
    all_agree("HttpService (ext_authz)", &base, sets, filter);
    use authz::ext_authz_per_route::Override;
    let said = Some(Override::CheckSettings(authz::CheckSettings::default()));
    let base = authz::ExtAuthzPerRoute { r#override: said };
    let sets: &[Set<authz::ExtAuthzPerRoute>] =
        &[("emit_client_span", |m| match &mut m.r#override {
            Some(Override::CheckSettings(settings)) => {
                settings.emit_client_span = Some(Default::default());
            }
            other => panic!("{other:?}"),
        })];
    all_agree("CheckSettings", &base, sets, route);
}

#[test]
fn limits_agree_with_the_table() {
    let service = envoy_types::pb::envoy::config::ratelimit::v3::RateLimitServiceConfig {
        grpc_service: Some(grpc("limits")),
        transport_api_version: 2,
    };
    let base = limit::RateLimit {
        domain: "shop".into(),
        rate_limit_service: Some(service),
        ..Default::default()
    };
    let sets: &[Set<limit::RateLimit>] = &[
        ("stat_prefix", |m| m.stat_prefix = "x".into()),
        ("filter_enabled", |m| m.filter_enabled = Some(Default::default())),
        ("filter_enforced", |m| m.filter_enforced = Some(Default::default())),
        ("failure_mode_deny_percent", |m| m.failure_mode_deny_percent = Some(Default::default())),
        ("metadata_namespace", |m| m.metadata_namespace = "x".into()),
        ("enable_retry_after_header", |m| m.enable_retry_after_header = true),
    ];
    all_agree("RateLimit", &base, sets, filter);
    let sets: &[Set<limit::RateLimitPerRoute>] = &[("override_option", |m| m.override_option = 1)];
    all_agree("RateLimitPerRoute", &limit::RateLimitPerRoute::default(), sets, route);
}
