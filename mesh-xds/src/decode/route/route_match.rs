//! `RouteMatch`: which requests.
//!
//! A condition that can't be evaluated here skips its route: dropping it would take more requests than
//! meant (gRFC A28 drops some; tonic-xds did, see the tests).

use super::matcher;
use crate::decode::common::Walk;
use envoy_types::pb::envoy::config::route::v3 as pb;
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use http::Method;
use mesh_core::model::{PathMatcher, RouteMatch};
use pb::header_matcher::HeaderMatchSpecifier as Header;
use pb::route_match::PathSpecifier as Path;
use std::sync::Arc;

const SKIPPED_CONNECT: &str = "the route is skipped: CONNECT is not routed";
const SKIPPED_COOKIES: &str =
    "the route is skipped: cookies are not matched by name; match the `cookie` header by regex";
const SKIPPED_TLS: &str = "the route is skipped: a call has no TLS of a caller to look at";
const SKIPPED_METADATA: &str = "the route is skipped: no filter makes metadata here";
const SKIPPED_STATE: &str = "the route is skipped: no filter makes filter state here";
const SKIPPED_METHOD: &str =
    "the route is skipped: a method is matched by exact text, or a regex of names: `GET|POST`";
const SKIPPED_NO_METHOD: &str = "the route is skipped: no method fulfils all its conditions";
const SKIPPED_PSEUDO: &str = "the route is skipped: of pseudo headers, only `:method` and \
                              `:authority` are matched";
const SKIPPED_ABSENT: &str = "the route is skipped: a query parameter's absence can't be matched";

/// Decodes a match; `None`: the route is skipped, or has an error.
pub(in crate::decode) fn decode(walk: &mut Walk, message: &pb::RouteMatch) -> Option<RouteMatch> {
    let before = walk.errors();
    let mut kept = supported(walk, message);
    let path = match &message.path_specifier {
        None => {
            // gRFC A28; Envoy: required.
            walk.error(
                "there is no path specifier that is known here: set `prefix`, `path`, \
                 `path_separated_prefix` or `safe_regex`",
            );
            None
        }
        Some(specifier) => path(walk, specifier),
    };
    let mut found = RouteMatch::new(path.unwrap_or_else(PathMatcher::any));
    found.case_sensitive = message.case_sensitive.is_none_or(|case| case.value);
    found.grpc = message.grpc.is_some();
    let mut methods: Option<Vec<Method>> = None;
    for (at, header) in message.headers.iter().enumerate() {
        walk.at(format_args!("headers[{at}]"), |walk| {
            kept &= condition(walk, header, &mut found, &mut methods);
        });
    }
    if methods.as_ref().is_some_and(Vec::is_empty) {
        // An empty list would take every method.
        walk.unguarded(true, "headers", SKIPPED_NO_METHOD);
        kept = false;
    }
    found.methods = methods.unwrap_or_default();
    for (at, parameter) in message.query_parameters.iter().enumerate() {
        walk.at(format_args!("query_parameters[{at}]"), |walk| {
            use pb::query_parameter_matcher::QueryParameterMatchSpecifier as Query;
            if matches!(parameter.query_parameter_match_specifier, Some(Query::PresentMatch(false)))
            {
                walk.unguarded(true, "present_match", SKIPPED_ABSENT);
                kept = false;
            }
            found.query_parameters.extend(matcher::query_parameter(walk, parameter));
        });
    }
    if let Some(fraction) = &message.runtime_fraction {
        found.runtime_fraction =
            walk.at("runtime_fraction", |walk| matcher::runtime_fraction(walk, fraction));
    }
    (kept && walk.errors() == before).then_some(found)
}

/// Whether all kinds of conditions that are set can be evaluated.
fn supported(walk: &mut Walk, message: &pb::RouteMatch) -> bool {
    let connect = matches!(message.path_specifier, Some(Path::ConnectMatcher(_)));
    let unsupported = [
        (!message.cookies.is_empty(), "cookies", SKIPPED_COOKIES),
        (message.tls_context.is_some(), "tls_context", SKIPPED_TLS),
        (!message.dynamic_metadata.is_empty(), "dynamic_metadata", SKIPPED_METADATA),
        (!message.filter_state.is_empty(), "filter_state", SKIPPED_STATE),
    ];
    for (set, field, reason) in unsupported {
        walk.unguarded(set, field, reason);
    }
    // A port takes no CONNECT, whatever its routes say.
    walk.ignored(connect, "connect_matcher", SKIPPED_CONNECT);
    !connect && unsupported.iter().all(|(set, ..)| !set)
}

fn path(walk: &mut Walk, specifier: &Path) -> Option<PathMatcher> {
    match specifier {
        Path::Prefix(prefix) => Some(PathMatcher::Prefix(Arc::from(&**prefix))),
        Path::Path(path) => {
            if path.contains(['?', '#']) {
                walk.error_at(
                    "path",
                    format_args!(
                        "`{path}`: an exact path is compared without the query; match that with \
                         `query_parameters`"
                    ),
                );
            }
            Some(PathMatcher::Path(Arc::from(&**path)))
        }
        Path::PathSeparatedPrefix(prefix) => {
            // Envoy: `path_separated_prefix`, "Expect the value to not contain ? or # and not to end
            // in /".
            if prefix.is_empty() || prefix.contains(['?', '#']) || prefix.ends_with('/') {
                walk.error_at(
                    "path_separated_prefix",
                    format_args!(
                        "`{prefix}`: this prefix is not empty, holds no `?` or `#` and does not end \
                         in `/`; use `prefix` for others"
                    ),
                );
            }
            Some(PathMatcher::PathSeparatedPrefix(Arc::from(&**prefix)))
        }
        Path::SafeRegex(regex) => {
            walk.at("safe_regex", |walk| matcher::regex(walk, regex)).map(PathMatcher::Regex)
        }
        Path::PathMatchPolicy(policy) => {
            walk.error_at(
                "path_match_policy",
                format_args!(
                    "the path matcher `{}` is not supported: use `prefix`, `path`, \
                     `path_separated_prefix` or `safe_regex`",
                    policy.name
                ),
            );
            None
        }
        // Skipped by `supported`.
        Path::ConnectMatcher(_) => None,
    }
}

/// Adds a condition on a header; `false`: it can't be evaluated, the route is skipped.
fn condition(
    walk: &mut Walk,
    message: &pb::HeaderMatcher,
    found: &mut RouteMatch,
    methods: &mut Option<Vec<Method>>,
) -> bool {
    match &*message.name {
        ":method" => match method(message) {
            Taken::All => true,
            Taken::These(these) => {
                *methods = Some(match methods.take() {
                    None => these,
                    Some(both) => both.into_iter().filter(|one| these.contains(one)).collect(),
                });
                true
            }
            Taken::Unknown => {
                walk.unguarded(true, "name", SKIPPED_METHOD);
                false
            }
        },
        name if name.starts_with(':') && name != ":authority" => {
            walk.unguarded(true, "name", SKIPPED_PSEUDO);
            false
        }
        _ => {
            found.headers.extend(matcher::header(walk, message));
            true
        }
    }
}

/// The methods that a condition takes.
enum Taken {
    All,
    These(Vec<Method>),
    Unknown,
}

/// Reads a condition on `:method`, which is always there.
#[expect(deprecated, reason = "control planes still send the old kinds")]
fn method(message: &pb::HeaderMatcher) -> Taken {
    let these = |names: &str| {
        let names = names.split('|').map(|name| Method::from_bytes(name.as_bytes()));
        // A regex special character that may stand in a method means something else there.
        names.collect::<Result<_, _>>().map_or(Taken::Unknown, Taken::These)
    };
    let plain = |regex: &str| regex.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'|');
    let whole = |text: &str| match text.contains('|') {
        true => Taken::Unknown,
        false => these(text),
    };
    let pattern = match &message.header_match_specifier {
        Some(Header::PresentMatch(present)) if *present != message.invert_match => {
            return Taken::All;
        }
        Some(Header::PresentMatch(_)) => return Taken::These(Vec::new()),
        _ if message.invert_match => return Taken::Unknown,
        Some(Header::ExactMatch(text)) => return whole(text),
        Some(Header::SafeRegexMatch(regex)) => &regex.regex,
        Some(Header::StringMatch(string)) => match &string.match_pattern {
            Some(MatchPattern::Exact(text)) if !string.ignore_case => return whole(text),
            Some(MatchPattern::SafeRegex(regex)) => &regex.regex,
            _ => return Taken::Unknown,
        },
        _ => return Taken::Unknown,
    };
    let inner = pattern.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
    let names = inner.unwrap_or(pattern);
    if plain(names) { these(names) } else { Taken::Unknown }
}
