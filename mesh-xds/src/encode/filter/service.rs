//! Services that filters ask, and what their messages have in common: the way back of `decode`'s `service`.

use super::super::headers::value_text;
use super::super::matcher::string;
use super::super::wrap::duration;
use envoy_types::pb::envoy::config::core::v3 as pb;
use envoy_types::pb::envoy::r#type::matcher::v3::ListStringMatcher;
use http::{HeaderName, HeaderValue};
use mesh_core::model::http_filter::{GrpcService, HttpUri};
use mesh_core::model::{AppendAction, HeaderMutation, StringMatcher};
use pb::grpc_service::{EnvoyGrpc, TargetSpecifier};
use pb::http_uri::HttpUpstreamType;

/// A gRPC service in a cluster.
pub(super) fn grpc(model: &GrpcService) -> pb::GrpcService {
    pb::GrpcService {
        timeout: duration(model.timeout),
        initial_metadata: model.initial_metadata.iter().map(|(n, v)| header(n, v)).collect(),
        target_specifier: Some(TargetSpecifier::EnvoyGrpc(EnvoyGrpc {
            cluster_name: model.cluster.to_string(),
            authority: model.authority.as_deref().unwrap_or_default().to_owned(),
            ..EnvoyGrpc::default()
        })),
        ..pb::GrpcService::default()
    }
}

/// Something that is asked for over HTTP through a cluster.
pub(super) fn http(model: &HttpUri) -> pb::HttpUri {
    pb::HttpUri {
        uri: model.uri.to_string(),
        timeout: duration(model.timeout),
        http_upstream_type: Some(HttpUpstreamType::Cluster(model.cluster.to_string())),
    }
}

fn header(name: &HeaderName, value: &HeaderValue) -> pb::HeaderValue {
    let (text, raw) = value_text(value.as_bytes());
    pb::HeaderValue { key: name.to_string(), value: text, raw_value: raw }
}

/// Headers that replace what is there; `None`: there is another edit among them.
pub(super) fn additions(models: &[HeaderMutation]) -> Option<Vec<pb::HeaderValue>> {
    let headers = models.iter().map(|edit| match edit {
        HeaderMutation::Append { name, value, action: AppendAction::OverwriteIfExistsOrAdd } => {
            Some(header(name, value))
        }
        HeaderMutation::Append { .. } | HeaderMutation::Remove(_) => None,
    });
    headers.collect()
}

/// Patterns of names; none is nothing said.
pub(super) fn matchers(models: &[StringMatcher]) -> Option<ListStringMatcher> {
    let patterns: Vec<_> = models.iter().map(string).collect();
    (!patterns.is_empty()).then_some(ListStringMatcher { patterns })
}
