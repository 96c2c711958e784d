//! Whatever the router or a balancer refuses, `load` refuses first, and says where.

use super::*;
use crate::model::Domain;
use crate::model::virtual_host::InvalidDomain;
use crate::router::{CompileErrorKind as Kind, MAX_TARGETS, MatcherError, RegexError};

/// Each diagnostic as its code and the text that it marks.
fn marked<'t>(text: &'t str, loaded: &Loaded) -> Vec<(&'static str, &'t str)> {
    loaded.diagnostics.iter().map(|d| (d.code, &text[d.span.clone()])).collect()
}

/// Routes in flow style that provoke an error; the code that is reported, and the text that is marked.
fn provoking(kind: &Kind) -> (String, &'static str, &'static str) {
    let matching = |text: &str| format!("{{ match: {{ {text} }}, cluster: one }}");
    let rewrite = |text: &str| format!("{{ cluster: one, rewrite: {{ {text} }} }}");
    let edits = |text: &str| format!("{{ cluster: one, headers: {{ {text} }} }}");
    let substitution =
        |text: &str| rewrite(&format!("regex: {{ pattern: a, substitution: {text} }}"));
    match kind {
        // These are not of a route; see below.
        Kind::Domain(_) | Kind::DuplicateDomain { .. } | Kind::TooManyTargets => {
            (String::new(), "", "")
        }
        Kind::Matcher(MatcherError::Empty) => {
            (matching("headers: { a: { prefix: '' } }"), "out_of_range", "''")
        }
        Kind::Matcher(MatcherError::EmptyRange(_)) => {
            let range = "{ start: 2, end: 2 }";
            (
                matching(&format!("headers: {{ a: {{ range: {range} }} }}")),
                "inconsistent_values",
                "{ start",
            )
        }
        Kind::Matcher(MatcherError::Regex(_)) => {
            (matching("headers: { a: { regex: '(' } }"), "invalid_regex", "'('")
        }
        Kind::Regex(RegexError::Substitution) => {
            (substitution("'\\x'"), "invalid_regex", "{ pattern")
        }
        Kind::Regex(RegexError::NoSuchGroup { .. }) => {
            (substitution("'\\1'"), "invalid_regex", "{ pattern")
        }
        Kind::Regex(_) => (matching("regex: '(?=a)'"), "invalid_regex", "'(?=a)'"),
        Kind::PathSeparatedPrefix => {
            (matching("path_separated_prefix: '/a?b'"), "invalid_path", "'/a?b'")
        }
        Kind::SplitWithoutWeight => {
            ("{ split: { one: 0, two: 0 } }".to_owned(), "invalid_weights", "{ one: 0")
        }
        Kind::SplitTooHeavy { .. } => {
            ("{ split: { one: 4294967295, two: 1 } }".to_owned(), "invalid_weights", "{ one: 4")
        }
        Kind::InvalidPath(_) => (rewrite("path: '/a b'"), "invalid_path", "'/a b'"),
        Kind::InvalidAuthority(_) => (rewrite("host: a/b"), "invalid_authority", "a/b"),
        Kind::InvalidScheme(_) => {
            ("{ redirect: { scheme: a b } }".to_owned(), "invalid_scheme", "a b")
        }
        Kind::SecondPort { .. } => {
            ("{ redirect: { host: 'a:80', port: 90 } }".to_owned(), "conflicting_keys", "port")
        }
        Kind::HostHeader => {
            (edits("request: { remove: [x, Host] }"), "invalid_header_name", "Host")
        }
        Kind::FramingHeader(_) => {
            let set = edits("response: { set: { x: a, Content-Length: 1 } }");
            (set, "invalid_header_name", "Content-Length")
        }
        Kind::RedirectStatus(_) => {
            ("{ redirect: { code: 304, path: /a } }".to_owned(), "out_of_range", "304")
        }
        Kind::DirectResponseStatus(_) => {
            ("{ direct_response: { status: 199 } }".to_owned(), "out_of_range", "199")
        }
        Kind::DirectResponseBody { .. } => {
            let body = "x".repeat(4097);
            (
                format!("{{ direct_response: {{ status: 200, body: {body} }} }}"),
                "out_of_range",
                "xxx",
            )
        }
    }
}

#[test]
fn what_the_router_refuses_is_found_in_the_file() {
    let text = || Arc::<str>::from("");
    let kinds = [
        Kind::Matcher(MatcherError::Empty),
        Kind::Matcher(MatcherError::EmptyRange(0..0)),
        Kind::Matcher(MatcherError::Regex(RegexError::TooLarge)),
        Kind::Regex(RegexError::Substitution),
        Kind::Regex(RegexError::NoSuchGroup { group: 1, groups: 0 }),
        Kind::Regex(RegexError::TooLarge),
        Kind::PathSeparatedPrefix,
        Kind::SplitWithoutWeight,
        Kind::SplitTooHeavy { sum: 0 },
        Kind::InvalidPath(text()),
        Kind::InvalidAuthority(text()),
        Kind::InvalidScheme(text()),
        Kind::SecondPort { host: text(), port: 90 },
        Kind::HostHeader,
        Kind::FramingHeader(http::header::CONTENT_LENGTH),
        Kind::RedirectStatus(304),
        Kind::DirectResponseStatus(199),
        Kind::DirectResponseBody { len: 4097 },
    ];
    for kind in kinds {
        let (routes, code, mark) = provoking(&kind);
        let text = with_routes(&routes);
        let loaded = read(&text);
        let found = marked(&text, &loaded);
        assert_eq!((found.len(), found[0].0), (1, code), "{kind:?}: {:#?}", loaded.diagnostics);
        assert!(found[0].1.starts_with(mark), "{kind:?}: {found:?}");
        assert!(loaded.update.is_none());
    }
}

#[test]
fn what_the_router_refuses_of_virtual_hosts_is_found() {
    let host = |name: &str, domains: &str| {
        format!("  {name}: {{ domains: {domains}, routes: [{{ redirect: {{ path: /x }} }}] }}\n")
    };
    let hosts = |hosts: &str| format!("version: 1\nvirtual_hosts:\n{hosts}");
    for (kind, text, expected) in [
        (Kind::Domain(InvalidDomain::Empty), hosts(&host("a", "\"\"")), "invalid_domain 3:17"),
        (
            Kind::DuplicateDomain { pattern: Domain::Any, first: "a".into() },
            hosts(&(host("a", "[b, x]") + &host("c", "[x, d]"))),
            "duplicate_domain 4:18",
        ),
    ] {
        assert_eq!(summary(&read(&text)), [expected], "{kind:?}");
    }
    let edits = "version: 1\nheaders: { request: { set: { host: x } } }\n";
    assert_eq!(summary(&read(edits)), ["invalid_header_name 2:1"]);
}

#[test]
fn more_targets_than_a_router_takes_are_found() {
    let side = (f64::from(MAX_TARGETS)).sqrt() as usize + 1;
    let routes: String = (0..side)
        .map(|n| format!("      - {{ match: {{ path: /{n} }}, cluster_header: x }}\n"))
        .collect();
    let clusters: String = (0..side).map(|n| format!("  c{n}: {{ dns: \"c:80\" }}\n")).collect();
    let text =
        format!("version: 1\nvirtual_hosts:\n  a:\n    routes:\n{routes}clusters:\n{clusters}");
    let loaded = read(&text);
    assert!(loaded.update.is_none());
    assert_eq!(loaded.diagnostics[0].code, "too_many_resources", "{:#?}", loaded.diagnostics[0]);
}

#[test]
fn what_is_dropped_belongs_to_listed_endpoints() {
    for (keys, expected) in [
        ("dns: \"a:80\", drop_overloads: []", ("conflicting_keys", "drop_overloads")),
        (
            "endpoints: [\"10.0.0.1:80\"], drop_overloads: [{ category: a, drop_percentage: 101% }]",
            ("out_of_range", "101%"),
        ),
        (
            "endpoints: [\"10.0.0.1:80\"], drop_overloads: [{ category: a, drop_percentage: 5 }]",
            ("invalid_share", "5"),
        ),
        (
            "endpoints: [\"10.0.0.1:80\"], drop_overloads: [{ category: a }]",
            ("missing_key", "{ category: a }] }"),
        ),
    ] {
        let text = with_cluster(keys);
        let loaded = read(&text);
        assert_eq!(marked(&text, &loaded), [expected], "{keys}: {:#?}", loaded.diagnostics);
        assert!(loaded.update.is_none());
    }
}

#[test]
fn what_a_balancer_refuses_is_found_in_the_file() {
    for (keys, expected) in [
        ("lb: { least_request: { choice_count: 1 } }", ("out_of_range", "1")),
        ("lb: { least_request: { active_request_bias: -1 } }", ("out_of_range", "-1")),
        ("lb: { peak_ewma: { decay: 0s } }", ("out_of_range", "0s")),
        ("lb: { peak_ewma: { default_rtt: 0s } }", ("out_of_range", "0s")),
        ("lb: { ring_hash: { maximum_ring_size: 8388609 } }", ("out_of_range", "8388609")),
        ("lb: { ring_hash: { minimum_ring_size: 0 } }", ("out_of_range", "0")),
        (
            "lb: { ring_hash: { minimum_ring_size: 9, maximum_ring_size: 8 } }",
            ("inconsistent_values", "9"),
        ),
        ("lb: { ring_hash: { hash_balance_factor: 99 } }", ("out_of_range", "99")),
        ("lb: { maglev: { table_size: 5000012 } }", ("out_of_range", "5000012")),
        ("lb: { maglev: { table_size: 9 } }", ("not_prime", "9")),
        ("lb: { overprovisioning_factor: 0 }", ("out_of_range", "0")),
        ("lb: { slow_start: { window: 0s } }", ("out_of_range", "0s")),
        ("lb: { slow_start: { window: 1s, aggression: 0 } }", ("out_of_range", "0")),
        ("lb: { slow_start: { window: 1s, min_weight_percent: 101 } }", ("out_of_range", "101")),
    ] {
        let text = with_cluster(&format!("dns: \"a:80\", {keys}"));
        let loaded = read(&text);
        assert_eq!(marked(&text, &loaded), [expected], "{keys}: {:#?}", loaded.diagnostics);
        assert!(loaded.update.is_none());
    }
    let rewrite =
        "lb: { ring_hash: { hash: [{ header: { name: a, regex: b, substitution: \"\\\\3\" } }] } }";
    let loaded = read(&with_cluster(&format!("dns: \"a:80\", {rewrite}")));
    assert_eq!(summary(&loaded), ["invalid_regex 3:23"], "{:#?}", loaded.diagnostics);
}
