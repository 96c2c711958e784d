//! Tokens (Envoy: `jwt_authn`).

use super::service::{http, text};
use super::{Kind, checked, message};
use crate::decode::common::{self, Walk, ignored, refused};
use crate::decode::route::{header, matcher, route_match};
use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
use envoy_types::pb::envoy::extensions::filters::http::jwt_authn::v3 as pb;
use envoy_types::pb::google::protobuf::Any;
use mesh_core::model::http_filter::{
    ClaimToHeader, JwksSource, JwtAuthn, JwtHeader, JwtProvider, JwtRequirement, JwtRule,
    RemoteJwks,
};
use mesh_core::model::{HttpFilterConfig, HttpFilterOverride};
use pb::jwt_provider::JwksSourceSpecifier;
use pb::jwt_requirement::RequiresType;
use pb::per_route_config::RequirementSpecifier;
use pb::requirement_rule::RequirementType;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub(super) const KIND: Kind = Kind {
    config: "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
    decode: config,
    route: Some(("envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig", route)),
};

/// How deep requirements are read; compiling allows less.
const MAX_DEPTH: usize = 16;

fn config(walk: &mut Walk, any: &Any) -> Option<HttpFilterConfig> {
    let message: pb::JwtAuthentication = message(walk, any)?;
    let before = walk.errors();
    refused!(walk, message, {
        filter_state_rules: "requirements by filter state are not supported: use `rules`",
    });
    ignored!(walk, message, { stat_prefix: "metrics have the filter's name" });
    let mut filter = JwtAuthn::default();
    // Sorted, so that the same message gives the same report.
    for (name, message) in message.providers.iter().collect::<BTreeMap<_, _>>() {
        let found = walk.at(format_args!("providers[{name}]"), |walk| provider(walk, message));
        filter.providers.extend(found.map(|found| (Arc::from(name.as_str()), found)));
    }
    for (name, message) in message.requirement_map.iter().collect::<BTreeMap<_, _>>() {
        let place = format!("requirement_map[{name}]");
        let found = walk.at(place, |walk| requirement(walk, message, 0));
        filter.requirements.extend(found.map(|found| (Arc::from(name.as_str()), found)));
    }
    for (at, message) in message.rules.iter().enumerate() {
        filter.rules.extend(walk.at(format_args!("rules[{at}]"), |walk| rule(walk, message)));
    }
    filter.bypass_cors_preflight = message.bypass_cors_preflight;
    filter.strip_failure_response = message.strip_failure_response;
    if walk.errors() > before {
        return None;
    }
    checked(walk, HttpFilterConfig::JwtAuthn(Arc::new(filter)))
}

fn route(walk: &mut Walk, any: &Any) -> Option<HttpFilterOverride> {
    let message: pb::PerRouteConfig = message(walk, any)?;
    match message.requirement_specifier {
        Some(RequirementSpecifier::Disabled(true)) => Some(HttpFilterOverride::Disabled),
        Some(RequirementSpecifier::RequirementName(name)) if !name.is_empty() => {
            Some(HttpFilterOverride::JwtRequirement(name.into()))
        }
        _ => {
            walk.error("set `disabled: true` or `requirement_name` (Envoy: required)");
            None
        }
    }
}

fn rule(walk: &mut Walk, message: &pb::RequirementRule) -> Option<JwtRule> {
    let Some(matches) = &message.r#match else {
        walk.error_at("match", "it is missing");
        return None;
    };
    let before = walk.errors();
    let found = walk.at("match", |walk| route_match::decode(walk, matches));
    if found.is_none() && walk.errors() == before {
        // A route is left out then; a rule would leave a door open.
        walk.error_at("match", "it has a condition that can't be looked at here");
    }
    let requires = match &message.requirement_type {
        None => None,
        Some(RequirementType::Requires(message)) => {
            Some(walk.at("requires", |walk| requirement(walk, message, 0))?)
        }
        Some(RequirementType::RequirementName(name)) => {
            Some(JwtRequirement::Named(name.as_str().into()))
        }
    };
    Some(JwtRule { matcher: found?, requires })
}

fn requirement(
    walk: &mut Walk,
    message: &pb::JwtRequirement,
    depth: usize,
) -> Option<JwtRequirement> {
    if depth > MAX_DEPTH {
        walk.error(format_args!("it is nested more than {MAX_DEPTH} deep"));
        return None;
    }
    let list = |walk: &mut Walk, field: &str, messages: &[pb::JwtRequirement]| {
        let mut found = Vec::with_capacity(messages.len());
        for (at, message) in messages.iter().enumerate() {
            let place = format!("{field}.requirements[{at}]");
            found.push(walk.at(place, |walk| requirement(walk, message, depth + 1))?);
        }
        Some(found)
    };
    match &message.requires_type {
        Some(RequiresType::ProviderName(name)) => Some(JwtRequirement::provider(name.as_str())),
        Some(RequiresType::ProviderAndAudiences(message)) => Some(JwtRequirement::Provider {
            name: message.provider_name.as_str().into(),
            audiences: texts(&message.audiences),
        }),
        Some(RequiresType::RequiresAny(message)) => {
            list(walk, "requires_any", &message.requirements).map(JwtRequirement::Any)
        }
        Some(RequiresType::RequiresAll(message)) => {
            list(walk, "requires_all", &message.requirements).map(JwtRequirement::All)
        }
        Some(RequiresType::AllowMissing(_)) => Some(JwtRequirement::AllowMissing),
        Some(RequiresType::AllowMissingOrFailed(_)) => Some(JwtRequirement::AllowMissingOrFailed),
        Some(RequiresType::ExtractOnlyWithoutValidation(_)) => {
            walk.error_at(
                "extract_only_without_validation",
                "claims that nobody verified are not passed on: use `allow_missing_or_failed`",
            );
            None
        }
        None => {
            walk.error("it requires nothing that is known here: leave it out, or name a provider");
            None
        }
    }
}

fn texts(messages: &[String]) -> Vec<Arc<str>> {
    messages.iter().map(|text| text.as_str().into()).collect()
}

fn provider(walk: &mut Walk, message: &pb::JwtProvider) -> Option<JwtProvider> {
    ignored!(walk, message, {
        clear_route_cache: "a route is chosen before its filters are asked",
    });
    let mut provider = JwtProvider::new(jwks(walk, message.jwks_source_specifier.as_ref())?);
    provider.issuer = text(&message.issuer);
    provider.audiences = texts(&message.audiences);
    if let Some(subjects) = &message.subjects {
        provider.subjects = walk.at("subjects", |walk| matcher::string(walk, subjects));
    }
    provider.require_expiration = message.require_expiration;
    provider.max_lifetime = common::duration(walk, "max_lifetime", message.max_lifetime.as_ref());
    provider.forward = message.forward;
    for (at, from) in message.from_headers.iter().enumerate() {
        let field = format!("from_headers[{at}].name");
        provider.from_headers.extend(
            header::header_name(walk, &field, &from.name)
                .map(|name| JwtHeader { name, value_prefix: from.value_prefix.as_str().into() }),
        );
    }
    provider.from_params = texts(&message.from_params);
    provider.from_cookies = texts(&message.from_cookies);
    if !message.forward_payload_header.is_empty() {
        let name = &message.forward_payload_header;
        provider.forward_payload_header = header::header_name(walk, "forward_payload_header", name);
    }
    provider.pad_forward_payload_header = message.pad_forward_payload_header;
    provider.payload_in_metadata = text(&message.payload_in_metadata);
    provider.header_in_metadata = text(&message.header_in_metadata);
    provider.failed_status_in_metadata = text(&message.failed_status_in_metadata);
    if let Some(normalize) = &message.normalize_payload_in_metadata {
        provider.space_delimited_claims = texts(&normalize.space_delimited_claims);
    }
    if message.clock_skew_seconds > 0 {
        provider.clock_skew = Duration::from_secs(u64::from(message.clock_skew_seconds));
    }
    for (at, to) in message.claim_to_headers.iter().enumerate() {
        let found = walk.at(format_args!("claim_to_headers[{at}]"), |walk| {
            refused!(walk, to, { claim_path: "name the claim in `claim_name`, with dots" });
            header::header_name(walk, "header_name", &to.header_name)
        });
        provider.claim_to_headers.extend(found.map(|header_name| ClaimToHeader {
            header_name,
            claim_name: to.claim_name.as_str().into(),
        }));
    }
    if let Some(cache) = &message.jwt_cache_config {
        // Envoy: zero means the default.
        let or = |value, default| if value == 0 { default } else { value };
        provider.cache_size = or(cache.jwt_cache_size, 100);
        provider.max_token_bytes = or(cache.jwt_max_token_size, 4096);
    }
    Some(provider)
}

fn jwks(walk: &mut Walk, message: Option<&JwksSourceSpecifier>) -> Option<JwksSource> {
    match message {
        Some(JwksSourceSpecifier::RemoteJwks(message)) => {
            walk.at("remote_jwks", |walk| remote(walk, message)).map(JwksSource::Remote)
        }
        Some(JwksSourceSpecifier::LocalJwks(message)) => match &message.specifier {
            Some(Specifier::InlineString(json)) => Some(JwksSource::Inline(json.as_str().into())),
            Some(Specifier::InlineBytes(bytes)) => {
                Some(JwksSource::Inline(String::from_utf8_lossy(bytes).into()))
            }
            Some(Specifier::Filename(path)) => {
                Some(JwksSource::File(Arc::from(Path::new(path.as_str()))))
            }
            Some(Specifier::EnvironmentVariable(_)) | None => {
                walk.error_at("local_jwks", "set `inline_string`, `inline_bytes` or `filename`");
                None
            }
        },
        None => {
            walk.error("a provider has keys: set `remote_jwks` or `local_jwks`");
            None
        }
    }
}

fn remote(walk: &mut Walk, message: &pb::RemoteJwks) -> Option<RemoteJwks> {
    ignored!(walk, message, { retry_policy: "keys are fetched again a while after a failure" });
    let mut remote = RemoteJwks::new(http(walk, "http_uri", message.http_uri.as_ref())?);
    let cache = common::positive_duration(walk, "cache_duration", message.cache_duration.as_ref());
    remote.cache_duration = cache.unwrap_or(remote.cache_duration);
    if let Some(fetch) = &message.async_fetch {
        walk.at("async_fetch", |walk| {
            ignored!(walk, fetch, { fast_listener: "a listener never waits for keys" });
            let field = "failed_refetch_duration";
            let again =
                common::positive_duration(walk, field, fetch.failed_refetch_duration.as_ref());
            remote.failed_refetch = again.unwrap_or(remote.failed_refetch);
        });
        remote.async_fetch = true;
    }
    Some(remote)
}
