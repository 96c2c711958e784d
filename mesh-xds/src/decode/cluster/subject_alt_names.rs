//! `match_typed_subject_alt_names`, `match_subject_alt_names`: the names of a peer's certificate.
//!
//! Any of them must match (gRFC A29). The older list has no types: its names match alternative names of any
//! type ([`SanKind::Any`]).

use crate::decode::common::{self, Walk};
use crate::decode::route::matcher;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as proto;
use envoy_types::pb::envoy::r#type::matcher::v3::StringMatcher as Matcher;
use mesh_core::model::matcher::StringPattern;
use mesh_core::model::{SanKind, SanMatcher, StringMatcher};
use proto::subject_alt_name_matcher::SanType;
use std::sync::Arc;

/// The names of which the peer's certificate must have one.
#[expect(deprecated, reason = "gRPC and Istio use the names without types")]
pub(in crate::decode) fn names(
    walk: &mut Walk,
    validation: &proto::CertificateValidationContext,
) -> Vec<SanMatcher> {
    let typed = &validation.match_typed_subject_alt_names;
    let untyped = &validation.match_subject_alt_names;
    if typed.is_empty() {
        let field = |index| format!("match_subject_alt_names[{index}]");
        let names = untyped.iter().enumerate();
        let names = names
            .filter_map(|(index, name)| walk.at(field(index), |walk| whole_pattern(walk, name)));
        return names.map(SanMatcher::any).collect();
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

/// A name of one type, of a TLS context or of a policy.
pub(in crate::decode) fn typed_name(
    walk: &mut Walk,
    message: &proto::SubjectAltNameMatcher,
) -> Option<SanMatcher> {
    let kind = match common::enumeration::<SanType>(walk, "san_type", message.san_type)? {
        SanType::Dns => SanKind::Dns,
        SanType::Uri => SanKind::Uri,
        SanType::Email => SanKind::Email,
        SanType::IpAddress => SanKind::Ip,
        SanType::OtherName if message.oid.is_empty() => {
            walk.error_at("oid", "an other name has a type: write its numbers with dots");
            return None;
        }
        SanType::OtherName => SanKind::OtherName(Arc::from(&*message.oid)),
        SanType::Unspecified => {
            walk.error_at("san_type", "it is missing (Envoy: not_in 0)");
            return None;
        }
    };
    let Some(text) = &message.matcher else {
        walk.error_at("matcher", "it is missing (Envoy: required)");
        return None;
    };
    let matcher = walk.at("matcher", |walk| whole_pattern(walk, text))?;
    Some(SanMatcher { kind, matcher })
}

/// A pattern of a name; an empty exact one is refused: no certificate has it.
fn whole_pattern(walk: &mut Walk, message: &Matcher) -> Option<StringMatcher> {
    let found = matcher::string(walk, message)?;
    if let StringPattern::Exact(text) = &found.pattern
        && text.is_empty()
    {
        walk.error_at("exact", "it is empty, which no name is");
        return None;
    }
    Some(found)
}
