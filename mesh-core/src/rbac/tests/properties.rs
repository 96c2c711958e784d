//! Whatever the policies, the peer and the request: the same as the naive evaluator.

use super::text::{permission, principal};
use super::*;
use proptest::prelude::*;

const PEERS: [&str; 7] = [
    "plain",
    "tls",
    "uri:spiffe://m/a",
    "uri:spiffe://m/b uri:spiffe://m/a dns:a.m",
    "dns:a.m dns:*.m",
    "subject:CN=a",
    "email:a@m ip:10.1.0.1",
];

fn test() -> impl Strategy<Value = String> {
    let value = prop_oneof!["/a", "/a/b", "/b", "spiffe://m/a", "spiffe://m/b", "a\\.m", "CN=a"];
    let kind = prop_oneof!["=", "=", "=", "\\^=", "\\$=", "\\*=", "~=", "i="];
    (kind, value).prop_map(|(kind, value)| format!("{kind}{value}"))
}

fn header() -> impl Strategy<Value = String> {
    let name = prop_oneof![":method", ":path", ":authority", "host", "x-a", "te", "content-type"];
    let check = prop_oneof![
        test(),
        "=(GET|a|a,b|h)",
        Just("present".to_owned()),
        Just("absent".to_owned()),
        Just("0..5".to_owned()),
    ];
    (name, "!?", "\\??", check)
        .prop_map(|(name, not, empty, check)| format!("header({name} {not}{empty}{check})"))
}

fn block() -> impl Strategy<Value = String> {
    prop_oneof![
        "10\\.0\\.0\\.0/8",
        "10\\.1\\.0\\.0/16",
        "10\\.1\\.0\\.1/32",
        "0\\.0\\.0\\.0/0",
        "::/0"
    ]
}

/// A condition on a request, or `any`.
fn shared() -> impl Strategy<Value = String> {
    prop_oneof![
        1 => Just("any".to_owned()),
        4 => test().prop_map(|test| format!("path({test})")),
        3 => header(),
        1 => "(present|absent|=a|true|1\\.\\.5|has:=a)"
            .prop_map(|test| format!("meta(f k {test})")),
    ]
}

fn nested(leaf: BoxedStrategy<String>) -> impl Strategy<Value = String> {
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            (prop_oneof!["and", "or"], prop::collection::vec(inner.clone(), 1..4))
                .prop_map(|(name, rules)| format!("{name}({})", rules.join(", "))),
            inner.prop_map(|rule| format!("not({rule})")),
        ]
    })
}

fn permissions() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        6 => shared(),
        1 => block().prop_map(|block| format!("ip({block})")),
        1 => "(port\\(8080\\)|ports\\(1\\.\\.9000\\)|template\\(/\\{x\\}/b\\)|template\\(/\\*\\*\\))",
        1 => test().prop_map(|test| format!("sni({test})")),
    ];
    nested(leaf.boxed())
}

fn principals() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        3 => shared(),
        6 => test().prop_map(|test| format!("authn({test})")),
        1 => prop_oneof!["authn", "mtls"],
        3 => (prop_oneof!["uri", "dns"], test()).prop_map(|(kind, test)| format!("mtls({kind} {test})")),
        2 => (prop_oneof!["source", "direct", "remote"], block())
            .prop_map(|(name, block)| format!("{name}({block})")),
        1 => test().prop_map(|test| format!("state(s {test})")),
    ];
    nested(leaf.boxed())
}

fn policies() -> impl Strategy<Value = Rbac> {
    let action =
        prop_oneof![Just(RbacAction::Allow), Just(RbacAction::Deny), Just(RbacAction::Log)];
    let policy =
        (prop::collection::vec(permissions(), 1..3), prop::collection::vec(principals(), 1..3));
    (action, prop::collection::vec(policy, 0..6)).prop_map(|(action, policies)| {
        let mut rbac = Rbac::default();
        rbac.action = action;
        for (at, (permissions, principals)) in policies.iter().enumerate() {
            let permissions = permissions.iter().map(|text| permission(text)).collect();
            let principals = principals.iter().map(|text| principal(text)).collect();
            rbac.policies.insert(
                format!("p{at}").into(),
                Policy { permissions, principals, condition: None },
            );
        }
        rbac
    })
}

fn request() -> impl Strategy<Value = String> {
    let head = (
        prop_oneof!["GET", "POST"],
        prop_oneof!["h", "a\\.m", "-"],
        prop_oneof!["/a", "/a/b", "/b\\?/a", "/c/b", "-"],
    );
    let head = prop_oneof![
        8 => head.prop_map(|(method, host, path)| format!("{method} {host} {path}")),
        1 => Just("-".to_owned()),
    ];
    let words = prop_oneof![
        "x-a:(a|b|3)",
        prop_oneof!["te:trailers", "content-type:a", "x-a:a"],
        prop_oneof![
            "from=10\\.1\\.0\\.1:1",
            "from=none",
            "source=10\\.9\\.0\\.1:1",
            "remote=\\[::1\\]:1",
            "to=none"
        ],
        prop_oneof![
            "sni=a\\.m",
            "meta\\.f\\.k=a",
            "meta\\.f\\.k=true",
            "meta\\.f\\.k=3",
            "meta\\.f\\.k=\\[a,b\\]",
            "state\\.s=a\\.m"
        ],
    ];
    (head, prop::collection::vec(words, 0..5))
        .prop_map(|(head, words)| format!("{head} {}", words.join(" ")))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn as_the_naive_evaluator(
        model in policies(),
        peer in prop::sample::select(&PEERS[..]),
        request in request(),
    ) {
        let compiled = CompiledRbac::new(&model).unwrap();
        let mut result = Ok(());
        Scene::new(peer, &request).show(|request| {
            let verdict = compiled.evaluate(request);
            let found = (verdict.allowed, verdict.policy.map(ToString::to_string));
            let expected = naive::evaluate(&model, request);
            if found != expected {
                result = Err(TestCaseError::fail(format!("{found:?} is not {expected:?}")));
            }
            let narrowed = compiled.narrow(request.connection).unwrap();
            let narrowed = compiled.evaluate_narrowed(&narrowed, request);
            if narrowed != verdict {
                result = Err(TestCaseError::fail(format!("{narrowed:?} is not {verdict:?}")));
            }
        });
        result?;
    }
}

/// Beginnings of more lengths than are filed: the same decisions.
#[test]
fn beginnings_of_many_lengths() {
    for lengths in [16, 17, 40] {
        let policies: Vec<_> = (1..=lengths)
            .map(|length| {
                format!("p{length:02}: path(^=/{}) / authn(^=u{length})", "a".repeat(length))
            })
            .collect();
        let rules = format!("ALLOW {}", policies.join("; "));
        for length in 1..=lengths {
            let path = format!("GET h /{}b", "a".repeat(length));
            let expected = format!("allow p{length:02}");
            check(
                "order of names",
                &rules,
                &format!("uri:u{length}"),
                &path,
                match length {
                    // `u1` is a beginning of `u10`.
                    10..20 => "allow p01",
                    20..30 => "allow p02",
                    30..40 => "allow p03",
                    40 => "allow p04",
                    _ => &expected,
                },
            );
            check("nobody", &rules, "uri:x", &path, "deny");
        }
    }
}
