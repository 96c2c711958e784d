//! External authorization (Envoy: `ext_authz`).

use super::service::{additions, grpc, http, matchers, status};
use super::values::flag;
use super::{Kind, checked, message};
use crate::decode::common::{Walk, ignored, refused};
use crate::decode::rbac::metadata::matcher as metadata;
use crate::decode::route::matcher::runtime_fraction;
use envoy_types::pb::envoy::config::core::v3::ApiVersion;
use envoy_types::pb::envoy::extensions::filters::http::ext_authz::v3 as pb;
use envoy_types::pb::google::protobuf::Any;
use mesh_core::model::http_filter::ext_authz::MAX_AUTHZ_BODY;
use mesh_core::model::http_filter::{
    AuthzBody, AuthzService, ExtAuthz, ExtAuthzPerRoute, HttpAuthz,
};
use mesh_core::model::{HttpFilterConfig, HttpFilterOverride};
use pb::check_settings::ServiceOverride;
use pb::ext_authz::Services;
use pb::ext_authz_per_route::Override;
use std::sync::Arc;
use std::time::Duration;

pub(super) const KIND: Kind = Kind {
    config: "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
    decode: config,
    route: Some(("envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute", route)),
};

/// Envoy's default of a gRPC service's timeout.
const TIMEOUT: Duration = Duration::from_millis(200);

fn config(walk: &mut Walk, any: &Any) -> Option<HttpFilterConfig> {
    let message: pb::ExtAuthz = message(walk, any)?;
    let before = walk.errors();
    unused(walk, &message);
    let service = match &message.services {
        Some(Services::GrpcService(service)) => {
            walk.at("grpc_service", |walk| grpc(walk, service, TIMEOUT)).map(AuthzService::Grpc)
        }
        Some(Services::HttpService(service)) => {
            walk.at("http_service", |walk| http_service(walk, service)).map(AuthzService::Http)
        }
        None => {
            walk.error("set `grpc_service` or `http_service`");
            None
        }
    };
    let mut filter = ExtAuthz::new(service?);
    when(walk, &message, &mut filter);
    filter.failure_mode_allow = message.failure_mode_allow;
    filter.failure_mode_allow_header_add = message.failure_mode_allow_header_add;
    let on_error = message.status_on_error.as_ref();
    filter.status_on_error = status(walk, "status_on_error", on_error, filter.status_on_error);
    if let Some(body) = &message.with_request_body {
        filter.with_request_body = walk.at("with_request_body", |walk| request_body(walk, *body));
    }
    filter.include_peer_certificate = message.include_peer_certificate;
    filter.include_tls_session = message.include_tls_session;
    filter.allowed_headers = matchers(walk, "allowed_headers", message.allowed_headers.as_ref());
    if let Some(Services::HttpService(service)) = &message.services
        && let Some(request) = &service.authorization_request
    {
        let field = "http_service.authorization_request.allowed_headers";
        #[expect(deprecated, reason = "the older place of the same list")]
        let older = request.allowed_headers.as_ref();
        filter.allowed_headers.extend(matchers(walk, field, older));
    }
    filter.disallowed_headers =
        matchers(walk, "disallowed_headers", message.disallowed_headers.as_ref());
    let namespaces = message.metadata_context_namespaces.iter();
    filter.metadata_context_namespaces = namespaces.map(|name| name.as_str().into()).collect();
    filter.validate_mutations = message.validate_mutations;
    filter.shadow = message.shadow_mode;
    if walk.errors() > before {
        return None;
    }
    checked(walk, HttpFilterConfig::ExtAuthz(Arc::new(filter)))
}

/// About which requests it is asked.
fn when(walk: &mut Walk, message: &pb::ExtAuthz, filter: &mut ExtAuthz) {
    // Envoy: without the message it is on.
    if let Some(share) = &message.filter_enabled
        && let Some(share) = walk.at("filter_enabled", |walk| runtime_fraction(walk, share))
    {
        filter.enabled = share;
    }
    if let Some(matcher) = &message.filter_enabled_metadata {
        filter.enabled_metadata =
            walk.at("filter_enabled_metadata", |walk| metadata(walk, matcher));
    }
    if let Some(on) = &message.deny_at_disable {
        filter.deny_at_disable = flag(walk, "deny_at_disable", Some(on));
    }
}

/// What would let more through, or tell the authorizer less, is refused; what is only told is ignored.
fn unused(walk: &mut Walk, message: &pb::ExtAuthz) {
    refused!(walk, message, {
        decoder_header_mutation_rules: "what an authorizer may edit can't be said: it never edits `host`",
        encode_raw_headers: "headers are sent as `headers`, not as `header_map`: leave it out",
        typed_metadata_context_namespaces: "filters write no typed metadata here",
        route_metadata_context_namespaces: "metadata of routes is not sent",
        route_typed_metadata_context_namespaces: "metadata of routes is not sent",
    });
    // Envoy: AUTO is v3, too. Who says so says what is done.
    let says_v3 = [ApiVersion::Auto, ApiVersion::V3]
        .into_iter()
        .any(|version| version as i32 == message.transport_api_version);
    walk.ignored(!says_v3, "transport_api_version", "it is always v3");
    ignored!(walk, message, {
        clear_route_cache: "a route is chosen before its filters are asked",
        stat_prefix: "metrics have the filter's name",
        bootstrap_metadata_labels_key: "no labels are sent",
        charge_cluster_response_stats: "a cluster counts its own calls",
        enable_dynamic_metadata_ingestion: "what an authorizer says is always kept",
        filter_metadata: "nothing is told of a filter's metadata",
        emit_filter_state_stats: "",
        max_denied_response_body_bytes: "an answer has at most 4 MiB",
        enforce_response_header_limits: "an answer is held to the limits of every head",
        emit_client_span: "a call has its own span",
    });
}

fn request_body(walk: &mut Walk, message: pb::BufferSettings) -> Option<AuthzBody> {
    let most = message.max_request_bytes;
    if most == 0 || most > MAX_AUTHZ_BODY {
        walk.error_at(
            "max_request_bytes",
            format_args!("{most} is not within 1 to {MAX_AUTHZ_BODY}"),
        );
        return None;
    }
    Some(AuthzBody {
        max_request_bytes: most,
        allow_partial_message: message.allow_partial_message,
        pack_as_bytes: message.pack_as_bytes,
    })
}

fn http_service(walk: &mut Walk, message: &pb::HttpService) -> Option<HttpAuthz> {
    refused!(walk, message, { path_override: "the path is sent with a prefix: use `path_prefix`" });
    ignored!(walk, message, { retry_policy: "a question is asked once: its time is short" });
    let mut service = HttpAuthz::new(http(walk, "server_uri", message.server_uri.as_ref())?);
    if !message.path_prefix.is_empty() && !message.path_prefix.starts_with('/') {
        walk.error_at("path_prefix", "it begins with `/`");
    }
    service.path_prefix = message.path_prefix.as_str().into();
    if let Some(request) = &message.authorization_request {
        let field = "authorization_request.headers_to_add";
        service.headers_to_add = additions(walk, field, &request.headers_to_add);
    }
    if let Some(response) = &message.authorization_response {
        walk.at("authorization_response", |walk| {
            service.allowed_upstream_headers = matchers(
                walk,
                "allowed_upstream_headers",
                response.allowed_upstream_headers.as_ref(),
            );
            service.allowed_upstream_headers_to_append = matchers(
                walk,
                "allowed_upstream_headers_to_append",
                response.allowed_upstream_headers_to_append.as_ref(),
            );
            service.allowed_client_headers =
                matchers(walk, "allowed_client_headers", response.allowed_client_headers.as_ref());
            service.allowed_client_headers_on_success = matchers(
                walk,
                "allowed_client_headers_on_success",
                response.allowed_client_headers_on_success.as_ref(),
            );
            service.dynamic_metadata_from_headers = matchers(
                walk,
                "dynamic_metadata_from_headers",
                response.dynamic_metadata_from_headers.as_ref(),
            );
        });
    }
    Some(service)
}

fn route(walk: &mut Walk, any: &Any) -> Option<HttpFilterOverride> {
    let message: pb::ExtAuthzPerRoute = message(walk, any)?;
    match &message.r#override {
        Some(Override::Disabled(true)) => Some(HttpFilterOverride::Disabled),
        Some(Override::CheckSettings(settings)) => {
            let said = walk.at("check_settings", |walk| per_route(walk, settings))?;
            Some(HttpFilterOverride::ExtAuthz(Arc::new(said)))
        }
        _ => {
            walk.error("set `disabled: true` or `check_settings` (Envoy: required)");
            None
        }
    }
}

fn per_route(walk: &mut Walk, message: &pb::CheckSettings) -> Option<ExtAuthzPerRoute> {
    let before = walk.errors();
    ignored!(walk, message, { emit_client_span: "a call has its own span" });
    let mut said = ExtAuthzPerRoute::default();
    let extensions = message.context_extensions.iter();
    said.context_extensions =
        extensions.map(|(key, value)| (key.as_str().into(), value.as_str().into())).collect();
    said.disable_request_body_buffering = message.disable_request_body_buffering;
    if let Some(body) = &message.with_request_body {
        said.with_request_body = walk.at("with_request_body", |walk| request_body(walk, *body));
    }
    said.service = match &message.service_override {
        None => None,
        Some(ServiceOverride::GrpcService(service)) => {
            walk.at("grpc_service", |walk| grpc(walk, service, TIMEOUT)).map(AuthzService::Grpc)
        }
        Some(ServiceOverride::HttpService(service)) => {
            walk.at("http_service", |walk| http_service(walk, service)).map(AuthzService::Http)
        }
    };
    (walk.errors() == before).then_some(said)
}
