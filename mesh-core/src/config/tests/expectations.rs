//! Expectations: what is compared, what is said, and what is wrong with a file of them.

use super::*;
use crate::explain::snapshot;

const CONFIG: &str = "version: 1
virtual_hosts:
  shop:
    routes:
      - { name: old, match: { path: /old }, redirect: { path: /new } }
      - name: canary
        match: { headers: { x-canary: 'yes' } }
        cluster: v2
        headers: { request: { set: { x-v: '2' }, remove: x-canary } }
        rewrite: { path: /canary, host: v2.shop }
      - { name: api, match: { prefix: /api }, split: { v1: 1, v2: 2 } }
clusters: { v1: { dns: 'v1:80' }, v2: { dns: 'v2:80' } }
";

/// A file of one test, whose lines 4 and 5 are the request and the expectation.
fn one(request: &str, expect: &str) -> String {
    format!(
        "config: x.yaml\ntests:\n  - name: a test\n    request: {request}\n    expect: {expect}\n"
    )
}

fn suite(text: &str) -> Result<Suite, Vec<Diagnostic>> {
    Suite::read(&Document { name: "tests.yaml", text }, &(), &Bounds::default())
}

/// The differences, each as `line:column message`.
#[track_caller]
fn differences(request: &str, expect: &str) -> Vec<String> {
    let text = one(request, expect);
    let suite = suite(&text).unwrap_or_else(|found| panic!("{found:#?}"));
    let snapshot = snapshot(good(CONFIG)).unwrap();
    let results = suite.run(&Document { name: "tests.yaml", text: &text }, &snapshot);
    assert_eq!((results.len(), &*results[0].name), (1, "a test"));
    let show = |d: &Diagnostic| format!("{}:{} {}", d.line, d.column, d.message);
    results[0].differences.iter().map(show).collect()
}

const CANARY: &str = "{ url: 'http://shop/x', headers: { x-canary: 'yes' } }";

#[test]
fn what_is_as_expected_says_nothing() {
    let same = |request, expect| assert_eq!(differences(request, expect), [""; 0], "{expect}");
    same(
        CANARY,
        "{ virtual_host: shop, route: canary, cluster: v2, path: /canary, host: v2.shop, headers: \
         { x-v: 2, x-canary: { present: false } } }",
    );
    same("{ url: shop/api }", "{ cluster: { v1: 33.3, v2: 66.7 }, host: shop, path: /api }");
    same("{ url: shop/old }", "{ redirect: 'http://shop/new', status: 301 }");
    same("{ url: shop/x }", "{ virtual_host: shop, error: no_route, status: 404 }");
    same("{ url: /api, headers: { host: shop } }", "{ route: api }");
}

#[test]
fn every_difference_has_its_place() {
    let found = differences(
        CANARY,
        "{ virtual_host: a, route: b, cluster: v1, path: /, host: h, headers: { x-v: 1, x-canary: \
         'yes' }, redirect: r, status: 200, error: no_route }",
    );
    assert_eq!(
        found,
        [
            "5:29 virtual_host is `shop`, expected `a`",
            "5:39 route is `canary`, expected `b`",
            "5:51 cluster is `v2`, expected `v1`",
            "5:61 path is `/canary`, expected `/`",
            "5:70 host is `v2.shop`, expected `h`",
            "5:89 headers.x-v is `2`, expected `1`",
            "5:102 headers.x-canary is no such header, expected `yes`",
            "5:121 redirect is none: the request is forwarded, expected `r`",
            "5:132 status is none: the request is forwarded, expected `200`",
            "5:144 error is none: the request is forwarded, expected `no_route`",
        ]
    );
}

#[test]
fn odds_are_compared_not_draws() {
    let found = |expect| differences("{ url: shop/api }", expect);
    let split = "`v1` 33.33 %, `v2` 66.67 %";
    assert_eq!(
        found("{ cluster: { v1: 40, v2: 60 } }"),
        [format!("5:24 cluster is {split}, expected `v1` 40 %, `v2` 60 %")]
    );
    assert_eq!(found("{ cluster: v2 }"), [format!("5:24 cluster is {split}, expected `v2`")]);
    assert_eq!(found("{ headers: { x: { present: true } } }").len(), 1);
}

#[test]
fn the_first_difference_says_why() {
    let text = one("{ url: shop/x }", "{ route: canary, cluster: v2 }");
    let snapshot = snapshot(good(CONFIG)).unwrap();
    let document = Document { name: "tests.yaml", text: &text };
    let results = suite(&text).unwrap().run(&document, &snapshot);
    let [first, second] = &*results[0].differences else { panic!("{results:?}") };
    let why = first.suggestion.as_deref().unwrap();
    assert!(why.contains("header `x-canary` is missing, wanted: `yes`"), "{why}");
    assert_eq!(second.suggestion, None);
}

#[test]
fn mistakes_have_their_place() {
    for (request, expect, code, mark) in [
        ("{ url: a, verb: GET }", "{ route: a }", "unknown_key", "verb"),
        ("{ method: GET }", "{ route: a }", "missing_key", "{ method: GET }"),
        ("{ url: 'a b' }", "{ route: a }", "invalid_url", "'a b'"),
        ("{ url: a, method: 'G T' }", "{ route: a }", "invalid_method", "'G T'"),
        ("{ url: a, peer: home }", "{ route: a }", "invalid_address", "home"),
        ("{ url: a, headers: { 'x y': 1 } }", "{ route: a }", "invalid_header_name", "'x y'"),
        ("{ url: a }", "{}", "missing_key", "{}"),
        ("{ url: a }", "{ rout: a }", "unknown_key", "rout"),
        ("{ url: a }", "{ error: no_rout }", "unknown_word", "no_rout"),
        ("{ url: a }", "{ cluster: { a: 10, b: 10 } }", "invalid_weights", "{ a: 10, b: 10 } }"),
        ("{ url: a }", "{ cluster: { a: 101 } }", "out_of_range", "101"),
        ("{ url: a }", "{ headers: { x: { regex: '(' } } }", "invalid_regex", "'('"),
    ] {
        let text = one(request, expect);
        let found = suite(&text).unwrap_err();
        let shown: Vec<_> = found.iter().map(|d| (d.code, &text[d.span.clone()])).collect();
        assert_eq!(shown, [(code, mark)], "{request} {expect}: {found:#?}");
    }
    let top = |text: &str| suite(text).unwrap_err()[0].code;
    assert_eq!(top(""), "empty_document");
    assert_eq!(top("tests: []"), "missing_key");
    assert_eq!(top("config: a\ntests: {}"), "wrong_type");
}
