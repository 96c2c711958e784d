//! What a configuration becomes.

use super::*;
use http::{HeaderName, Method};
use matcher::string_matcher::MatchPattern;
use model::matcher::{HeaderMatcherKind, StringPattern};
use model::{
    Fraction, HeaderMatcher, PathMatcher, QueryParameterMatcher, RegexPattern, StringMatcher,
};
use pb::header_matcher::HeaderMatchSpecifier as Header;
use pb::route_match::PathSpecifier as Path;

fn name(text: &'static str) -> HeaderName {
    HeaderName::from_static(text)
}

fn pattern(text: &str) -> RegexPattern {
    RegexPattern::new(text)
}

#[test]
fn the_least_is_enough() {
    means("gRFC A28", |_| {}, |_| {});
    means("Envoy: a name", |m| route(m).name = "first".into(), |r| r.name = "first".into());
    let decoded = check("Envoy: none answers 404", |m| m.virtual_hosts.clear(), &[]);
    assert!(accepted(&decoded).model.virtual_hosts.is_empty());
    let decoded = check("Envoy: none answers 404", |m| host(m).routes.clear(), &[]);
    assert!(accepted(&decoded).model.virtual_hosts[0].routes.is_empty());
    let decoded = check(
        "gRFC A28: no name",
        |m| {
            host(m).name.clear();
            host(m).domains = vec!["Reviews.Shop:80".into(), "*.shop".into(), "shop.*".into()];
        },
        &[],
    );
    let routes = accepted(&decoded);
    let host = &routes.model.virtual_hosts[0];
    assert_eq!(&*host.name, "Reviews.Shop:80");
    let domains: Vec<_> = host.domains.iter().map(ToString::to_string).collect();
    assert_eq!(domains, ["reviews.shop:80", "*.shop", "shop.*"]);
    assert_eq!(
        (&*routes.name, &*routes.model.name, decoded.name.as_deref()),
        ("r", "r", Some("r"))
    );
}

#[test]
fn paths() {
    let to = |expected: PathMatcher| move |r: &mut Route| r.matcher.path = expected;
    for prefix in ["", "/", "/a", "/a?b", "a"] {
        means(
            "Envoy: any text",
            |m| path(m, Path::Prefix(prefix.into())),
            to(PathMatcher::Prefix(prefix.into())),
        );
    }
    means(
        "gRFC A28",
        |m| path(m, Path::Path("/a.B/c".into())),
        to(PathMatcher::Path("/a.B/c".into())),
    );
    means(
        "Envoy",
        |m| path(m, Path::PathSeparatedPrefix("/a".into())),
        to(PathMatcher::PathSeparatedPrefix("/a".into())),
    );
    means(
        "gRFC A28",
        |m| path(m, Path::SafeRegex(regex("/a|/b"))),
        to(PathMatcher::Regex(pattern("/a|/b"))),
    );
    means(
        "gRFC A28",
        |m| matches(m).case_sensitive = flag(false),
        |r| r.matcher.case_sensitive = false,
    );
    means("gRFC A28", |m| matches(m).case_sensitive = flag(true), |_| {});
    means("Envoy", |m| matches(m).grpc = Some(Default::default()), |r| r.matcher.grpc = true);
    for (numerator, denominator, parts) in [
        (0, 0, 0),
        (25, 0, 250_000),
        (7, 1, 700),
        (9, 2, 9),
        (200, 0, 1_000_000),
        (u32::MAX, 1, 1_000_000),
    ] {
        means(
            "gRFC A28: parts per million",
            |m| matches(m).runtime_fraction = Some(share(numerator, denominator)),
            |r| {
                r.matcher.runtime_fraction = Some(Fraction::per_million(parts));
            },
        );
    }
}

#[test]
#[expect(deprecated, reason = "the old kinds are read")]
fn conditions_on_headers() {
    let text = |pattern| HeaderMatcherKind::String(StringMatcher::new(pattern));
    let kinds = [
        (Header::ExactMatch("v".into()), text(StringPattern::Exact("v".into()))),
        (Header::ExactMatch(String::new()), text(StringPattern::Exact("".into()))),
        (Header::PrefixMatch("v".into()), text(StringPattern::Prefix("v".into()))),
        (Header::SuffixMatch("v".into()), text(StringPattern::Suffix("v".into()))),
        (Header::ContainsMatch("v".into()), text(StringPattern::Contains("v".into()))),
        (Header::SafeRegexMatch(regex("v+")), text(StringPattern::Regex(pattern("v+")))),
        (Header::PresentMatch(true), HeaderMatcherKind::Present(true)),
        (Header::PresentMatch(false), HeaderMatcherKind::Present(false)),
        (
            Header::RangeMatch(types::Int64Range { start: -1, end: 2 }),
            HeaderMatcherKind::Range(-1..2),
        ),
        (
            Header::StringMatch(string(MatchPattern::Exact("v".into()))),
            text(StringPattern::Exact("v".into())),
        ),
        (
            Header::StringMatch(string(MatchPattern::Prefix("v".into()))),
            text(StringPattern::Prefix("v".into())),
        ),
        (
            Header::StringMatch(string(MatchPattern::Suffix("v".into()))),
            text(StringPattern::Suffix("v".into())),
        ),
        (
            Header::StringMatch(string(MatchPattern::Contains("v".into()))),
            text(StringPattern::Contains("v".into())),
        ),
        (
            Header::StringMatch(string(MatchPattern::SafeRegex(regex("v")))),
            text(StringPattern::Regex(pattern("v"))),
        ),
    ];
    for (kind, expected) in kinds {
        means(
            "gRFC A28, A63",
            |m| {
                header(m, "X-A", kind);
            },
            |r| {
                r.matcher.headers = vec![HeaderMatcher::new(name("x-a"), expected)];
            },
        );
    }
}

#[test]
fn names_and_flags_of_conditions() {
    let present = |text| HeaderMatcher::new(name(text), HeaderMatcherKind::Present(true));
    means(
        "gRFC A28: the router tells gRPC's apart",
        |m| {
            header(m, "trace-bin", Header::PresentMatch(true));
        },
        |r| {
            r.matcher.headers = vec![present("trace-bin")];
        },
    );
    means(
        "Envoy: one with host",
        |m| {
            header(m, ":authority", Header::PresentMatch(true));
        },
        |r| {
            r.matcher.headers = vec![present("host")];
        },
    );
    means(
        "Envoy",
        |m| {
            let matcher = header(m, "a", Header::PresentMatch(true));
            matcher.invert_match = true;
            matcher.treat_missing_header_as_empty = true;
        },
        |r| {
            let mut matcher = present("a");
            matcher.invert = true;
            matcher.treat_missing_as_empty = true;
            r.matcher.headers = vec![matcher];
        },
    );
    means(
        "gRFC A63",
        |m| {
            let match_pattern = Some(MatchPattern::Exact("V".into()));
            header(
                m,
                "a",
                Header::StringMatch(matcher::StringMatcher { ignore_case: true, match_pattern }),
            );
        },
        |r| {
            let mut string = StringMatcher::exact("V");
            string.ignore_case = true;
            r.matcher.headers =
                vec![HeaderMatcher::new(name("a"), HeaderMatcherKind::String(string))];
        },
    );
}

#[test]
#[expect(deprecated, reason = "the old kinds are read")]
fn methods() {
    const RULE: &str = "Envoy: `:method` is a header";
    let post: [(&[Header], &[Method]); 6] = [
        (&[Header::ExactMatch("POST".into())], &[Method::POST]),
        (&[Header::StringMatch(string(MatchPattern::Exact("POST".into())))], &[Method::POST]),
        (&[Header::SafeRegexMatch(regex("GET|POST"))], &[Method::GET, Method::POST]),
        (
            &[Header::StringMatch(string(MatchPattern::SafeRegex(regex("(GET|PUT)"))))],
            &[Method::GET, Method::PUT],
        ),
        (
            &[Header::SafeRegexMatch(regex("GET|POST")), Header::ExactMatch("POST".into())],
            &[Method::POST],
        ),
        (&[Header::PresentMatch(true)], &[]),
    ];
    for (kinds, expected) in post {
        means(
            RULE,
            |m| {
                for kind in kinds {
                    header(m, ":method", kind.clone());
                }
            },
            |r| r.matcher.methods = expected.to_vec(),
        );
    }
    means(RULE, |m| header(m, ":method", Header::PresentMatch(false)).invert_match = true, |_| {});
}

#[test]
fn query_parameters() {
    use pb::query_parameter_matcher::QueryParameterMatchSpecifier as Query;
    for (kind, value) in [
        (Query::PresentMatch(true), None),
        (
            Query::StringMatch(string(MatchPattern::Exact("v".into()))),
            Some(StringMatcher::exact("v")),
        ),
    ] {
        means(
            "Envoy",
            |m| {
                matches(m).query_parameters = vec![pb::QueryParameterMatcher {
                    name: "q".into(),
                    query_parameter_match_specifier: Some(kind),
                }]
            },
            |r| r.matcher.query_parameters = vec![QueryParameterMatcher::new("q", value)],
        );
    }
}
