//! The table of fields has every field of the messages, and what it calls refused or ignored is.

use super::*;
use crate::decode::support::Support;
use crate::decode::support::agreement::check_fields;
use crate::decode::support::rbac::ROWS;
use crate::decode::testing::{any, secs};
use envoy_types::pb::envoy::config::core::v3::{CelExpressionConfig, TypedExtensionConfig};
use envoy_types::pb::envoy::extensions::rbac::audit_loggers::stream::v3::StdoutAuditLog;
use envoy_types::pb::google::api::expr::v1alpha1::CheckedExpr;

const RULES: &[&str] = &[
    "and_rules",
    "or_rules",
    "any",
    "header",
    "url_path",
    "destination_ip",
    "destination_port",
    "destination_port_range",
    "metadata",
    "not_rule",
    "requested_server_name",
    "matcher",
    "uri_template",
    "sourced_metadata",
];
const IDENTIFIERS: &[&str] = &[
    "and_ids",
    "or_ids",
    "any",
    "authenticated",
    "source_ip",
    "direct_remote_ip",
    "remote_ip",
    "header",
    "url_path",
    "metadata",
    "filter_state",
    "not_id",
    "sourced_metadata",
    "custom",
];

#[test]
fn every_field_is_in_the_table() {
    check_fields(ROWS, "RBAC (HTTP filter)", &pb_http::Rbac::default(), &[]);
    check_fields(ROWS, "RBAC (network filter)", &pb_network::Rbac::default(), &[]);
    check_fields(ROWS, "RBAC (rules)", &pb::Rbac::default(), &[]);
    check_fields(ROWS, "RBAC Policy", &pb::Policy::default(), &[]);
    check_fields(ROWS, "RBAC Permission", &PbPermission::default(), &[("rule", RULES)]);
    check_fields(ROWS, "RBAC Principal", &PbPrincipal::default(), &[("identifier", IDENTIFIERS)]);
}

/// What the table says of a field of a message, against what a filter that sets it is.
#[track_caller]
fn agrees(message: &str, field: &str, report: &[String]) {
    let row = ROWS.iter().find(|row| (row.message, row.field) == (message, field)).unwrap();
    let hit = |mark: &str| report.iter().any(|line| line.starts_with(mark) && line.contains(field));
    match row.support {
        Support::Used => assert_eq!(report, [""; 0], "{message}.{field}"),
        Support::Ignored => assert!(hit("~") && !hit("!"), "{message}.{field}: {report:?}"),
        Support::Refused => assert!(hit("!"), "{message}.{field}: {report:?}"),
    }
}

#[test]
fn filters_agree_with_the_table() {
    type Set<M> = (&'static str, fn(&mut M));
    let sets: &[Set<pb_http::Rbac>] = &[
        ("rules", |m| m.rules = Some(pb::Rbac::default())),
        ("rules_stat_prefix", |m| m.rules_stat_prefix = "x".into()),
        ("matcher", |m| m.matcher = Some(Default::default())),
        ("shadow_rules", |m| m.shadow_rules = Some(pb::Rbac::default())),
        ("shadow_matcher", |m| m.shadow_matcher = Some(Default::default())),
        ("shadow_rules_stat_prefix", |m| m.shadow_rules_stat_prefix = "x".into()),
        ("track_per_rule_stats", |m| m.track_per_rule_stats = true),
    ];
    for (field, set) in sets {
        let mut message = base();
        set(&mut message);
        let decoded = http(&message.encode_to_vec());
        agrees("RBAC (HTTP filter)", field, &report(&decoded));
        if let Ok(filter) = decoded.config {
            assert_ne!(filter, http(&base().encode_to_vec()).config.unwrap(), "{field}");
        }
    }
    let sets: &[Set<pb_network::Rbac>] = &[
        ("rules", |m| m.rules = Some(pb::Rbac::default())),
        ("matcher", |m| m.matcher = Some(Default::default())),
        ("shadow_rules", |m| m.shadow_rules = Some(pb::Rbac::default())),
        ("shadow_matcher", |m| m.shadow_matcher = Some(Default::default())),
        ("shadow_rules_stat_prefix", |m| m.shadow_rules_stat_prefix = "x".into()),
        ("stat_prefix", |m| m.stat_prefix = "x".into()),
        ("enforcement_type", |m| m.enforcement_type = 1),
        ("delay_deny", |m| m.delay_deny = secs(1)),
    ];
    for (field, set) in sets {
        let mut message = pb_network::Rbac { stat_prefix: "tcp.".into(), ..Default::default() };
        set(&mut message);
        let decoded = network(&message.encode_to_vec());
        agrees("RBAC (network filter)", field, &report(&decoded));
    }
    let sets: &[Set<pb::Policy>] = &[
        ("condition", |m| m.condition = Some(cel::always())),
        ("checked_condition", |m| {
            m.checked_condition =
                Some(CheckedExpr { expr: Some(cel::always()), ..Default::default() });
        }),
        ("cel_config", |m| {
            m.condition = Some(cel::always());
            m.cel_config =
                Some(CelExpressionConfig { enable_string_concat: true, ..Default::default() });
        }),
    ];
    for (field, set) in sets {
        let mut message = base();
        set(message.rules.as_mut().unwrap().policies.get_mut("p").unwrap());
        let decoded = http(&message.encode_to_vec());
        agrees("RBAC Policy", field, &report(&decoded));
        if let Ok(filter) = decoded.config {
            assert_ne!(filter, http(&base().encode_to_vec()).config.unwrap(), "{field}");
        }
    }
}

#[test]
fn a_route_overrides_or_turns_off() {
    let off = per_route(&[]);
    assert_eq!(off.config, Ok(None));
    let on = pb_http::RbacPerRoute { rbac: Some(base()) };
    let on = per_route(&on.encode_to_vec()).config.unwrap();
    assert_eq!(on, Some(http(&base().encode_to_vec()).config.unwrap()));
    let nothing = pb_http::RbacPerRoute { rbac: Some(pb_http::Rbac::default()) };
    assert_eq!(per_route(&nothing.encode_to_vec()).config, Ok(Some(RbacFilter::default())));
}

#[test]
fn loggers_are_known_or_optional() {
    let check = |config: Option<TypedExtensionConfig>, is_optional, expected: &[&str]| {
        let mut message = base();
        message.rules.as_mut().unwrap().audit_logging_options = Some(AuditLoggingOptions {
            audit_condition: PbCondition::OnDeny.into(),
            logger_configs: vec![AuditLoggerConfig { audit_logger: config, is_optional }],
        });
        let decoded = http(&message.encode_to_vec());
        check_report(&report(&decoded), expected);
        decoded.config.ok().map(|filter| {
            let rules = filter.rules.unwrap();
            (rules.audit, rules.audit_loggers.clone())
        })
    };
    let typed = |any| Some(TypedExtensionConfig { name: "x".into(), typed_config: Some(any) });
    let stdout = typed(any(&StdoutAuditLog {}));
    let other = typed(any(&pb::Rbac::default()));
    let stdout = check(stdout, false, &[]);
    assert_eq!(stdout, Some((AuditCondition::OnDeny, vec![AuditLogger::Stdout])));
    const PLACE: &str = "rules.audit_logging_options.logger_configs[0]";
    let refused = format!("! {PLACE}.audit_logger: A59");
    assert_eq!(check(other.clone(), false, &[&refused]), None);
    assert_eq!(check(None, false, &[&refused]), None);
    let ignored = format!("~ {PLACE}.is_optional");
    assert_eq!(check(other, true, &[&ignored]), Some((AuditCondition::OnDeny, vec![])));
}
