//! What a token must claim (RFC 7519 §4.1), and what becomes of its claims.

use super::{JwtError, Token};
use crate::model::MetadataValue;
use crate::model::http_filter::JwtProvider;
use crate::router::CompiledStringMatcher;
use crate::time::WallTime;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue};
use serde_json::{Map, Value};
use std::sync::Arc;

/// Checks the claims of `token`; the signature is not looked at.
pub(super) fn check(
    token: &Token,
    provider: &JwtProvider,
    subjects: Option<&CompiledStringMatcher>,
    audiences: &[Arc<str>],
    now: WallTime,
) -> Result<(), JwtError> {
    let claims = &token.claims;
    let text = |name| claims.get(name).and_then(Value::as_str);
    if provider.issuer.as_deref().is_some_and(|issuer| text("iss") != Some(issuer)) {
        return Err(JwtError::UnknownIssuer);
    }
    times(claims, provider, now)?;
    if subjects
        .is_some_and(|matcher| !text("sub").is_some_and(|sub| matcher.matches(sub.as_bytes())))
    {
        return Err(JwtError::Subject);
    }
    let wanted = if audiences.is_empty() { &provider.audiences } else { audiences };
    if !wanted.is_empty() && !is_for(claims, wanted) {
        return Err(JwtError::Audience);
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "seconds since 1970 fit in 53 bits")]
fn times(
    claims: &Map<String, Value>,
    provider: &JwtProvider,
    now: WallTime,
) -> Result<(), JwtError> {
    let now = now.as_unix_seconds() as f64;
    let skew = provider.clock_skew.as_secs_f64();
    let (exp, nbf, iat) = (time(claims, "exp")?, time(claims, "nbf")?, time(claims, "iat")?);
    if nbf.is_some_and(|nbf| now + skew < nbf) {
        return Err(JwtError::NotYetValid);
    }
    let Some(exp) = exp else {
        let needed = provider.require_expiration || provider.max_lifetime.is_some();
        return if needed { Err(JwtError::NoExpiration) } else { Ok(()) };
    };
    if now > exp + skew {
        return Err(JwtError::Expired);
    }
    match provider.max_lifetime {
        Some(most) if exp - iat.unwrap_or(now) > most.as_secs_f64() => {
            Err(JwtError::LifetimeTooLong)
        }
        _ => Ok(()),
    }
}

/// A time in seconds. One that is no number is no time that holds.
fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<f64>, JwtError> {
    match claims.get(name) {
        None => Ok(None),
        Some(value) => {
            let time = value.as_f64().filter(|time| *time >= 0.0);
            time.map(Some).ok_or(JwtError::Malformed("`exp`, `nbf` or `iat` is no time"))
        }
    }
}

fn is_for(claims: &Map<String, Value>, wanted: &[Arc<str>]) -> bool {
    let one = |value: &Value| {
        let audience = value.as_str().map(bare);
        audience.is_some_and(|audience| wanted.iter().any(|wanted| bare(wanted) == audience))
    };
    match claims.get("aud") {
        Some(Value::Array(list)) => list.iter().any(one),
        Some(value) => one(value),
        None => false,
    }
}

/// Envoy: "without the scheme, and without a slash at the end".
fn bare(audience: &str) -> &str {
    let scheme = ["http://", "https://"].iter().find_map(|scheme| audience.strip_prefix(scheme));
    let bare = scheme.unwrap_or(audience);
    bare.strip_suffix('/').unwrap_or(bare)
}

/// Writes the headers that tell an application of the claims.
pub(super) fn write_headers(token: &Token, provider: &JwtProvider, headers: &mut HeaderMap) {
    if let Some(name) = &provider.forward_payload_header {
        let mut text = token.claims_text().to_owned();
        while provider.pad_forward_payload_header && !text.len().is_multiple_of(4) {
            text.push('=');
        }
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.append(name, value);
        }
    }
    for to in &provider.claim_to_headers {
        let text = claim(&token.claims, &to.claim_name).and_then(as_text);
        // A claim that can't be a header's value is none (RFC 9110 §5.5).
        if let Some(value) = text.and_then(|text| HeaderValue::try_from(text).ok()) {
            headers.append(&to.header_name, value);
        }
    }
}

/// A claim; dots lead into structs.
fn claim<'c>(claims: &'c Map<String, Value>, name: &str) -> Option<&'c Value> {
    let mut names = name.split('.');
    let first = claims.get(names.next()?)?;
    names.try_fold(first, |value, name| value.get(name))
}

fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => (!text.is_empty()).then(|| text.clone()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::Array(_) | Value::Object(_) => Some(STANDARD.encode(value.to_string())),
    }
}

/// A JSON object as metadata; those of `lists` that are texts become lists of words.
pub(super) fn metadata(object: &Map<String, Value>, lists: &[Arc<str>]) -> MetadataValue {
    let fields = object.iter().map(|(name, value)| {
        let value = match value {
            Value::String(text) if lists.iter().any(|list| **list == **name) => {
                let words = text.split(' ').filter(|word| !word.is_empty());
                MetadataValue::List(words.map(|word| MetadataValue::Text(word.into())).collect())
            }
            value => of_json(value),
        };
        (Arc::from(name.as_str()), value)
    });
    MetadataValue::Struct(fields.collect())
}

fn of_json(value: &Value) -> MetadataValue {
    match value {
        Value::Null => MetadataValue::Null,
        Value::Bool(flag) => MetadataValue::Bool(*flag),
        Value::Number(number) => MetadataValue::Number(number.as_f64().unwrap_or_default()),
        Value::String(text) => MetadataValue::Text(text.as_str().into()),
        Value::Array(list) => MetadataValue::List(list.iter().map(of_json).collect()),
        Value::Object(object) => metadata(object, &[]),
    }
}
