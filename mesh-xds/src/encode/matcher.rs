//! Matchers of strings, headers, query parameters and shares.

use super::wrap::flag;
use envoy_types::pb::envoy::config::core::v3::RuntimeFractionalPercent;
use envoy_types::pb::envoy::config::route::v3::{
    self as pb,
    header_matcher::HeaderMatchSpecifier,
    query_parameter_matcher,
    route_match::{GrpcRouteMatchOptions, PathSpecifier},
};
use envoy_types::pb::envoy::r#type::matcher::v3::{
    RegexMatchAndSubstitute, RegexMatcher, StringMatcher as PbStringMatcher,
    string_matcher::MatchPattern,
};
use envoy_types::pb::envoy::r#type::v3::{
    FractionalPercent, Int64Range, fractional_percent::DenominatorType,
};
use http::Method;
use mesh_core::model::matcher::{HeaderMatcherKind, StringPattern};
use mesh_core::model::{
    Fraction, HeaderMatcher, PathMatcher, QueryParameterMatcher, RegexPattern, RouteMatch,
    StringMatcher,
};

/// A `RouteMatch`.
pub(super) fn route_match(model: &RouteMatch) -> pb::RouteMatch {
    let path = match &model.path {
        PathMatcher::Prefix(text) => PathSpecifier::Prefix(text.to_string()),
        PathMatcher::Path(text) => PathSpecifier::Path(text.to_string()),
        PathMatcher::PathSeparatedPrefix(text) => {
            PathSpecifier::PathSeparatedPrefix(text.to_string())
        }
        PathMatcher::Regex(pattern) => PathSpecifier::SafeRegex(regex(pattern)),
    };
    let methods = method_matcher(&model.methods);
    pb::RouteMatch {
        path_specifier: Some(path),
        // Absent means true (Envoy: `RouteMatch.case_sensitive`).
        case_sensitive: if model.case_sensitive { None } else { flag(false) },
        headers: methods.into_iter().chain(model.headers.iter().map(header)).collect(),
        query_parameters: model.query_parameters.iter().map(query_parameter).collect(),
        grpc: model.grpc.then_some(GrpcRouteMatchOptions {}),
        runtime_fraction: model.runtime_fraction.map(|share| RuntimeFractionalPercent {
            default_value: Some(fraction(share)),
            runtime_key: String::new(),
        }),
        ..pb::RouteMatch::default()
    }
}

/// The methods as a matcher of `:method`, which is how Envoy takes them: one as it is, several as a
/// regular expression of alternatives.
fn method_matcher(methods: &[Method]) -> Option<pb::HeaderMatcher> {
    let pattern = match methods {
        [] => return None,
        [one] => MatchPattern::Exact(one.to_string()),
        several => {
            let alternatives: Vec<_> = several.iter().map(|m| escape(m.as_str())).collect();
            MatchPattern::SafeRegex(regex_text(alternatives.join("|")))
        }
    };
    let matcher = PbStringMatcher { match_pattern: Some(pattern), ignore_case: false };
    Some(pb::HeaderMatcher {
        name: ":method".to_owned(),
        header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(matcher)),
        ..pb::HeaderMatcher::default()
    })
}

/// `text` as a regular expression that matches it alone.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_ascii_punctuation() && !matches!(letter, '_' | '-' | '/') {
            escaped.push('\\');
        }
        escaped.push(letter);
    }
    escaped
}

/// A `HeaderMatcher`.
pub(super) fn header(model: &HeaderMatcher) -> pb::HeaderMatcher {
    pb::HeaderMatcher {
        name: model.name.to_string(),
        invert_match: model.invert,
        treat_missing_header_as_empty: model.treat_missing_as_empty,
        header_match_specifier: Some(header_specifier(&model.kind)),
    }
}

/// What a header's value must be.
pub(super) fn header_specifier(kind: &HeaderMatcherKind) -> HeaderMatchSpecifier {
    match kind {
        HeaderMatcherKind::Present(present) => HeaderMatchSpecifier::PresentMatch(*present),
        HeaderMatcherKind::String(matcher) => HeaderMatchSpecifier::StringMatch(string(matcher)),
        HeaderMatcherKind::Range(range) => {
            HeaderMatchSpecifier::RangeMatch(Int64Range { start: range.start, end: range.end })
        }
    }
}

fn query_parameter(model: &QueryParameterMatcher) -> pb::QueryParameterMatcher {
    use query_parameter_matcher::QueryParameterMatchSpecifier as Specifier;
    let specifier = match &model.value {
        Some(matcher) => Specifier::StringMatch(string(matcher)),
        None => Specifier::PresentMatch(true),
    };
    pb::QueryParameterMatcher {
        name: model.name.to_string(),
        query_parameter_match_specifier: Some(specifier),
    }
}

/// A `StringMatcher`.
pub(super) fn string(model: &StringMatcher) -> PbStringMatcher {
    let pattern = match &model.pattern {
        StringPattern::Exact(text) => MatchPattern::Exact(text.to_string()),
        StringPattern::Prefix(text) => MatchPattern::Prefix(text.to_string()),
        StringPattern::Suffix(text) => MatchPattern::Suffix(text.to_string()),
        StringPattern::Contains(text) => MatchPattern::Contains(text.to_string()),
        StringPattern::Regex(pattern) => MatchPattern::SafeRegex(regex(pattern)),
    };
    PbStringMatcher { match_pattern: Some(pattern), ignore_case: model.ignore_case }
}

/// A `RegexMatcher`; without an engine, which is RE2.
pub(super) fn regex(pattern: &RegexPattern) -> RegexMatcher {
    regex_text(pattern.0.to_string())
}

const fn regex_text(regex: String) -> RegexMatcher {
    RegexMatcher { regex, engine_type: None }
}

/// A `RegexMatchAndSubstitute`.
pub(super) fn substitute(pattern: &RegexPattern, substitution: &str) -> RegexMatchAndSubstitute {
    RegexMatchAndSubstitute { pattern: Some(regex(pattern)), substitution: substitution.to_owned() }
}

/// A `FractionalPercent`, in parts per million.
pub(super) fn fraction(share: Fraction) -> FractionalPercent {
    FractionalPercent {
        numerator: share.as_per_million(),
        denominator: DenominatorType::Million.into(),
    }
}
