//! Filters in a row, shadow rules, audits, and what a denial says.

use super::*;

fn filter(rules: Option<&str>, shadow: Option<&str>) -> CompiledRbacFilter {
    let mut model = RbacFilter::default();
    model.rules = rules.map(|text| Arc::new(rbac(text)));
    model.shadow_rules = shadow.map(|text| Arc::new(rbac(text)));
    CompiledRbacFilter::new(&model).unwrap()
}

/// What filters decide of `GET h PATH`, and what is told of each: enforced, shadow.
#[track_caller]
fn check_filters(filters: &[CompiledRbacFilter], path: &str, told: &[&str], expected: &str) {
    Scene::new("plain", &format!("GET h {path}")).show(|request| {
        let mut heard = Vec::new();
        let result = decide(filters, request, |_, decision| {
            let [enforced, shadow] = [decision.enforced, decision.shadow]
                .map(|verdict| verdict.map_or_else(|| "-".to_owned(), words));
            heard.push(format!("{enforced}/{shadow}"));
        });
        assert_eq!(heard, told);
        let result = result.map_or_else(|denied| denied.to_string(), |()| "passes".to_owned());
        assert_eq!(result, expected);
    });
}

#[test]
fn istio_order_is_deny_before_allow() {
    let filters = [
        filter(Some("DENY d: path(=/secret) / any"), None),
        filter(Some("ALLOW a: path(^=/s) / any"), None),
    ];
    check_filters(&filters, "/secret", &["deny d/-"], "denied by policy `d`");
    check_filters(&filters, "/s", &["allow/-", "allow a/-"], "passes");
    check_filters(&filters, "/x", &["allow/-", "deny/-"], "no policy allows it");
}

#[test]
fn no_allow_policy_at_all_allows() {
    check_filters(
        &[filter(Some("DENY d: path(=/secret) / any"), None)],
        "/x",
        &["allow/-"],
        "passes",
    );
    check_filters(&[filter(None, None)], "/x", &["-/-"], "passes");
    check_filters(&[], "/x", &[], "passes");
}

#[test]
fn shadow_rules_are_told_and_not_enforced() {
    let filters = [
        filter(None, Some("DENY d: path(=/s) / any")),
        filter(Some("ALLOW a: any / any"), Some("ALLOW b: path(=/t) / any")),
    ];
    check_filters(&filters, "/s", &["-/deny d", "allow a/deny"], "passes");
    check_filters(&filters, "/t", &["-/allow", "allow a/allow b"], "passes");
}

#[test]
fn a_log_rule_gives_a_hint() {
    let log = CompiledRbac::new(&rbac("LOG a: path(=/a) / any")).unwrap();
    let allow = CompiledRbac::new(&rbac("ALLOW a: path(=/a) / any")).unwrap();
    for (path, hint) in [("/a", Some(true)), ("/b", Some(false))] {
        Scene::new("plain", &format!("GET h {path}")).show(|request| {
            assert_eq!(log.evaluate(request).access_log_hint(), hint);
            assert_eq!(allow.evaluate(request).access_log_hint(), None);
        });
    }
}

/// gRFC A59: the condition is about the decision, not about the action.
#[test]
fn audits() {
    use AuditCondition::*;
    for (action, condition, of_a, of_b) in [
        ("ALLOW", None, false, false),
        ("ALLOW", OnDeny, false, true),
        ("ALLOW", OnAllow, true, false),
        ("ALLOW", OnDenyAndAllow, true, true),
        ("DENY", OnDeny, true, false),
        ("DENY", OnAllow, false, true),
        ("LOG", OnDeny, false, false),
        ("LOG", OnAllow, true, true),
    ] {
        let mut model = rbac(&format!("{action} a: path(=/a) / any"));
        model.audit = condition;
        model.audit_loggers = vec![AuditLogger::Stdout];
        let compiled = CompiledRbac::new(&model).unwrap();
        assert_eq!(compiled.audit_loggers(), [AuditLogger::Stdout]);
        for (path, expected) in [("/a", of_a), ("/b", of_b)] {
            Scene::new("plain", &format!("GET h {path}")).show(|request| {
                let audited = compiled.evaluate(request).audited;
                assert_eq!(audited, expected, "{action} {condition:?} {path}");
            });
        }
    }
}

#[test]
fn a_record_says_who_asked_for_what() {
    let compiled = CompiledRbac::new(&rbac("DENY d: path(=/a.B/C) / any")).unwrap();
    for (peer, request, expected) in [
        ("uri:u uri:v", "POST h /a.B/C?x", "/a.B/C u f d false"),
        ("tls", "POST h /a.B/D", "/a.B/D  f  true"),
        ("plain", "-", "  f  true"),
    ] {
        Scene::new(peer, request).show(|request| {
            let verdict = compiled.evaluate(request);
            let time = crate::time::WallTime::default();
            let record = AuditRecord::new(time, "f", request, &verdict);
            let AuditRecord {
                rpc_method, principal, policy_name, matched_rule, authorized, ..
            } = record;
            let found =
                format!("{rpc_method} {principal} {policy_name} {matched_rule} {authorized}");
            assert_eq!(found, expected);
        });
    }
}

#[test]
fn a_denial_names_its_policy_for_logs_and_nothing_for_peers() {
    let by = |policy: Option<&str>| Denied { policy: policy.map(Arc::from) };
    assert_eq!(by(None).response_code_details(), "rbac_access_denied_matched_policy[none]");
    assert_eq!(
        by(Some("ns[a] x")).response_code_details(),
        "rbac_access_denied_matched_policy[ns[a]_x]"
    );
    assert_eq!(Denied::BODY, "RBAC: access denied");
}
