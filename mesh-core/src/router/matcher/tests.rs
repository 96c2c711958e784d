use super::*;
use crate::model::RegexPattern;
use http::{HeaderValue, Method};

fn header_map(lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn string(pattern: StringPattern) -> HeaderMatcherKind {
    HeaderMatcherKind::String(StringMatcher::new(pattern))
}

/// Results for: plain, inverted, missing as empty, both.
#[track_caller]
fn check(kind: &HeaderMatcherKind, lines: &[(&'static str, &str)], expected: [bool; 4]) {
    let headers = header_map(lines);
    for (at, (invert, empty)) in
        [(false, false), (true, false), (false, true), (true, true)].into_iter().enumerate()
    {
        let mut matcher = HeaderMatcher::new(HeaderName::from_static("x"), kind.clone());
        (matcher.invert, matcher.treat_missing_as_empty) = (invert, empty);
        let compiled = CompiledHeaderMatcher::new(&matcher).unwrap();
        assert_eq!(compiled.matches(&headers), expected[at], "{matcher:?} {lines:?}");
    }
}

#[test]
fn a_missing_header_matches_only_its_absence() {
    // Envoy: `HeaderUtility::matchHeaders`.
    let (hit, miss) = ([true, false, true, false], [false, true, false, true]);
    let exact = string(StringPattern::Exact("a".into()));
    let nothing = string(StringPattern::Exact("".into()));
    check(&exact, &[("x", "a")], hit);
    check(&exact, &[("x", "b")], miss);
    check(&exact, &[], [false, false, false, true]);
    check(&nothing, &[], [false, false, true, false]);
    check(&HeaderMatcherKind::Present(true), &[("x", "a")], hit);
    check(&HeaderMatcherKind::Present(true), &[], [false, true, true, false]);
    check(&HeaderMatcherKind::Present(false), &[("x", "a")], miss);
    check(&HeaderMatcherKind::Present(false), &[], [true, false, false, true]);
    check(&HeaderMatcherKind::Range(-2..3), &[("x", "2")], hit);
    check(&HeaderMatcherKind::Range(-2..3), &[("x", "3")], miss);
    check(&HeaderMatcherKind::Range(-2..3), &[("x", " -2 ")], hit);
    check(&HeaderMatcherKind::Range(-2..3), &[("x", "1.5")], miss);
    check(&HeaderMatcherKind::Range(-2..3), &[("x", "99999999999999999999")], miss);
    check(&HeaderMatcherKind::Range(-2..3), &[], [false, false, false, true]);
}

#[test]
fn several_values_are_joined_with_a_comma() {
    let hit = [true, false, true, false];
    let lines = [("x", "a"), ("y", "no"), ("x", "b,c")];
    check(&string(StringPattern::Exact("a,b,c".into())), &lines, hit);
    check(&string(StringPattern::Suffix("b,c".into())), &lines, hit);
    let long = "v".repeat(300);
    let lines = [("x", &*long), ("x", "end")];
    check(&string(StringPattern::Exact(format!("{long},end").into())), &lines, hit);
}

#[test]
fn every_kind_of_string_comparison() {
    let text = |text: &str| -> Arc<str> { text.into() };
    for (pattern, ignore_case, value, expected) in [
        (StringPattern::Exact(text("aB")), false, "aB", true),
        (StringPattern::Exact(text("aB")), false, "ab", false),
        (StringPattern::Exact(text("aB")), true, "Ab", true),
        (StringPattern::Prefix(text("aB")), false, "aBc", true),
        (StringPattern::Prefix(text("aB")), true, "abc", true),
        (StringPattern::Prefix(text("aB")), true, "a", false),
        (StringPattern::Suffix(text("Bc")), false, "aBc", true),
        (StringPattern::Suffix(text("Bc")), true, "aBC", true),
        (StringPattern::Suffix(text("Bc")), false, "c", false),
        (StringPattern::Contains(text("b")), false, "abc", true),
        (StringPattern::Contains(text("B")), false, "abc", false),
        (StringPattern::Contains(text("B")), true, "abc", true),
        (StringPattern::Regex(RegexPattern::new("a+")), true, "aa", true),
        // gRFC A63: `ignore_case` does not apply to a regex.
        (StringPattern::Regex(RegexPattern::new("a+")), true, "AA", false),
    ] {
        let matcher = StringMatcher { pattern, ignore_case };
        let compiled = CompiledStringMatcher::new(&matcher).unwrap();
        assert_eq!(compiled.matches(value.as_bytes()), expected, "{matcher:?} {value}");
    }
}

#[test]
fn matchers_of_nothing_are_refused() {
    for pattern in [StringPattern::Prefix, StringPattern::Suffix, StringPattern::Contains] {
        let error = CompiledStringMatcher::new(&StringMatcher::new(pattern("".into())));
        assert_eq!(error.unwrap_err(), MatcherError::Empty);
    }
    let range = HeaderMatcher::new(HeaderName::from_static("x"), HeaderMatcherKind::Range(3..3));
    assert_eq!(CompiledHeaderMatcher::new(&range).unwrap_err(), MatcherError::EmptyRange(3..3));
}

#[test]
fn grpc_sees_no_binary_headers_and_one_content_type() {
    // gRFC A28.
    let requests = [
        ("application/grpc+proto", Some("application/grpc"), None),
        ("application/json", Some("application/json"), Some("v")),
    ];
    for (content_type, seen, binary) in requests {
        let headers = header_map(&[("content-type", content_type), ("x-bin", "v")]);
        let head = RequestHead::new(&Method::POST, "a", "/", &headers);
        let mut view = HeaderView::new(&head);
        let mut value = |name| {
            let value = view.values(&HeaderName::from_static(name));
            value.map(|value| String::from_utf8(value.to_vec()).unwrap())
        };
        assert_eq!(value("content-type").as_deref(), seen);
        assert_eq!(value("x-bin").as_deref(), binary);
    }
}

#[test]
fn the_first_query_parameter_counts() {
    for (query, name, expected) in [
        ("a=1&b=2&a=3", "a", Some("1")),
        ("a=1&b=2", "b", Some("2")),
        ("a", "a", Some("")),
        ("a=", "a", Some("")),
        ("ab=1", "a", None),
        ("a=x=y", "a", Some("x=y")),
        ("", "a", None),
        ("A=1", "a", None),
        ("&&a=1", "a", Some("1")),
    ] {
        assert_eq!(query_value(query, name), expected, "{query}");
    }
    let present = CompiledQueryMatcher::new(&QueryParameterMatcher::new("a", None)).unwrap();
    assert!(present.matches("a") && !present.matches("b"));
    let exact = QueryParameterMatcher::new("a", Some(StringMatcher::exact("1")));
    let exact = CompiledQueryMatcher::new(&exact).unwrap();
    assert!(exact.matches("a=1&a=2") && !exact.matches("a=2&a=1") && !exact.matches(""));
}
