//! Paths, queries and headers that a condition takes, and those near it that it does not.

use mesh_core::model::matcher::{HeaderMatcherKind, StringPattern};
use mesh_core::model::{
    PathMatcher, QueryParameterMatcher, RegexPattern, RouteMatch, StringMatcher,
};
use std::collections::BTreeMap;

/// What matches a regular expression of the files, and what nearly does. A pattern that is not here is
/// a failure: nobody would see that its route was never asked for.
const PATTERNS: [(&str, &str, &[&str]); 6] = [
    ("qa-.*", "qa-1", &["qa-", "xqa-1", "QA-1", "qa"]),
    ("[a-z]+", "abc", &["", "ABC", "ab1", "a b"]),
    (
        "/[a-z]+/gone",
        "/abc/gone",
        &["/abc/gonex", "/ABC/gone", "/abc/gone/", "/abc/gone?q=1", "//gone"],
    ),
    (
        "/files/[0-9]{2}",
        "/files/17",
        &["/files/1", "/files/171", "/files/17/", "/files/17?x=/files/1"],
    ),
    ("v[12]", "v1", &["v3", "v12", "xv1", ""]),
    ("(?i)yes", "YES", &["yes", "yess", "no"]),
];

fn of_pattern(pattern: &RegexPattern) -> (&'static str, &'static [&'static str]) {
    let found = PATTERNS.iter().find(|(text, ..)| *text == &*pattern.0);
    let (_, good, near) = found.unwrap_or_else(|| panic!("PATTERNS lacks {:?}", pattern.0));
    (good, near)
}

/// The first one matches.
pub(super) fn paths(matcher: &RouteMatch) -> Vec<String> {
    let around = |text: &str| {
        let shorter = &text[..text.len() - 1];
        let mut all = vec![
            text.to_owned(),
            format!("{text}x"),
            format!("{text}/"),
            format!("{text}/x/y?q=1"),
            format!("{text}?q=/x"),
            format!("{text}%2fx"),
            format!("/x{text}"),
            format!("/{text}"),
            format!("{text}/../z"),
            text.to_ascii_uppercase(),
        ];
        if !shorter.is_empty() {
            all.push(shorter.to_owned());
        }
        all
    };
    match &matcher.path {
        PathMatcher::Prefix(text)
        | PathMatcher::Path(text)
        | PathMatcher::PathSeparatedPrefix(text) => around(text),
        PathMatcher::Regex(pattern) => {
            let (good, near) = of_pattern(pattern);
            [good].iter().chain(near).map(ToString::to_string).collect()
        }
    }
}

/// Values near what a string matcher takes.
fn near(matcher: &StringMatcher) -> Vec<String> {
    match &matcher.pattern {
        StringPattern::Exact(text)
        | StringPattern::Prefix(text)
        | StringPattern::Suffix(text)
        | StringPattern::Contains(text) => vec![
            text.to_string(),
            text.to_ascii_uppercase(),
            text.to_ascii_lowercase(),
            format!("{text}z"),
            format!("z{text}"),
            format!("z{text}z"),
            text[..text.len() - 1].to_owned(),
            String::new(),
        ],
        StringPattern::Regex(pattern) => {
            let (good, near) = of_pattern(pattern);
            [good].iter().chain(near).map(ToString::to_string).collect()
        }
    }
}

/// A value that all of these take.
fn common<'a>(matchers: impl Iterator<Item = &'a StringMatcher>) -> String {
    let (mut start, mut middle, mut end) = (String::new(), String::new(), String::new());
    for matcher in matchers {
        match &matcher.pattern {
            StringPattern::Exact(text) => return text.to_string(),
            StringPattern::Regex(pattern) => return of_pattern(pattern).0.to_owned(),
            StringPattern::Prefix(text) => start.push_str(text),
            StringPattern::Contains(text) => middle.push_str(text),
            StringPattern::Suffix(text) => end.push_str(text),
        }
    }
    start + &middle + &end
}

/// Queries; the first one matches.
pub(super) fn queries(matchers: &[QueryParameterMatcher]) -> Vec<String> {
    let mut groups = BTreeMap::<&str, Vec<&QueryParameterMatcher>>::new();
    for matcher in matchers {
        groups.entry(&matcher.name).or_default().push(matcher);
    }
    let groups: Vec<_> = groups.into_iter().collect();
    let good: Vec<_> = groups
        .iter()
        .map(|(name, matchers)| {
            format!("{name}={}", common(matchers.iter().filter_map(|m| m.value.as_ref())))
        })
        .collect();
    let mut all = vec![good.join("&")];
    for (place, (name, matchers)) in groups.iter().enumerate() {
        let values = matchers.iter().filter_map(|matcher| matcher.value.as_ref()).flat_map(near);
        let mut forms: Vec<_> = values.map(|value| format!("{name}={value}")).collect();
        let first = &good[place];
        forms.extend([
            String::new(),
            (*name).to_owned(),
            format!("{name}="),
            format!("{name}=other&{first}"),
            format!("{first}&{name}=other"),
            format!("x{first}"),
            first.replacen('=', "=%61", 1),
        ]);
        for form in forms.iter().filter(|form| !form.contains(' ')) {
            let mut parts = good.clone();
            parts[place].clone_from(form);
            parts.retain(|part| !part.is_empty());
            all.push(parts.join("&"));
        }
    }
    all
}

/// The values of a header: none, one, or several.
pub(super) type Values = Vec<String>;

/// The headers that a route looks at, with values of which the first are good.
pub(super) fn headers(matcher: &RouteMatch) -> Vec<(String, Vec<Values>)> {
    let mut groups = BTreeMap::<String, Vec<_>>::new();
    for header in &matcher.headers {
        groups.entry(header.name.to_string()).or_default().push(header);
    }
    let mut all: Vec<_> = groups
        .into_iter()
        .map(|(name, matchers)| {
            let mut values: Vec<Values> = vec![Vec::new(), vec![String::new()]];
            let (mut good, mut inverted) = (Vec::new(), false);
            let mut absent = false;
            for matcher in matchers {
                inverted |= matcher.invert;
                match &matcher.kind {
                    HeaderMatcherKind::Present(is) => absent |= *is == matcher.invert,
                    HeaderMatcherKind::String(string) => {
                        good.push(string);
                        values.extend(near(string).into_iter().map(|value| vec![value]));
                    }
                    HeaderMatcherKind::Range(range) => {
                        let numbers = [range.start, range.end - 1, range.end, range.start - 1];
                        let texts = numbers.iter().map(ToString::to_string);
                        let odd = [
                            format!("+{}", range.start),
                            format!("0{}", range.start),
                            "x".to_owned(),
                        ];
                        values.extend(texts.chain(odd).map(|value| vec![value]));
                    }
                }
            }
            let first = match (absent, good.is_empty()) {
                (true, _) => Vec::new(),
                (false, false) if !inverted => vec![common(good.into_iter())],
                (false, true) if values.len() > 2 => values[2].clone(),
                _ => vec!["other".to_owned()],
            };
            values.push([first.clone(), first.clone()].concat());
            values.push([first.clone(), vec!["other".to_owned()]].concat());
            values.insert(0, first);
            (name, values)
        })
        .collect();
    if matcher.grpc {
        // `application/grpc;…` is gRPC to the mesh and not to Envoy: docs/grpc-and-http.md.
        let kinds = ["grpc", "grpc+proto", "grpcx", "grpc-web", "json"];
        let kinds = kinds.iter().map(|kind| vec![format!("application/{kind}")]);
        all.push(("content-type".to_owned(), kinds.chain([Vec::new()]).collect()));
    }
    all
}
