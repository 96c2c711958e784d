//! Tokens: the way back of `decode`'s `jwt_authn`.

use super::service::http;
use super::{pb, texts};
use crate::encode::matcher::{route_match, string};
use crate::encode::wrap::duration;
use envoy_types::pb::envoy::config::core::v3::{DataSource, data_source::Specifier};
use envoy_types::pb::google::protobuf::Empty;
use mesh_core::model::http_filter::{
    JwksSource, JwtAuthn, JwtProvider, JwtRequirement, JwtRule, RemoteJwks,
};
use pb::jwt_authn::v3 as pb_jwt;
use pb_jwt::jwt_provider::{JwksSourceSpecifier, NormalizePayload};
use pb_jwt::jwt_requirement::RequiresType;
use pb_jwt::per_route_config::RequirementSpecifier;
use pb_jwt::requirement_rule::RequirementType;
use std::time::Duration;

/// A filter; `None`: Envoy has no way to say it.
pub(super) fn filter(model: &JwtAuthn) -> Option<pb_jwt::JwtAuthentication> {
    // Envoy has no shadow mode of it.
    if model.shadow {
        return None;
    }
    let providers = model.providers.iter();
    let providers = providers.map(|(name, model)| Some((name.to_string(), provider(model)?)));
    let named = model.requirements.iter();
    let named = named.map(|(name, model)| Some((name.to_string(), requirement(model)?)));
    Some(pb_jwt::JwtAuthentication {
        providers: providers.collect::<Option<_>>()?,
        rules: model.rules.iter().map(rule).collect::<Option<_>>()?,
        bypass_cors_preflight: model.bypass_cors_preflight,
        requirement_map: named.collect::<Option<_>>()?,
        strip_failure_response: model.strip_failure_response,
        ..Default::default()
    })
}

/// What a route says: the name of a requirement.
pub(super) fn per_route(name: &str) -> pb_jwt::PerRouteConfig {
    let specifier = RequirementSpecifier::RequirementName(name.to_owned());
    pb_jwt::PerRouteConfig { requirement_specifier: Some(specifier) }
}

fn rule(model: &JwtRule) -> Option<pb_jwt::RequirementRule> {
    let requires = match &model.requires {
        None => None,
        Some(JwtRequirement::Named(name)) => {
            Some(RequirementType::RequirementName(name.to_string()))
        }
        Some(other) => Some(RequirementType::Requires(requirement(other)?)),
    };
    Some(pb_jwt::RequirementRule {
        r#match: Some(route_match(&model.matcher)),
        requirement_type: requires,
    })
}

fn requirement(model: &JwtRequirement) -> Option<pb_jwt::JwtRequirement> {
    let all = |models: &[JwtRequirement]| models.iter().map(requirement).collect::<Option<_>>();
    let requires = match model {
        JwtRequirement::Provider { name, audiences } if audiences.is_empty() => {
            RequiresType::ProviderName(name.to_string())
        }
        JwtRequirement::Provider { name, audiences } => {
            RequiresType::ProviderAndAudiences(pb_jwt::ProviderWithAudiences {
                provider_name: name.to_string(),
                audiences: texts(audiences),
            })
        }
        JwtRequirement::Any(models) => {
            RequiresType::RequiresAny(pb_jwt::JwtRequirementOrList { requirements: all(models)? })
        }
        JwtRequirement::All(models) => {
            RequiresType::RequiresAll(pb_jwt::JwtRequirementAndList { requirements: all(models)? })
        }
        JwtRequirement::AllowMissing => RequiresType::AllowMissing(Empty::default()),
        JwtRequirement::AllowMissingOrFailed => {
            RequiresType::AllowMissingOrFailed(Empty::default())
        }
        // Envoy: only a rule or a route names one. And a kind that this encoder does not know yet.
        _ => return None,
    };
    Some(pb_jwt::JwtRequirement { requires_type: Some(requires) })
}

fn provider(model: &JwtProvider) -> Option<pb_jwt::JwtProvider> {
    let text = |text: &Option<std::sync::Arc<str>>| text.as_deref().unwrap_or_default().to_owned();
    let headers = model.from_headers.iter();
    let headers = headers.map(|from| pb_jwt::JwtHeader {
        name: from.name.to_string(),
        value_prefix: from.value_prefix.to_string(),
    });
    let claims = model.claim_to_headers.iter();
    let claims = claims.map(|to| pb_jwt::JwtClaimToHeader {
        header_name: to.header_name.to_string(),
        claim_name: to.claim_name.to_string(),
        ..Default::default()
    });
    let normalize = (!model.space_delimited_claims.is_empty())
        .then(|| NormalizePayload { space_delimited_claims: texts(&model.space_delimited_claims) });
    Some(pb_jwt::JwtProvider {
        issuer: text(&model.issuer),
        audiences: texts(&model.audiences),
        subjects: model.subjects.as_ref().map(string),
        require_expiration: model.require_expiration,
        max_lifetime: model.max_lifetime.and_then(duration),
        forward: model.forward,
        from_headers: headers.collect(),
        from_params: texts(&model.from_params),
        from_cookies: texts(&model.from_cookies),
        forward_payload_header: model
            .forward_payload_header
            .as_ref()
            .map_or_else(String::new, ToString::to_string),
        pad_forward_payload_header: model.pad_forward_payload_header,
        payload_in_metadata: text(&model.payload_in_metadata),
        normalize_payload_in_metadata: normalize,
        header_in_metadata: text(&model.header_in_metadata),
        failed_status_in_metadata: text(&model.failed_status_in_metadata),
        clock_skew_seconds: skew(model.clock_skew)?,
        jwt_cache_config: cache(model)?,
        claim_to_headers: claims.collect(),
        jwks_source_specifier: Some(jwks(&model.jwks)?),
        ..Default::default()
    })
}

/// Whole seconds; none at all can't be said, as 0 is Envoy's default of 60.
fn skew(model: Duration) -> Option<u32> {
    let seconds = u32::try_from(model.as_secs()).ok()?;
    (model == Duration::from_secs(seconds.into()) && seconds > 0).then_some(seconds)
}

/// What is kept of tokens: nothing without the message. In it 0 is a default.
fn cache(model: &JwtProvider) -> Option<Option<pb_jwt::JwtCacheConfig>> {
    match (model.cache_size, model.max_token_bytes) {
        (0, 4096) => Some(None),
        (0, _) | (_, 0) => None,
        (jwt_cache_size, jwt_max_token_size) => {
            Some(Some(pb_jwt::JwtCacheConfig { jwt_cache_size, jwt_max_token_size }))
        }
    }
}

fn jwks(model: &JwksSource) -> Option<JwksSourceSpecifier> {
    let local = match model {
        JwksSource::Inline(json) => Specifier::InlineString(json.to_string()),
        JwksSource::File(path) => Specifier::Filename(path.to_str()?.to_owned()),
        JwksSource::Remote(model) => return Some(JwksSourceSpecifier::RemoteJwks(remote(model)?)),
        // A kind that this encoder does not know yet.
        _ => return None,
    };
    let local = DataSource { specifier: Some(local), ..DataSource::default() };
    Some(JwksSourceSpecifier::LocalJwks(local))
}

fn remote(model: &RemoteJwks) -> Option<pb_jwt::RemoteJwks> {
    let again = duration(model.failed_refetch);
    let default = RemoteJwks::new(model.http_uri.clone()).failed_refetch;
    // Envoy: who fetches on demand has no such time.
    if !model.async_fetch && model.failed_refetch != default {
        return None;
    }
    Some(pb_jwt::RemoteJwks {
        http_uri: Some(http(&model.http_uri)),
        cache_duration: duration(model.cache_duration),
        async_fetch: model.async_fetch.then(|| pb_jwt::JwksAsyncFetch {
            failed_refetch_duration: again,
            ..Default::default()
        }),
        ..Default::default()
    })
}
