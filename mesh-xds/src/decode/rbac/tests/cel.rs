//! Conditions in CEL: what is read of the tree, and what is refused with its place.

use super::*;
use envoy_types::pb::google::api::expr::v1alpha1 as pb_cel;
use envoy_types::pb::google::protobuf::{Duration, Timestamp};
use mesh_core::model::{CelConstant, CelExpr, Condition};
use mesh_core::rbac::check_condition;
use pb_cel::constant::ConstantKind;
use pb_cel::expr::create_struct::{Entry, entry::KeyKind};
use pb_cel::expr::{Call, Comprehension, CreateList, CreateStruct, ExprKind, Ident, Select};

/// `true`.
pub(super) fn always() -> pb_cel::Expr {
    constant(ConstantKind::BoolValue(true))
}

fn constant(kind: ConstantKind) -> pb_cel::Expr {
    of(ExprKind::ConstExpr(pb_cel::Constant { constant_kind: Some(kind) }))
}

const fn of(kind: ExprKind) -> pb_cel::Expr {
    pb_cel::Expr { id: 0, expr_kind: Some(kind) }
}

fn ident(name: &str) -> pb_cel::Expr {
    of(ExprKind::IdentExpr(Ident { name: name.into() }))
}

fn select(operand: pb_cel::Expr, field: &str) -> pb_cel::Expr {
    of(ExprKind::SelectExpr(Box::new(Select {
        operand: Some(Box::new(operand)),
        field: field.into(),
        test_only: false,
    })))
}

fn call(function: &str, args: Vec<pb_cel::Expr>) -> pb_cel::Expr {
    of(ExprKind::CallExpr(Box::new(Call { target: None, function: function.into(), args })))
}

fn filter(set: impl FnOnce(&mut pb::Policy)) -> pb_http::Rbac {
    let mut message = base();
    set(message.rules.as_mut().unwrap().policies.get_mut("p").unwrap());
    message
}

/// The condition of a policy, or the report.
fn decoded(set: impl FnOnce(&mut pb::Policy)) -> Result<Option<Condition>, Vec<String>> {
    let decoded = http(&filter(set).encode_to_vec());
    match &decoded.config {
        Ok(filter) => {
            let rules = filter.rules.clone().unwrap();
            Ok(rules.policies["p"].condition.clone())
        }
        Err(_) => Err(report(&decoded)),
    }
}

#[track_caller]
fn check_refused(expr: pb_cel::Expr, expected: &str) {
    let found = decoded(|policy| policy.condition = Some(expr)).unwrap_err();
    check_report(&found, &[&format!("! rules.policies[p].condition{expected}")]);
}

#[test]
fn a_condition_is_read() {
    let path = select(ident("request"), "path");
    let text = constant(ConstantKind::StringValue("/a".into()));
    let found = decoded(|policy| policy.condition = Some(call("_==_", vec![path, text])));
    let expected =
        CelExpr::call("_==_", vec![CelExpr::ident("request").select("path"), CelExpr::text("/a")]);
    assert_eq!(found, Ok(Some(Condition::new(expected))));
    assert_eq!(decoded(|_| {}), Ok(None));
}

#[test]
#[expect(deprecated, reason = "old parsers still send them")]
fn old_constants_are_calls() {
    let span = |seconds, nanos| constant(ConstantKind::DurationValue(Duration { seconds, nanos }));
    let date =
        |seconds, nanos| constant(ConstantKind::TimestampValue(Timestamp { seconds, nanos }));
    for (message, function, text) in [
        (span(1, 500_000_000), "duration", "1.500000000s"),
        (span(0, -1), "duration", "-0.000000001s"),
        (date(60, 5), "timestamp", "1970-01-01T00:01:00.000000005Z"),
    ] {
        let expected = Condition::new(CelExpr::call(function, vec![CelExpr::text(text)]));
        assert_eq!(decoded(|policy| policy.condition = Some(message)), Ok(Some(expected)));
    }
    for (message, words) in [
        (span(1, -1), "duration_value: the same way"),
        (span(0, 1_000_000_000), "duration_value: below 1e9"),
        (date(-1, 0), "timestamp_value: 1970"),
        (date(0, -1), "timestamp_value: 1970"),
        (date(253_402_300_800, 0), "timestamp_value: 9999"),
    ] {
        check_refused(message, &format!(".const_expr.{words}"));
    }
}

/// A type checker says what names stand for; here `PATH` for `request.path`, and `LIMIT` for 5.
#[test]
fn names_as_they_were_checked() {
    let numbered = |id, expr: pb_cel::Expr| pb_cel::Expr { id, ..expr };
    let expr = call("_==_", vec![numbered(1, ident("PATH")), numbered(2, ident("LIMIT"))]);
    let five = pb_cel::Constant { constant_kind: Some(ConstantKind::Int64Value(5)) };
    let path = pb_cel::Reference { name: ".request.path".into(), ..Default::default() };
    let limit = pb_cel::Reference { value: Some(five), ..Default::default() };
    let checked = pb_cel::CheckedExpr {
        expr: Some(expr.clone()),
        reference_map: [(1, path), (2, limit)].into(),
        ..Default::default()
    };
    let found = decoded(|policy| policy.checked_condition = Some(checked.clone()));
    let five = CelExpr::Const(CelConstant::Int(5));
    let expected = CelExpr::call("_==_", vec![CelExpr::ident("request").select("path"), five]);
    assert_eq!(found, Ok(Some(Condition::new(expected))));
    let both = decoded(|policy| {
        (policy.condition, policy.checked_condition) = (Some(always()), Some(checked));
    });
    check_report(&both.unwrap_err(), &["! rules.policies[p].checked_condition: not both"]);
    let none = decoded(|policy| policy.checked_condition = Some(Default::default()));
    check_report(&none.unwrap_err(), &["! rules.policies[p].checked_condition.expr: missing"]);
    let unknown = pb_cel::CheckedExpr { expr: Some(expr), ..Default::default() };
    let unknown = decoded(|policy| policy.checked_condition = Some(unknown));
    check_report(&unknown.unwrap_err(), &["! rules.policies[p].checked_condition: `PATH`"]);
}

#[test]
fn what_is_switched_on() {
    let text = || constant(ConstantKind::StringValue("A".into()));
    let lower = of(ExprKind::CallExpr(Box::new(Call {
        target: Some(Box::new(text())),
        function: "lowerAscii".into(),
        args: vec![],
    })));
    let is_a = call("_==_", vec![lower, text()]);
    check_refused(is_a.clone(), ": set `cel_config.enable_string_functions`");
    let found = decoded(|policy| {
        policy.condition = Some(is_a);
        policy.cel_config = Some(envoy_types::pb::envoy::config::core::v3::CelExpressionConfig {
            enable_string_functions: true,
            ..Default::default()
        });
    });
    let condition = found.unwrap().unwrap();
    assert!(condition.string_functions && !condition.string_concat);
    assert_eq!(check_condition(&condition, true), Ok(()));
    // Without a condition there is nothing that it could change.
    let message = filter(|policy| policy.cel_config = Some(Default::default()));
    let decoded = http(&message.encode_to_vec());
    check_report(&report(&decoded), &["~ rules.policies[p].cel_config"]);
}

#[test]
fn what_is_refused() {
    let none = pb_cel::Expr::default;
    check_refused(none(), ": kind of expression");
    check_refused(of(ExprKind::ConstExpr(Default::default())), ".const_expr: kind of constant");
    check_refused(of(ExprKind::SelectExpr(Default::default())), ".select_expr.operand: missing");
    check_refused(call("_&&_", vec![always(), none()]), ".call_expr.args[1]: kind of expression");
    check_refused(ident("user"), ": `user` is no name that is known here");
    check_refused(
        select(ident("connection"), "tls_version"),
        ": `connection.tls_version` can't be asked for",
    );
    check_refused(call("type", vec![always()]), ": there is no function `type`");
    let list = CreateList { elements: vec![always()], optional_indices: vec![0] };
    check_refused(of(ExprKind::ListExpr(list)), ".list_expr.optional_indices: optional");
    let made = |message_name: &str, entry: Entry| {
        let entries = vec![entry];
        of(ExprKind::StructExpr(CreateStruct { message_name: message_name.into(), entries }))
    };
    check_refused(made("a.B", Entry::default()), ".struct_expr.message_name: use a map");
    check_refused(made("", Entry::default()), ".struct_expr.entries[0]: map_key");
    let keyed = || Entry { key_kind: Some(KeyKind::MapKey(always())), ..Default::default() };
    check_refused(made("", keyed()), ".struct_expr.entries[0].value: missing");
    let optional = Entry { optional_entry: true, ..keyed() };
    check_refused(made("", optional), ".struct_expr.entries[0].optional_entry: optional");
    let two = Comprehension { iter_var2: "y".into(), ..Default::default() };
    let two = of(ExprKind::ComprehensionExpr(Box::new(two)));
    check_refused(two, ".comprehension_expr.iter_var2: one variable");
}

#[test]
fn a_connection_has_no_request() {
    let rules = |expr| {
        let mut message = filter(|policy| policy.condition = Some(expr));
        let rules = message.rules.take();
        network(
            &pb_network::Rbac { rules, stat_prefix: "x".into(), ..Default::default() }
                .encode_to_vec(),
        )
    };
    let refused = rules(call("size", vec![select(ident("request"), "path")]));
    check_report(&report(&refused), &["! rules.policies[p].condition: use the HTTP filter"]);
    assert!(rules(select(ident("connection"), "mtls")).config.is_ok());
}
