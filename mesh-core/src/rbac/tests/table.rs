//! The table of decisions: policies × peer × request, each group with the rule it comes from.
//!
//! A row is `PEER | REQUEST | DECISION`, in the words of [`text`](super::text).

mod attacks;
mod istio;
mod matchers;
mod peers;

use super::check;

/// Rules, where what they show is said, and rows.
struct Group {
    source: &'static str,
    rules: &'static str,
    rows: &'static [&'static str],
}

const fn group(source: &'static str, rules: &'static str, rows: &'static [&'static str]) -> Group {
    Group { source, rules, rows }
}

const ALL: [&[Group]; 5] =
    [ACTIONS, attacks::GROUPS, istio::GROUPS, matchers::GROUPS, peers::GROUPS];

#[test]
fn all_rows() {
    let mut rows = 0;
    for group in ALL.into_iter().flatten() {
        for row in group.rows {
            let [peer, request, expected] =
                row.split(" | ").collect::<Vec<_>>().try_into().expect("three parts");
            check(group.source, group.rules, peer, request, expected);
            rows += 1;
        }
    }
    assert!(rows >= 200, "only {rows} rows");
}

const ACTIONS: &[Group] = &[
    group("Envoy: RBAC.action ALLOW, no policies", "ALLOW", &["plain | GET h / | deny"]),
    group("Envoy: RBAC.action DENY, no policies", "DENY", &["plain | GET h / | allow"]),
    group("Envoy: RBAC.action LOG, no policies", "LOG", &["plain | GET h / | allow"]),
    group(
        "Envoy: RBAC.action ALLOW",
        "ALLOW a: path(=/a) / any",
        &["plain | GET h /a | allow a", "plain | GET h /b | deny"],
    ),
    group(
        "Envoy: RBAC.action DENY",
        "DENY a: path(=/a) / any",
        &["plain | GET h /a | deny a", "plain | GET h /b | allow"],
    ),
    group(
        "Envoy: RBAC.action LOG",
        "LOG a: path(=/a) / any",
        &["plain | GET h /a | allow a", "plain | GET h /b | allow"],
    ),
    group(
        "Envoy: policies are evaluated in lexicographic order of their names",
        "ALLOW b: any / any; a: path(^=/a) / any; B: path(=/B) / any; aa: any / any",
        &[
            "plain | GET h /a | allow a",
            "plain | GET h /x | allow aa",
            "plain | GET h /B | allow B",
        ],
    ),
    group(
        "Envoy: a policy is permission AND principal",
        "ALLOW a: path(=/a) / authn(=u)",
        &[
            "uri:u | GET h /a | allow a",
            "uri:v | GET h /a | deny",
            "uri:u | GET h /b | deny",
            "plain | GET h /a | deny",
        ],
    ),
    group(
        "Envoy: permissions are ORed, principals are ORed",
        "ALLOW a: path(=/a), path(=/b) / authn(=u), direct(10.0.0.0/8)",
        &[
            "uri:u | GET h /a from=9.9.9.9:1 | allow a",
            "uri:v | GET h /b from=10.9.9.9:1 | allow a",
            "uri:v | GET h /b from=9.9.9.9:1 | deny",
            "uri:u | GET h /c from=9.9.9.9:1 | deny",
        ],
    ),
    group(
        "Envoy: Permission.and_rules, or_rules, not_rule",
        "ALLOW a: and(path(^=/a), not(or(path($=/x), header(:method =PUT)))) / any",
        &[
            "plain | GET h /a/y | allow a",
            "plain | GET h /a/x | deny",
            "plain | PUT h /a/y | deny",
            "plain | PUT h /a/x | deny",
            "plain | GET h /b | deny",
        ],
    ),
    group(
        "Envoy: Principal.and_ids, or_ids, not_id",
        "ALLOW a: any / and(authn(^=spiffe://m/), not(or(authn(=spiffe://m/x), direct(10.0.0.0/8))))",
        &[
            "uri:spiffe://m/y | GET h / from=9.9.9.9:1 | allow a",
            "uri:spiffe://m/x | GET h / from=9.9.9.9:1 | deny",
            "uri:spiffe://m/y | GET h / from=10.0.0.1:1 | deny",
            "uri:spiffe://n/y | GET h / from=9.9.9.9:1 | deny",
        ],
    ),
    group(
        "Envoy: not of not",
        "ALLOW a: not(not(path(=/a))) / not(not(any))",
        &["plain | GET h /a | allow a", "plain | GET h /b | deny"],
    ),
    group(
        "Envoy: `any` within a set",
        "DENY a: and(any, path(=/a)), or(path(=/b), any) / or(authn(=u), any)",
        &["plain | GET h /a | deny a", "plain | GET h /z | deny a"],
    ),
    group(
        "Envoy: network filter, nothing of HTTP",
        "ALLOW a: port(8080) / direct(10.0.0.0/8); b: path(^=/) / any; c: header(x absent) / any",
        &["plain | - | allow a", "plain | - to=1.1.1.1:80 | deny"],
    ),
];
