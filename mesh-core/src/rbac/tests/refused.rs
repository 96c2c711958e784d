//! What can't be compiled, with its place.

use super::text::{permission, principal};
use super::*;
use crate::model::*;

#[track_caller]
fn check_error(permissions: Vec<Permission>, principals: Vec<Principal>, expected: &str) {
    let mut rbac = Rbac::default();
    rbac.policies.insert("p".into(), Policy { permissions, principals, condition: None });
    assert_eq!(CompiledRbac::new(&rbac).unwrap_err().to_string(), expected);
}

#[test]
fn lists_are_not_empty() {
    const EMPTY: &str = "the list is empty; say `any` if anything is meant (Envoy: min_items 1)";
    let any = || (vec![Permission::Any], vec![Principal::Any]);
    check_error(vec![], any().1, &format!("policy `p`, permissions: {EMPTY}"));
    check_error(any().0, vec![], &format!("policy `p`, principals: {EMPTY}"));
    let and = Permission::Not(Box::new(Permission::And(vec![])));
    check_error(vec![and], any().1, &format!("policy `p`, permissions[0].not.and: {EMPTY}"));
    let or = vec![Principal::Any, Principal::Or(vec![])];
    check_error(any().0, or, &format!("policy `p`, principals[1].or: {EMPTY}"));
    let nowhere = MetadataMatcher::new("f", vec![], ValueMatcher::Null);
    let nowhere = vec![Principal::Metadata(nowhere)];
    check_error(any().0, nowhere, &format!("policy `p`, principals[0]: {EMPTY}"));
}

#[test]
fn matchers() {
    let any = || vec![Principal::Any];
    check_error(
        vec![permission("and(any, path(^=))")],
        any(),
        "policy `p`, permissions[0].and[1]: an empty text would match everything",
    );
    check_error(
        vec![permission("header(x 5..5)")],
        any(),
        "policy `p`, permissions[0]: the range 5..5 holds no number",
    );
    check_error(
        vec![permission("ports(80..80)")],
        any(),
        "policy `p`, permissions[0]: the range of ports 80..80 is none: from 0, up to 65536",
    );
    check_error(
        vec![permission("ports(80..65537)")],
        any(),
        "policy `p`, permissions[0]: the range of ports 80..65537 is none: from 0, up to 65536",
    );
    check_error(
        vec![permission("template(/**/*)")],
        any(),
        "policy `p`, permissions[0]: nothing variable may follow `**`",
    );
    for text in ["authn(^=)", "mtls(uri ^=)", "state(k ^=)", "meta(f k has:^=)"] {
        check_error(
            vec![Permission::Any],
            vec![principal(text)],
            "policy `p`, principals[0]: an empty text would match everything",
        );
    }
}

#[test]
fn nesting_has_an_end() {
    let nested =
        |depth| (0..depth).fold(Permission::Any, |inner, _| Permission::Not(Box::new(inner)));
    let mut rbac = Rbac::default();
    let policy = |depth| Policy {
        permissions: vec![nested(depth)],
        principals: vec![Principal::Any],
        condition: None,
    };
    rbac.policies.insert("p".into(), policy(MAX_DEPTH - 1));
    assert!(CompiledRbac::new(&rbac).is_ok());
    rbac.policies.insert("p".into(), policy(MAX_DEPTH));
    let error = CompiledRbac::new(&rbac).unwrap_err();
    assert_eq!(error.kind, RbacErrorKind::TooDeep);
}

#[test]
fn names_of_headers() {
    use RbacHeaderRefused::*;
    for (name, expected) in [
        (":method", Ok(":method")),
        (":path", Ok(":path")),
        (":authority", Ok(":authority")),
        ("Host", Ok(":authority")),
        ("X-A", Ok("x-a")),
        ("TE", Ok("te")),
        (":scheme", Err(Pseudo)),
        (":protocol", Err(Pseudo)),
        ("grpc-timeout", Err(Grpc)),
        ("GRPC-Status", Err(Grpc)),
        ("grpcx", Ok("grpcx")),
        ("", Err(Invalid)),
        ("a b", Err(Invalid)),
    ] {
        let found = RbacHeaderName::parse(name);
        assert_eq!(found.as_ref().map(|name| name.as_str()), expected.as_ref().copied(), "{name}");
    }
}
