//! `match_typed_subject_alt_names`, `match_subject_alt_names`: the names of a peer's certificate.
//!
//! Any of them must match (gRFC A29). The types of names are not told apart here, so a typed name is
//! taken only where no other type can hold the same text: a whole DNS name or a whole URI.

use crate::decode::common::{self, Walk};
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as proto;
use envoy_types::pb::envoy::r#type::matcher::v3::StringMatcher as Matcher;
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use mesh_core::model::StringMatcher;
use mesh_core::model::matcher::StringPattern;
use proto::subject_alt_name_matcher::SanType;
use std::sync::Arc;

/// The names of which the peer's certificate must have one.
#[expect(deprecated, reason = "gRPC and Istio use the names without types")]
pub(in crate::decode) fn names(
    walk: &mut Walk,
    validation: &proto::CertificateValidationContext,
) -> Vec<StringMatcher> {
    let typed = &validation.match_typed_subject_alt_names;
    let untyped = &validation.match_subject_alt_names;
    if typed.is_empty() {
        let field = |index| format!("match_subject_alt_names[{index}]");
        let names = untyped.iter().enumerate();
        return names
            .filter_map(|(index, name)| walk.at(field(index), |walk| pattern(walk, name)))
            .collect();
    }
    walk.ignored(
        !untyped.is_empty(),
        "match_subject_alt_names",
        "match_typed_subject_alt_names takes its place (Envoy)",
    );
    let field = |index| format!("match_typed_subject_alt_names[{index}]");
    let names = typed.iter().enumerate();
    names.filter_map(|(index, name)| walk.at(field(index), |walk| typed_name(walk, name))).collect()
}

fn typed_name(walk: &mut Walk, name: &proto::SubjectAltNameMatcher) -> Option<StringMatcher> {
    let kind = common::enumeration::<SanType>(walk, "san_type", name.san_type)?;
    let Some(matcher) = &name.matcher else {
        walk.error_at("matcher", "it is missing (Envoy: required)");
        return None;
    };
    if !matches!(kind, SanType::Dns | SanType::Uri) {
        walk.error_at("san_type", "only DNS and URI are supported");
        return None;
    }
    walk.at("matcher", |walk| {
        let found = pattern(walk, matcher)?;
        if !matches!(found.pattern, StringPattern::Exact(_)) {
            walk.error("of a typed name only `exact` is supported");
            return None;
        }
        Some(found)
    })
}

fn pattern(walk: &mut Walk, matcher: &Matcher) -> Option<StringMatcher> {
    let (field, text, kind): (_, _, fn(Arc<str>) -> StringPattern) = match &matcher.match_pattern {
        Some(MatchPattern::Exact(text)) => ("exact", text, StringPattern::Exact),
        Some(MatchPattern::Prefix(text)) => ("prefix", text, StringPattern::Prefix),
        Some(MatchPattern::Suffix(text)) => ("suffix", text, StringPattern::Suffix),
        Some(MatchPattern::Contains(text)) => ("contains", text, StringPattern::Contains),
        Some(MatchPattern::SafeRegex(_)) => {
            walk.error_at("safe_regex", "names are not matched by patterns; use exact or suffix");
            return None;
        }
        Some(MatchPattern::Custom(_)) => {
            walk.error_at("custom", "it is not supported; use exact or suffix");
            return None;
        }
        None => {
            walk.error("it says nothing (Envoy: required)");
            return None;
        }
    };
    // An empty exact name is refused too: no certificate has it.
    if text.is_empty() {
        walk.error_at(field, "it is empty (Envoy: min_len 1)");
        return None;
    }
    let mut found = StringMatcher::new(kind(text.as_str().into()));
    found.ignore_case = matcher.ignore_case;
    Some(found)
}
