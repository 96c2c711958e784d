//! Services that filters ask, and what their messages have in common.

use crate::decode::common::{self, Walk, ignored};
use crate::decode::route::{header, matcher};
use envoy_types::pb::envoy::config::core::v3 as pb;
use envoy_types::pb::envoy::r#type::matcher::v3::ListStringMatcher;
use envoy_types::pb::envoy::r#type::v3::HttpStatus;
use http::{HeaderName, HeaderValue, StatusCode};
use mesh_core::model::http_filter::{GrpcService, HttpUri};
use mesh_core::model::{AppendAction, HeaderMutation, StringMatcher};
use pb::grpc_service::TargetSpecifier;
use std::sync::Arc;
use std::time::Duration;

/// A gRPC service in a cluster.
pub(super) fn grpc(
    walk: &mut Walk,
    message: &pb::GrpcService,
    default: Duration,
) -> Option<GrpcService> {
    ignored!(walk, message, { retry_policy: "a question is asked once: its time is short" });
    let timeout = common::duration(walk, "timeout", message.timeout.as_ref()).unwrap_or(default);
    let Some(TargetSpecifier::EnvoyGrpc(target)) = &message.target_specifier else {
        walk.error("only `envoy_grpc` is supported: name a cluster");
        return None;
    };
    if target.cluster_name.is_empty() {
        walk.error_at("envoy_grpc.cluster_name", "it is not empty (Envoy: min_len 1)");
        return None;
    }
    let mut service = GrpcService::new(target.cluster_name.as_str(), timeout);
    service.authority = (!target.authority.is_empty()).then(|| target.authority.as_str().into());
    let headers = message.initial_metadata.iter().enumerate();
    for (at, message) in headers {
        let found = walk.at(format_args!("initial_metadata[{at}]"), |walk| value(walk, message));
        service.initial_metadata.extend(found);
    }
    Some(service)
}

/// Something that is asked for over HTTP through a cluster.
pub(super) fn http(walk: &mut Walk, field: &str, message: Option<&pb::HttpUri>) -> Option<HttpUri> {
    use pb::http_uri::HttpUpstreamType;
    let Some(message) = message else {
        walk.error_at(field, "it is missing");
        return None;
    };
    walk.at(field, |walk| {
        let timeout = common::duration(walk, "timeout", message.timeout.as_ref());
        let Some(timeout) = timeout else {
            walk.error_at("timeout", "it is needed (Envoy: required)");
            return None;
        };
        let parsed = message.uri.parse::<http::Uri>();
        if !parsed.is_ok_and(|uri| uri.authority().is_some()) {
            walk.error_at("uri", format_args!("`{}` is no URI with an authority", message.uri));
        }
        match &message.http_upstream_type {
            Some(HttpUpstreamType::Cluster(cluster)) if !cluster.is_empty() => {
                Some(HttpUri::new(message.uri.as_str(), cluster.as_str(), timeout))
            }
            _ => {
                walk.error_at("cluster", "it is not empty (Envoy: min_len 1)");
                None
            }
        }
    })
}

/// A header with its value, as it is.
fn value(walk: &mut Walk, message: &pb::HeaderValue) -> Option<(HeaderName, HeaderValue)> {
    let name = header::header_name(walk, "key", &message.key)?;
    let bytes = match message.raw_value.is_empty() {
        true => header::constant(walk, "value", &message.value)?.into_bytes(),
        false => message.raw_value.clone(),
    };
    let value = HeaderValue::from_bytes(&bytes).ok();
    if value.is_none() {
        walk.error_at("value", "it can't be the value of a header");
    }
    Some((name, value?))
}

/// Headers that replace what is there.
pub(super) fn additions(
    walk: &mut Walk,
    field: &str,
    messages: &[pb::HeaderValue],
) -> Vec<HeaderMutation> {
    let mut found = Vec::with_capacity(messages.len());
    for (at, message) in messages.iter().enumerate() {
        let pair = walk.at(format_args!("{field}[{at}]"), |walk| value(walk, message));
        let action = AppendAction::OverwriteIfExistsOrAdd;
        found.extend(pair.map(|(name, value)| HeaderMutation::Append { name, value, action }));
    }
    found
}

/// Headers, each with what it does with values that are there.
pub(super) fn options(
    walk: &mut Walk,
    field: &str,
    messages: &[pb::HeaderValueOption],
) -> Vec<HeaderMutation> {
    let mut found = Vec::with_capacity(messages.len());
    for (at, message) in messages.iter().enumerate() {
        found.extend(
            walk.at(format_args!("{field}[{at}]"), |walk| {
                header::addition(walk, message, "response")
            }),
        );
    }
    found
}

/// Patterns of names.
pub(super) fn matchers(
    walk: &mut Walk,
    field: &str,
    message: Option<&ListStringMatcher>,
) -> Vec<StringMatcher> {
    let messages = message.map(|message| message.patterns.as_slice()).unwrap_or_default();
    let mut found = Vec::with_capacity(messages.len());
    for (at, message) in messages.iter().enumerate() {
        let place = format!("{field}.patterns[{at}]");
        found.extend(walk.at(place, |walk| matcher::string(walk, message)));
    }
    found
}

/// The status of an answer; the default where none is said.
pub(super) fn status(
    walk: &mut Walk,
    field: &str,
    message: Option<&HttpStatus>,
    default: StatusCode,
) -> StatusCode {
    let Some(message) = message else { return default };
    let code = u16::try_from(message.code).ok().filter(|code| (200..600).contains(code));
    let code = code.and_then(|code| StatusCode::from_u16(code).ok());
    code.unwrap_or_else(|| {
        walk.error_at(field, format_args!("{} is no status of an answer", message.code));
        default
    })
}

/// A text that says nothing when it is empty.
pub(super) fn text(text: &str) -> Option<Arc<str>> {
    (!text.is_empty()).then(|| text.into())
}
