//! Conditions of policies: where they stand among permissions and principals.

use super::*;
use crate::model::rbac::Rbac;
use crate::rbac::tests::text::rbac;
use crate::rbac::{CompiledRbac, RbacErrorKind};

/// Policies `a` and `b` for `/a` and for anything, with conditions; none is empty.
fn policies(action: &str, conditions: [&str; 2]) -> Rbac {
    let mut model = rbac(&format!("{action} a: path(=/a) / any; b: any / any"));
    for (policy, text) in model.policies.values_mut().zip(conditions) {
        policy.condition = (!text.is_empty()).then(|| condition(text));
    }
    model
}

#[track_caller]
fn check(model: &Rbac, request: &str, expected: (bool, Option<&str>)) {
    let compiled = CompiledRbac::new(model).unwrap();
    Scene::new("plain", request).show(|request| {
        let verdict = compiled.evaluate(request);
        assert_eq!((verdict.allowed, verdict.policy.map(|name| &**name)), expected, "{request:?}");
    });
}

#[test]
fn a_policy_matches_if_its_condition_holds_too() {
    let allow = policies("ALLOW", ["request.headers['x'] == '1'", "request.method == 'PUT'"]);
    check(&allow, "GET h /a x:1", (true, Some("a")));
    check(&allow, "GET h /b x:1", (false, None));
    check(&allow, "PUT h /a x:2", (true, Some("b")));
    // A header that is missing is an error, which is no match.
    check(&allow, "GET h /a", (false, None));
    let deny = policies("DENY", ["request.headers['x'] == '1'", "false"]);
    check(&deny, "GET h /a x:1", (false, Some("a")));
    check(&deny, "GET h /a", (true, None));
    let log = policies("LOG", ["!has(request.headers.x)", "1"]);
    check(&log, "GET h /a", (true, Some("a")));
    check(&log, "GET h /a x:1", (true, None));
}

#[test]
fn what_is_always_true_is_not_asked() {
    let compiled = CompiledRbac::new(&policies("ALLOW", ["1 + 1 == 2", ""])).unwrap();
    assert!(compiled.policies.iter().all(|policy| policy.condition.is_none()));
    let compiled = CompiledRbac::new(&policies("ALLOW", ["connection.mtls", "false"])).unwrap();
    assert!(compiled.policies.iter().all(|policy| policy.condition.is_some()));
}

/// Every element with every other, four times over: far beyond the bound.
const DEAR: &str = "'0,1,2,3,4,5,6,7,8,9'.split(',').all(a, request.path.split('').all(b, \
                    request.path.split('').all(c, request.path.split('').all(d, a != b + c + d))))";

#[test]
fn nobody_gets_in_by_making_a_decision_dear() {
    let long = format!("GET h /a{}", "x".repeat(500));
    for (action, expected) in
        [("ALLOW", (false, None)), ("DENY", (false, Some("b"))), ("LOG", (true, None))]
    {
        check(&policies(action, ["", DEAR]), &long, expected);
    }
    let (found, cost) = outcome(&condition(DEAR), "plain", &long);
    assert_eq!((&*found, cost), ("!TooCostly", MAX_COST));
    // What stands beside it does not make up for it.
    for text in [format!("{DEAR} || request.method == 'GET'"), format!("!{DEAR} && false == true")]
    {
        let found = outcome(&condition(&text), "plain", &long).0;
        assert!(matches!(&*found, "!TooCostly" | "false"), "{found}");
    }
}

#[test]
fn how_close_a_policy_comes() {
    let compiled = CompiledRbac::new(&policies("ALLOW", ["request.method == 'PUT'", "false"]));
    let compiled = compiled.unwrap();
    Scene::new("plain", "PUT h /a").show(|request| {
        let near: Vec<_> = compiled.near(request).map(|near| near.when_fits).collect();
        assert_eq!(near, [true, false]);
    });
}

#[test]
fn what_is_refused_has_its_place() {
    let error = CompiledRbac::new(&policies("DENY", ["true", "request.body == ''"])).unwrap_err();
    assert_eq!(error.place, "condition");
    assert!(matches!(error.kind, RbacErrorKind::Condition(_)));
    let text = error.to_string();
    assert!(
        text.starts_with("policy `b`, condition: there is no attribute `request.body`"),
        "{text}"
    );
}
