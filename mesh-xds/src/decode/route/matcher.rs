//! Matchers of strings, headers and query parameters, and shares (`type.matcher.v3`, `HeaderMatcher`).
//!
//! A matcher without a kind is refused, though Envoy takes it as "is present": it is also what a kind
//! newer than these messages looks like, and must not match more than meant.
//!
//! Matchers of `*-bin` headers are kept. For gRPC calls such headers count as absent (gRFC A28), for
//! others they are headers like any other: the router tells them apart.

use super::header::header_name;
use crate::decode::common::{self, Walk};
use envoy_types::pb::envoy::config::core::v3::RuntimeFractionalPercent;
use envoy_types::pb::envoy::config::route::v3 as pb;
use envoy_types::pb::envoy::r#type::matcher::v3 as pb_matcher;
use envoy_types::pb::envoy::r#type::v3::fractional_percent::DenominatorType;
use http::HeaderName;
use mesh_core::model::matcher::{HeaderMatcherKind, StringPattern};
use mesh_core::model::{
    Fraction, HeaderMatcher, QueryParameterMatcher, RegexPattern, StringMatcher,
};
use mesh_core::router::{CompiledRegex, CompiledSubstitution};
use pb::header_matcher::HeaderMatchSpecifier as Header;
use pb::query_parameter_matcher::QueryParameterMatchSpecifier as Query;
use pb_matcher::regex_matcher::EngineType;
use pb_matcher::string_matcher::MatchPattern;
use std::sync::Arc;

/// A condition on a header; `None` after an error.
pub(super) fn header(walk: &mut Walk, message: &pb::HeaderMatcher) -> Option<HeaderMatcher> {
    // Envoy: `host` and `:authority` are one.
    let name = match &*message.name {
        ":authority" => Some(HeaderName::from_static("host")),
        name => header_name(walk, "name", name),
    };
    let kind = header_kind(walk, message);
    let mut matcher = HeaderMatcher::new(name?, kind?);
    matcher.invert = message.invert_match;
    matcher.treat_missing_as_empty = message.treat_missing_header_as_empty;
    Some(matcher)
}

/// What the value of a header must be; `None` after an error.
#[expect(deprecated, reason = "gRFC A28 and control planes still have the old kinds")]
pub(in crate::decode) fn header_kind(
    walk: &mut Walk,
    message: &pb::HeaderMatcher,
) -> Option<HeaderMatcherKind> {
    match &message.header_match_specifier {
        None => {
            walk.error(
                "there is no kind of match that is known here: set `string_match`, `range_match`, \
                 or `present_match: true`",
            );
            None
        }
        Some(Header::PresentMatch(present)) => Some(HeaderMatcherKind::Present(*present)),
        Some(Header::RangeMatch(range)) => {
            if range.start >= range.end {
                walk.error_at(
                    "range_match",
                    format_args!(
                        "the range from {} to {} is empty: its end does not count",
                        range.start, range.end
                    ),
                );
            }
            Some(HeaderMatcherKind::Range(range.start..range.end))
        }
        Some(Header::StringMatch(matcher)) => {
            walk.at("string_match", |walk| string(walk, matcher)).map(HeaderMatcherKind::String)
        }
        Some(Header::SafeRegexMatch(matcher)) => {
            let pattern = walk.at("safe_regex_match", |walk| regex(walk, matcher));
            pattern.map(StringPattern::Regex).map(StringMatcher::new).map(HeaderMatcherKind::String)
        }
        Some(Header::ExactMatch(text)) => {
            Some(HeaderMatcherKind::String(StringMatcher::exact(&**text)))
        }
        Some(Header::PrefixMatch(text)) => {
            old_kind(walk, "prefix_match", text, StringPattern::Prefix)
        }
        Some(Header::SuffixMatch(text)) => {
            old_kind(walk, "suffix_match", text, StringPattern::Suffix)
        }
        Some(Header::ContainsMatch(text)) => {
            old_kind(walk, "contains_match", text, StringPattern::Contains)
        }
    }
}

/// Conditions on headers.
pub(in crate::decode) fn headers(
    walk: &mut Walk,
    field: &str,
    messages: &[pb::HeaderMatcher],
) -> Vec<HeaderMatcher> {
    let mut found = Vec::with_capacity(messages.len());
    for (at, message) in messages.iter().enumerate() {
        found.extend(walk.at(format_args!("{field}[{at}]"), |walk| header(walk, message)));
    }
    found
}

fn old_kind(
    walk: &mut Walk,
    field: &str,
    text: &str,
    pattern: fn(Arc<str>) -> StringPattern,
) -> Option<HeaderMatcherKind> {
    let text = filled(walk, field, text)?;
    Some(HeaderMatcherKind::String(StringMatcher::new(pattern(text))))
}

/// A text that is not empty: Envoy asks for one byte at least.
fn filled(walk: &mut Walk, field: &str, text: &str) -> Option<Arc<str>> {
    if text.is_empty() {
        walk.error_at(field, "an empty text matches everything; use `present_match: true`");
        return None;
    }
    Some(Arc::from(text))
}

/// A condition on a string.
pub(in crate::decode) fn string(
    walk: &mut Walk,
    message: &pb_matcher::StringMatcher,
) -> Option<StringMatcher> {
    let pattern = match &message.match_pattern {
        Some(MatchPattern::Exact(text)) => StringPattern::Exact(Arc::from(&**text)),
        Some(MatchPattern::Prefix(text)) => StringPattern::Prefix(filled(walk, "prefix", text)?),
        Some(MatchPattern::Suffix(text)) => StringPattern::Suffix(filled(walk, "suffix", text)?),
        Some(MatchPattern::Contains(text)) => {
            StringPattern::Contains(filled(walk, "contains", text)?)
        }
        Some(MatchPattern::SafeRegex(matcher)) => {
            // gRFC A63, Envoy: it has no effect on a regex.
            walk.ignored(
                message.ignore_case,
                "ignore_case",
                "it has no effect on a regex: write `(?i)` in the pattern",
            );
            StringPattern::Regex(walk.at("safe_regex", |walk| regex(walk, matcher))?)
        }
        Some(MatchPattern::Custom(custom)) => {
            walk.error_at(
                "custom",
                format_args!("the string matcher `{}` is not supported", custom.name),
            );
            return None;
        }
        None => {
            walk.error(
                "there is no pattern that is known here: set `exact`, `prefix`, `suffix`, \
                 `contains` or `safe_regex`",
            );
            return None;
        }
    };
    let mut matcher = StringMatcher::new(pattern);
    matcher.ignore_case =
        message.ignore_case && !matches!(matcher.pattern, StringPattern::Regex(_));
    Some(matcher)
}

/// A pattern, checked by the compiler that the router uses.
pub(super) fn regex(walk: &mut Walk, message: &pb_matcher::RegexMatcher) -> Option<RegexPattern> {
    engine(walk, message);
    pattern(walk, "regex", &message.regex)
}

/// A pattern of any field.
pub(super) fn pattern(walk: &mut Walk, field: &str, text: &str) -> Option<RegexPattern> {
    if text.is_empty() {
        walk.error_at(field, "a pattern is not empty (Envoy: `min_len: 1`)");
        return None;
    }
    // Nothing is compiled in vain when the resource is refused for its patterns anyway.
    if !common::count_regex(walk, 0) {
        return None;
    }
    let pattern = RegexPattern::new(text);
    match CompiledRegex::full_match(&pattern) {
        Ok(compiled) => common::count_regex(walk, compiled.memory_usage()).then_some(pattern),
        Err(error) => {
            walk.error_at(field, format_args!("`{text}`: {error}"));
            None
        }
    }
}

/// A pattern and what takes the place of its matches.
pub(super) fn substitution(
    walk: &mut Walk,
    message: &pb_matcher::RegexMatchAndSubstitute,
) -> Option<(RegexPattern, Arc<str>)> {
    let Some(matcher) = &message.pattern else {
        walk.error_at("pattern", "a rewrite by regex has a pattern");
        return None;
    };
    let pattern = walk.at("pattern", |walk| regex(walk, matcher))?;
    let text = replacement(walk, &pattern, &message.substitution)?;
    Some((pattern, text))
}

/// What takes the place of a pattern's matches; the field is `substitution` wherever it stands.
pub(super) fn replacement(walk: &mut Walk, pattern: &RegexPattern, text: &str) -> Option<Arc<str>> {
    if let Err(error) = CompiledSubstitution::new(pattern, text) {
        walk.error_at("substitution", format_args!("`{text}`: {error}"));
        return None;
    }
    Some(Arc::from(text))
}

#[expect(deprecated, reason = "the engine is always RE2; its old option is reported")]
fn engine(walk: &mut Walk, message: &pb_matcher::RegexMatcher) {
    if let Some(EngineType::GoogleRe2(re2)) = &message.engine_type {
        walk.ignored(
            re2.max_program_size.is_some(),
            "google_re2.max_program_size",
            "a pattern's size is bounded here anyway (gRFC A28 ignores it too)",
        );
    }
}

/// A condition on a query parameter.
pub(super) fn query_parameter(
    walk: &mut Walk,
    message: &pb::QueryParameterMatcher,
) -> Option<QueryParameterMatcher> {
    if message.name.is_empty() {
        walk.error_at("name", "a query parameter has a name");
    }
    let value = match &message.query_parameter_match_specifier {
        None => {
            walk.error(
                "there is no kind of match that is known here: set `string_match`, or \
                 `present_match: true`",
            );
            return None;
        }
        Some(Query::StringMatch(matcher)) => {
            Some(walk.at("string_match", |walk| string(walk, matcher))?)
        }
        Some(Query::PresentMatch(_)) => None,
    };
    Some(QueryParameterMatcher::new(&*message.name, value))
}

/// A share of requests; the run-time key is for Envoy's own run-time settings.
pub(super) fn runtime_fraction(
    walk: &mut Walk,
    message: &RuntimeFractionalPercent,
) -> Option<Fraction> {
    // gRFC A28: the key is ignored.
    walk.ignored(
        !message.runtime_key.is_empty(),
        "runtime_key",
        "there are no run-time settings; the default holds",
    );
    let Some(share) = &message.default_value else {
        walk.error_at("default_value", "a share has a default value");
        return None;
    };
    let per_million = match DenominatorType::try_from(share.denominator) {
        Ok(DenominatorType::Hundred) => share.numerator.saturating_mul(10_000),
        Ok(DenominatorType::TenThousand) => share.numerator.saturating_mul(100),
        Ok(DenominatorType::Million) => share.numerator,
        Err(_) => {
            walk.error_at(
                "default_value.denominator",
                format_args!("{} is no denominator that is known here", share.denominator),
            );
            return None;
        }
    };
    // Envoy: more than the whole is the whole.
    Some(Fraction::per_million(per_million))
}
