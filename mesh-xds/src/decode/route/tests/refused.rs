//! What is refused, with the place and the reason.

use super::*;
use crate::decode::common::{REGEX_BYTES, Walk, count_regex};
use crate::decode::route::matcher::regex as decode_regex;
use matcher::string_matcher::MatchPattern;
use pb::header_matcher::HeaderMatchSpecifier as Header;
use pb::route_match::PathSpecifier as Path;

/// One error at a place in the route.
#[track_caller]
pub(super) fn refuses(rule: &str, edit: impl FnOnce(&mut pb::RouteConfiguration), expected: &str) {
    check(rule, edit, &[&format!("! {expected}")]);
}

#[test]
fn names_and_domains() {
    refuses("gRFC A27", |m| m.name.clear(), "name: has one");
    refuses("gRFC A28", |m| host(m).domains.clear(), "H.domains: at least one");
    refuses("Envoy: min_len 1", |m| host(m).domains.push(String::new()), "H.domains[1]: not empty");
    for domain in ["a*b", "**", "*a*", "a b", "http://a", "a/b"] {
        refuses(
            "gRFC A28",
            |m| host(m).domains = vec![domain.into()],
            &format!("H.domains[0]: {domain}"),
        );
    }
    refuses("bound", |m| host(m).domains = vec!["a".repeat(513)], "H.domains[0]: 512");
    refuses(
        "Envoy: unique",
        |m| host(m).domains.push("*".into()),
        "H.domains[1]: virtual_hosts[0]",
    );
    refuses(
        "Envoy: unique over all, without case",
        |m| {
            let mut second = host(m).clone();
            host(m).domains = vec!["Shop".into()];
            second.domains = vec!["other".into(), "sHop".into()];
            second.name = "second".into();
            m.virtual_hosts.push(second);
        },
        "virtual_hosts[1].domains[1]: `shop` is taken by virtual_hosts[0]",
    );
    refuses(
        "Envoy: unique names",
        |m| {
            let mut second = host(m).clone();
            second.domains = vec!["other".into()];
            m.virtual_hosts.push(second);
        },
        "virtual_hosts[1].name: `all`",
    );
}

#[test]
fn all_errors_of_all_virtual_hosts_are_found() {
    check(
        "gRFC A36, A40: one NACK lists all",
        |m| {
            let mut second = host(m).clone();
            second.name = "second".into();
            second.domains = vec!["other".into()];
            m.virtual_hosts.push(second);
            action(m).timeout = millis(-1000);
            matches(m).path_specifier = None;
            m.virtual_hosts[1].routes[0].action = None;
            m.virtual_hosts[1].domains.push(String::new());
        },
        &[
            "! R.match: no path specifier",
            "! R.route.timeout: no duration",
            "! virtual_hosts[1].domains[1]: not empty",
            "! virtual_hosts[1].routes[0]: no action",
        ],
    );
}

#[test]
fn routes_and_paths() {
    refuses("Envoy: required", |m| route(m).r#match = None, "R.match: which requests");
    refuses("gRFC A28", |m| matches(m).path_specifier = None, "R.match: no path specifier");
    refuses("Envoy: required", |m| route(m).action = None, "R: no action");
    refuses("Envoy", |m| path(m, Path::Path("/a?b".into())), "R.match.path: query_parameters");
    for prefix in ["", "/", "/a/", "/a?b", "/a#b"] {
        refuses(
            "Envoy: path_separated_prefix",
            |m| path(m, Path::PathSeparatedPrefix(prefix.into())),
            "R.match.path_separated_prefix: `prefix`",
        );
    }
    for pattern in ["(", "a)(b", "(?=a)", r"(a)\1", "a{1001}", "((a{500}){500}){500}"] {
        refuses(
            "gRFC A28: a bad regex",
            |m| path(m, Path::SafeRegex(regex(pattern))),
            &format!("R.match.safe_regex.regex: `{pattern}`"),
        );
    }
    refuses(
        "bound",
        |m| path(m, Path::SafeRegex(regex(&"a".repeat(4097)))),
        "R.match.safe_regex.regex: 4096",
    );
    refuses(
        "Envoy: min_len 1",
        |m| path(m, Path::SafeRegex(regex(""))),
        "R.match.safe_regex.regex: not empty",
    );
    refuses(
        "by name",
        |m| path(m, Path::PathMatchPolicy(extension("uri"))),
        "R.match.path_match_policy: `uri`",
    );
    refuses(
        "Envoy: required",
        |m| matches(m).runtime_fraction = Some(Default::default()),
        "R.match.runtime_fraction.default_value: default",
    );
    refuses(
        "Envoy: defined_only",
        |m| matches(m).runtime_fraction = Some(share(1, 3)),
        "R.match.runtime_fraction.default_value.denominator: 3",
    );
}

#[test]
#[expect(deprecated, reason = "the old kinds are read")]
fn conditions_on_headers() {
    let text = |pattern| Header::StringMatch(string(pattern));
    let none = String::new;
    let custom = envoy_types::pb::xds::core::v3::TypedExtensionConfig {
        name: "lua".into(),
        typed_config: None,
    };
    let range = |start, end| Header::RangeMatch(types::Int64Range { start, end });
    let rows = [
        // A kind that is newer than these messages looks so.
        (Header::StringMatch(Default::default()), "string_match: no pattern"),
        (text(MatchPattern::Custom(custom)), "string_match.custom: `lua`"),
        // Envoy: min_len 1.
        (Header::PrefixMatch(none()), "prefix_match: everything"),
        (Header::SuffixMatch(none()), "suffix_match: everything"),
        (Header::ContainsMatch(none()), "contains_match: everything"),
        (text(MatchPattern::Prefix(none())), "string_match.prefix: everything"),
        (text(MatchPattern::Suffix(none())), "string_match.suffix: everything"),
        (text(MatchPattern::Contains(none())), "string_match.contains: everything"),
        // gRFC A28, A63: a bad regex.
        (Header::SafeRegexMatch(regex("[")), "safe_regex_match.regex: `[`"),
        (text(MatchPattern::SafeRegex(regex("["))), "string_match.safe_regex.regex: `[`"),
        (range(1, 1), "range_match: empty"),
        (range(2, 1), "range_match: empty"),
        (range(i64::MAX, i64::MIN), "range_match: empty"),
    ];
    for (kind, expected) in rows {
        let expected = format!("R.match.headers[0].{expected}");
        refuses("each kind", |m| drop(header(m, "a", kind).clone()), &expected);
    }
    let newer = "R.match.headers[0]: present_match";
    refuses("a newer kind looks so", |m| drop(header(m, "a", None).clone()), newer);
    for name in ["", "a b", "a:b", "é", "a\n"] {
        let present = Header::PresentMatch(true);
        let expected = "R.match.headers[0].name: no name of a header";
        refuses("RFC 9110 §5.1", |m| drop(header(m, name, present).clone()), expected);
    }
}

#[test]
fn conditions_on_query_parameters() {
    use pb::query_parameter_matcher::QueryParameterMatchSpecifier as Query;
    let empty = Query::StringMatch(string(MatchPattern::Prefix(String::new())));
    let rows = [
        ("q", None, "R.match.query_parameters[0]: present_match"),
        ("", Some(Query::PresentMatch(true)), "R.match.query_parameters[0].name: name"),
        ("q", Some(empty), "R.match.query_parameters[0].string_match.prefix: everything"),
    ];
    for (name, kind, expected) in rows {
        let parameter =
            pb::QueryParameterMatcher { name: name.into(), query_parameter_match_specifier: kind };
        refuses("Envoy", |m| matches(m).query_parameters = vec![parameter], expected);
    }
}

#[test]
fn patterns_are_bounded_together() {
    let mut walk = Walk::default();
    assert!(count_regex(&mut walk, REGEX_BYTES));
    assert_eq!(walk.errors(), 0);
    let one = regex("a");
    assert_eq!(decode_regex(&mut walk, &one), None);
    assert_eq!(walk.errors(), 1);
    // Said once, and nothing is compiled any more.
    assert_eq!(decode_regex(&mut walk, &regex("(")), None);
    assert_eq!(walk.errors(), 1);
}

#[test]
fn what_is_no_message_is_refused() {
    let decoded = decode(ResourceType::RouteConfiguration, &[0xff, 0xff], &Context::default());
    assert_eq!(decoded.name, None);
    assert!(decoded.resource.unwrap_err()[0].message.contains("not a valid message"));
}
