//! External authorization: the way back of `decode`'s `ext_authz`.

use super::service::{additions, grpc, http, matchers};
use super::{enabled, pb, runtime_fraction, status};
use crate::encode::rbac::metadata;
use mesh_core::model::http_filter::{
    AuthzBody, AuthzService, ExtAuthz, ExtAuthzPerRoute, HttpAuthz,
};
use mesh_core::model::{Fraction, MetadataSource};
use pb::ext_authz::v3 as pb_authz;
use pb_authz::check_settings::ServiceOverride;
use pb_authz::ext_authz::Services;
use pb_authz::ext_authz_per_route::Override;

/// A filter; `None`: Envoy has no way to say it.
pub(super) fn filter(model: &ExtAuthz) -> Option<pb_authz::ExtAuthz> {
    // Envoy: only routes say them.
    if !model.context_extensions.is_empty() {
        return None;
    }
    let when = model.enabled_metadata.as_ref();
    // Envoy: it is about what filters wrote.
    if when.is_some_and(|matcher| matcher.source != MetadataSource::Dynamic) {
        return None;
    }
    Some(pb_authz::ExtAuthz {
        transport_api_version: V3,
        filter_enabled: (model.enabled != Fraction::ALL).then(|| runtime_fraction(model.enabled)),
        filter_enabled_metadata: when.map(metadata),
        deny_at_disable: if model.deny_at_disable { enabled(true) } else { None },
        failure_mode_allow: model.failure_mode_allow,
        failure_mode_allow_header_add: model.failure_mode_allow_header_add,
        status_on_error: Some(status(model.status_on_error)?),
        with_request_body: model.with_request_body.map(body),
        include_peer_certificate: model.include_peer_certificate,
        include_tls_session: model.include_tls_session,
        allowed_headers: matchers(&model.allowed_headers),
        disallowed_headers: matchers(&model.disallowed_headers),
        metadata_context_namespaces: super::texts(&model.metadata_context_namespaces),
        validate_mutations: model.validate_mutations,
        shadow_mode: model.shadow,
        services: Some(match &model.service {
            AuthzService::Grpc(service) => Services::GrpcService(grpc(service)),
            AuthzService::Http(service) => Services::HttpService(http_service(service)?),
            // A kind that this encoder does not know yet.
            _ => return None,
        }),
        ..Default::default()
    })
}

/// `config.core.v3.ApiVersion.V3`.
pub(super) const V3: i32 = 2;

const fn body(model: AuthzBody) -> pb_authz::BufferSettings {
    pb_authz::BufferSettings {
        max_request_bytes: model.max_request_bytes,
        allow_partial_message: model.allow_partial_message,
        pack_as_bytes: model.pack_as_bytes,
    }
}

fn http_service(model: &HttpAuthz) -> Option<pb_authz::HttpService> {
    let request = pb_authz::AuthorizationRequest {
        headers_to_add: additions(&model.headers_to_add)?,
        ..Default::default()
    };
    let response = pb_authz::AuthorizationResponse {
        allowed_upstream_headers: matchers(&model.allowed_upstream_headers),
        allowed_upstream_headers_to_append: matchers(&model.allowed_upstream_headers_to_append),
        allowed_client_headers: matchers(&model.allowed_client_headers),
        allowed_client_headers_on_success: matchers(&model.allowed_client_headers_on_success),
        dynamic_metadata_from_headers: matchers(&model.dynamic_metadata_from_headers),
    };
    Some(pb_authz::HttpService {
        server_uri: Some(http(&model.server)),
        path_prefix: model.path_prefix.to_string(),
        authorization_request: Some(request),
        authorization_response: Some(response),
        ..Default::default()
    })
}

/// What a route says; `None`: Envoy has no way to say it.
pub(super) fn per_route(model: &ExtAuthzPerRoute) -> Option<pb_authz::ExtAuthzPerRoute> {
    let extensions = model.context_extensions.iter();
    let settings = pb_authz::CheckSettings {
        context_extensions: extensions.map(|(k, v)| (k.to_string(), v.to_string())).collect(),
        disable_request_body_buffering: model.disable_request_body_buffering,
        with_request_body: model.with_request_body.map(body),
        service_override: match &model.service {
            None => None,
            Some(AuthzService::Grpc(service)) => Some(ServiceOverride::GrpcService(grpc(service))),
            Some(AuthzService::Http(service)) => {
                Some(ServiceOverride::HttpService(http_service(service)?))
            }
            // A kind that this encoder does not know yet.
            Some(_) => return None,
        },
        ..Default::default()
    };
    Some(pb_authz::ExtAuthzPerRoute { r#override: Some(Override::CheckSettings(settings)) })
}
