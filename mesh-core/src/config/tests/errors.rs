//! Places, suggestions, bounds and completeness of diagnostics. The kinds of mistakes are in the
//! corpus of the command line tool, one file each.

use super::*;

#[track_caller]
fn check(text: &str, expected: &[&str]) -> Loaded {
    let loaded = read(text);
    assert_eq!(summary(&loaded), expected, "{text}\n{:#?}", loaded.diagnostics);
    loaded
}

#[test]
fn every_mistake_is_reported_in_one_run() {
    let text = "version: 1
unknown: 1
virtual_hosts:
  a:
    domains: [x, \"a*b\"]
    routes:
      - match: { prefix: v1, method: [get] }
        cluster: on
        timeot: 2s
      - timeout: 15
        retry: { retry_on: [5x], num_retries: -1 }
clusters:
  one: { endpoints: [\"127.0.0.1\"], lb: least_requests }
";
    check(
        text,
        &[
            "unknown_key 2:1",
            "invalid_domain 5:18",
            "invalid_path 7:26",
            "invalid_method 7:38",
            "unknown_cluster 8:18",
            "unknown_key 9:9",
            "missing_action 10:9",
            "invalid_duration 10:18",
            "unknown_word 11:29",
            "out_of_range 11:47",
            "invalid_address 13:22",
            "unknown_word 13:40",
        ],
    );
}

#[test]
fn the_closest_name_is_suggested() {
    let suggestion = |text: &str| read(text).diagnostics[0].suggestion.clone().unwrap();
    assert_eq!(
        suggestion(&with_routes("{ cluster: onne }, { cluster: two }")),
        "did you mean `one`?"
    );
    assert_eq!(
        suggestion(&with_routes("{ cluster: one, timeot: 2s }, { cluster: two }")),
        "did you mean `timeout`?"
    );
    assert_eq!(suggestion(&with_cluster("dns: \"a:80\", lb: ring")), "did you mean `ring_hash`?");
    assert_eq!(
        suggestion(&with_cluster("dns: \"a:80\", connect_timeout: 5")),
        "write `5s` or `5ms`"
    );
}

#[test]
fn a_variable_is_marked_alone() {
    let text = with_cluster("dns: \"a-${HOST}:80\"");
    let loaded = check(&text, &["undefined_variable 3:18"]);
    assert_eq!(&text[loaded.diagnostics[0].span.clone()], "${HOST}");
}

#[test]
fn a_condition_within_a_text_is_marked_alone() {
    let text = with_routes(
        "{ cluster: one, retry: { retry_on: \"5xx, rest\" } }, { cluster: two, match: { path: /x } }",
    );
    let loaded = read(&text);
    assert_eq!(&text[loaded.diagnostics[0].span.clone()], "rest");
    assert_eq!(loaded.diagnostics[0].suggestion.as_deref(), Some("did you mean `reset`?"));
}

#[test]
fn columns_count_characters() {
    let text = "version: 1\nclusters:\n  \"ä€𝄞\": { dns: \"a:80\", x: 1 }\n";
    check(text, &["unknown_key 3:25"]);
    assert_eq!(summary(&read(&text.replace('\n', "\r\n"))), ["unknown_key 3:25"]);
}

#[test]
fn a_mistake_under_an_anchor_is_reported_once() {
    let text = "version: 1
x-r: &r { retry_on: [5xx], per_try_timeout: 1 }
virtual_hosts:
  a: { routes: [{ cluster: c, retry: *r, match: { path: /a } }, { cluster: c, retry: *r }] }
clusters: { c: { dns: \"c:80\" } }
";
    check(text, &["invalid_duration 2:45"]);
}

#[test]
fn defaults_are_checked_even_when_nothing_uses_them() {
    check(
        "version: 1\ndefaults: { route: { timeout: 1 }, cluster: { tls: mesh } }\n",
        &["invalid_duration 2:31", "tls_without_identity 2:52"],
    );
}

#[test]
fn definitions_in_two_documents_show_both() {
    let a = "version: 1\nmode: enforce\nclusters: { c: { dns: \"c:80\" } }\n";
    let b = "version: 1\nmode: observe\nclusters:\n  c: { dns: \"d:80\" }\n";
    let loaded = read_all(&[a, b], &Given::default());
    assert_eq!(summary(&loaded), ["defined_twice 2:1", "defined_twice 4:3"]);
    let twice = &loaded.diagnostics[1];
    assert_eq!((twice.document, twice.labels[0].document, twice.labels[0].line), (1, 0, 3));
    assert!(loaded.update.is_none());
}

#[test]
fn an_unreadable_document_makes_no_names_unknown() {
    let a = "version: 1\nvirtual_hosts: { a: { routes: [{ cluster: c }] } }\n";
    let loaded = read_all(&[a, "clusters: ["], &Given::default());
    assert_eq!(loaded.diagnostics.len(), 1, "{:#?}", loaded.diagnostics);
    assert_eq!((loaded.diagnostics[0].code, loaded.diagnostics[0].document), ("yaml_syntax", 1));
}

#[test]
fn roots_are_read_through_the_environment() {
    let tls = |path: &str| read(&with_cluster(&format!("dns: \"a:80\", tls: {{ roots: {path} }}")));
    assert_eq!(summary(&tls("ca.pem")), [""; 0]);
    assert_eq!(summary(&tls("key.pem")), ["invalid_roots 3:37"]);
    let missing = tls("none.pem");
    assert_eq!(summary(&missing), ["unreadable_file 3:37"]);
    assert!(missing.diagnostics[0].message.contains("no such file beside a.yaml"));
}

#[test]
fn bounds_hold() {
    let bounds = Bounds {
        document_bytes: 2_000,
        nesting: 8,
        nodes: 200,
        resources: 3,
        text_bytes: 20,
        regex_bytes: 10_000,
        diagnostics: 5,
    };
    let codes = |text: &str| {
        let environment = given(&[("LONG", "aaaaaaaaaaaaaaaaaaaaaaaa")]);
        let loaded = load(&[Document { name: "x", text }], &environment, &bounds);
        assert!(loaded.update.is_none());
        loaded.diagnostics.iter().map(|d| d.code).collect::<Vec<_>>()
    };
    assert_eq!(codes(&format!("version: 1 # {}", "x".repeat(2_000))), ["document_too_large"]);
    assert_eq!(codes(&format!("x: {}{}", "[".repeat(8), "]".repeat(8))), ["too_deep"]);
    let nested = "x-a: &a [[[[1]]]]\nx-b: [[[[*a]]]]\n";
    assert_eq!(codes(&format!("x: {}", "[".repeat(300))), ["too_deep"]);
    assert_eq!(codes(nested), ["too_deep"], "aliases count where they are used");
    let laughs =
        "a: &a [1,1,1,1,1]\nb: &b [*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b]\nd: [*c,*c,*c]\n";
    assert_eq!(codes(laughs), ["too_many_values"]);
    let many = with_cluster(
        "endpoints: [\"1.1.1.1:1\",\"1.1.1.1:2\",\"1.1.1.1:3\",\"1.1.1.1:4\",\"1.1.1.1:5\"]",
    );
    assert_eq!(codes(&many), ["too_many_resources"]);
    assert_eq!(codes(&with_cluster("dns: \"${LONG}:80\"")), ["invalid_variable"]);
    let regex = |n| format!("{{ match: {{ regex: \"(x{{200}}){n}\" }}, cluster: one }}");
    let regexes = with_routes(&format!("{},{},{}", regex(1), regex(2), regex(3)));
    assert_eq!(codes(&regexes), ["invalid_regex"]);
    let wrong = codes("version: 1\na: 1\nb: 1\nc: 1\nd: 1\ne: 1\nf: 1\ng: 1\n");
    assert_eq!((wrong.len(), wrong[5]), (6, "too_many_diagnostics"));
}

#[test]
fn bytes_that_are_no_text_say_where() {
    assert_eq!(decode(0, b"version: 1"), Ok("version: 1"));
    let error = decode(3, b"version: 1\nx-\xff: 1").unwrap_err();
    assert_eq!((error.code, error.document, error.span.start), ("not_utf8", 3, 13));
    assert_eq!((error.line, error.column), (2, 3));
}

#[test]
fn lints_wait_for_errors_to_go() {
    let text = with_routes("{ cluster: one }, { cluster: three }");
    check(&text, &["unknown_cluster 4:43"]);
    check(&text.replace("three", "two"), &["unreachable_route 4:32"]);
}

#[test]
fn a_text_full_of_mistakes_is_read_once() {
    // As long as a text may be. A search per mistake would not end.
    for (text, code) in [
        (
            with_routes(&format!(
                "{{ cluster: one, retry: {{ retry_on: '{}' }} }}",
                "a,".repeat(32_700)
            )),
            "unknown_word",
        ),
        (
            with_routes(&format!(
                "{{ match: {{ prefix: '/{}' }}, cluster: one }}",
                "${}".repeat(21_800)
            )),
            "invalid_variable",
        ),
        (
            with_routes(&format!(
                "{{ match: {{ prefix: '/{}' }}, cluster: one }}",
                "${A}".repeat(16_300)
            )),
            "undefined_variable",
        ),
    ] {
        let loaded = read(&text);
        let codes: Vec<_> = loaded.diagnostics.iter().map(|d| d.code).collect();
        assert_eq!(codes.len(), 1_001, "{code}");
        assert!(codes.iter().filter(|found| **found == code).count() >= 999, "{code}: {codes:?}");
        assert!(loaded.update.is_none());
    }
}

#[test]
fn a_long_text_counts_as_many_values_wherever_it_is_used() {
    let text = "a,".repeat(32_000);
    let uses = "*long, ".repeat(4_000);
    let text = format!("version: 1\nx-long: &long '{text}'\nx-uses: [{uses}]\n");
    assert_eq!(summary(&read(&text))[0].split(' ').next(), Some("too_many_values"));
}

#[test]
fn a_document_of_one_line_is_no_harder_than_one_of_many() {
    let endpoints = |key: &str| {
        let all = (0..40_000).map(|at| format!("{{{key}: '10.0.{}.{}:80'}}", at / 250, at % 250));
        let all = all.collect::<Vec<_>>().join(", ");
        format!("{{version: 1, clusters: {{one: {{endpoints: [{all}]}}}}}}")
    };
    assert!(read(&endpoints("address")).update.is_some());
    let wrong = read(&endpoints("adress"));
    assert_eq!(wrong.diagnostics.len(), 1_001);
    let last = &wrong.diagnostics[999];
    assert_eq!((last.line, last.column), (1, last.span.start + 1));
}

#[test]
fn routes_of_long_prefixes_are_compared_within_bounds() {
    let prefix = "a".repeat(8_000);
    let routes = (0..400)
        .map(|at| format!("{{ match: {{ prefix: /{} }}, cluster: one }}", &prefix[..8_000 - at]));
    let loaded = read(&with_routes(&routes.collect::<Vec<_>>().join(", ")));
    assert!(loaded.update.is_some());
}
