//! RBAC filters: the way back of [`decode::rbac`](crate::decode::rbac).

use super::cel;
use super::matcher::{header_specifier, string};
use super::san;
use super::wrap::{extension, uint32};
use envoy_types::pb::envoy::config::core::v3::CidrRange;
use envoy_types::pb::envoy::config::rbac::v3 as pb;
use envoy_types::pb::envoy::config::route::v3::HeaderMatcher;
use envoy_types::pb::envoy::extensions::filters::http::rbac::v3 as pb_http;
use envoy_types::pb::envoy::extensions::path::r#match::uri_template::v3::UriTemplateMatchConfig;
use envoy_types::pb::envoy::extensions::rbac::audit_loggers::stream::v3::StdoutAuditLog;
use envoy_types::pb::envoy::extensions::rbac::principals::mtls_authenticated::v3::Config as Mtls;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as tls;
use envoy_types::pb::envoy::r#type::matcher::v3 as pb_matcher;
use envoy_types::pb::envoy::r#type::v3::{DoubleRange, Int32Range};
use envoy_types::pb::xds::core::v3 as xds;
use mesh_core::model::metadata::{FilterStateMatcher, FilterStateValue, ValueMatcher};
use mesh_core::model::rbac::{AuditCondition, AuditLogger, RbacAction, RbacHeader};
use mesh_core::model::{
    Cidr, MetadataMatcher, MetadataSource, Permission, Policy, Principal, Rbac, RbacFilter,
    StringMatcher,
};
use pb::permission::Rule;
use pb::principal::Identifier;
use pb::rbac::audit_logging_options as audit;
use pb_matcher::value_matcher::MatchPattern as Value;

/// The configuration of an HTTP filter.
#[must_use]
pub fn rbac_filter(model: &RbacFilter) -> pb_http::Rbac {
    pb_http::Rbac {
        rules: model.rules.as_deref().map(rules),
        shadow_rules: model.shadow_rules.as_deref().map(rules),
        rules_stat_prefix: model.rules_stat_prefix.to_string(),
        shadow_rules_stat_prefix: model.shadow_rules_stat_prefix.to_string(),
        track_per_rule_stats: model.track_per_rule_stats,
        ..pb_http::Rbac::default()
    }
}

fn rules(model: &Rbac) -> pb::Rbac {
    let action = match model.action {
        RbacAction::Allow => pb::rbac::Action::Allow,
        RbacAction::Deny => pb::rbac::Action::Deny,
        RbacAction::Log => pb::rbac::Action::Log,
    };
    let silent = model.audit == AuditCondition::None && model.audit_loggers.is_empty();
    let policies = model.policies.iter();
    pb::Rbac {
        action: action.into(),
        policies: policies.map(|(name, model)| (name.to_string(), policy(model))).collect(),
        audit_logging_options: (!silent).then(|| audit_options(model)),
    }
}

fn audit_options(model: &Rbac) -> pb::rbac::AuditLoggingOptions {
    let condition = match model.audit {
        AuditCondition::None => audit::AuditCondition::None,
        AuditCondition::OnDeny => audit::AuditCondition::OnDeny,
        AuditCondition::OnAllow => audit::AuditCondition::OnAllow,
        AuditCondition::OnDenyAndAllow => audit::AuditCondition::OnDenyAndAllow,
    };
    let loggers = model.audit_loggers.iter().map(|logger| audit::AuditLoggerConfig {
        audit_logger: Some(match logger {
            AuditLogger::Stdout => extension("stdout_logger", &StdoutAuditLog {}),
        }),
        is_optional: false,
    });
    pb::rbac::AuditLoggingOptions {
        audit_condition: condition.into(),
        logger_configs: loggers.collect(),
    }
}

fn policy(model: &Policy) -> pb::Policy {
    pb::Policy {
        permissions: model.permissions.iter().map(permission).collect(),
        principals: model.principals.iter().map(principal).collect(),
        condition: model.condition.as_ref().map(|condition| cel::expr(&condition.expr)),
        checked_condition: None,
        cel_config: model.condition.as_ref().and_then(cel::config),
    }
}

fn permission(model: &Permission) -> pb::Permission {
    let set = |rules: &[Permission]| pb::permission::Set {
        rules: rules.iter().map(permission).collect(),
    };
    let rule = match model {
        Permission::Any => Rule::Any(true),
        Permission::And(rules) => Rule::AndRules(set(rules)),
        Permission::Or(rules) => Rule::OrRules(set(rules)),
        Permission::Not(rule) => Rule::NotRule(Box::new(permission(rule))),
        Permission::Header(matcher) => Rule::Header(header(matcher)),
        Permission::UrlPath(matcher) => Rule::UrlPath(path(matcher)),
        Permission::DestinationIp(block) => Rule::DestinationIp(cidr(block)),
        Permission::DestinationPort(port) => Rule::DestinationPort((*port).into()),
        Permission::DestinationPortRange(ports) => {
            let end = |port: u32| i32::try_from(port).unwrap_or(i32::MAX);
            let range = Int32Range { start: end(ports.start), end: end(ports.end) };
            Rule::DestinationPortRange(range)
        }
        Permission::Metadata(matcher) => Rule::SourcedMetadata(sourced(matcher)),
        Permission::RequestedServerName(matcher) => Rule::RequestedServerName(string(matcher)),
        Permission::UriTemplate(template) => {
            let config = UriTemplateMatchConfig { path_template: template.to_string() };
            Rule::UriTemplate(extension("envoy.path.match.uri_template", &config))
        }
    };
    pb::Permission { rule: Some(rule) }
}

#[expect(deprecated, reason = "there is no other field for it")]
fn principal(model: &Principal) -> pb::Principal {
    let set = |ids: &[Principal]| pb::principal::Set { ids: ids.iter().map(principal).collect() };
    let identifier = match model {
        Principal::Any => Identifier::Any(true),
        Principal::And(ids) => Identifier::AndIds(set(ids)),
        Principal::Or(ids) => Identifier::OrIds(set(ids)),
        Principal::Not(id) => Identifier::NotId(Box::new(principal(id))),
        Principal::Authenticated(matcher) => {
            let principal_name = matcher.as_ref().map(string);
            Identifier::Authenticated(pb::principal::Authenticated { principal_name })
        }
        Principal::MtlsAuthenticated(None) => mtls(None),
        Principal::MtlsAuthenticated(Some(matcher)) => {
            let mut names = san::typed(matcher);
            match (names.pop(), names.is_empty()) {
                (only, true) => mtls(only),
                // Envoy has no matcher of any type here.
                (last, false) => {
                    let ids = names.into_iter().chain(last).map(|name| mtls(Some(name)));
                    let ids = ids.map(|id| pb::Principal { identifier: Some(id) });
                    Identifier::OrIds(pb::principal::Set { ids: ids.collect() })
                }
            }
        }
        Principal::SourceIp(block) => Identifier::SourceIp(cidr(block)),
        Principal::DirectRemoteIp(block) => Identifier::DirectRemoteIp(cidr(block)),
        Principal::RemoteIp(block) => Identifier::RemoteIp(cidr(block)),
        Principal::Header(matcher) => Identifier::Header(header(matcher)),
        Principal::UrlPath(matcher) => Identifier::UrlPath(path(matcher)),
        Principal::Metadata(matcher) => Identifier::SourcedMetadata(sourced(matcher)),
        Principal::FilterState(matcher) => Identifier::FilterState(filter_state(matcher)),
    };
    pb::Principal { identifier: Some(identifier) }
}

fn header(model: &RbacHeader) -> HeaderMatcher {
    HeaderMatcher {
        name: model.name.as_str().to_owned(),
        invert_match: model.invert,
        treat_missing_header_as_empty: model.treat_missing_as_empty,
        header_match_specifier: Some(header_specifier(&model.kind)),
    }
}

fn path(model: &StringMatcher) -> pb_matcher::PathMatcher {
    let rule = Some(pb_matcher::path_matcher::Rule::Path(string(model)));
    pb_matcher::PathMatcher { rule }
}

fn cidr(model: &Cidr) -> CidrRange {
    CidrRange {
        address_prefix: model.first().to_string(),
        prefix_len: uint32(model.prefix().into()),
    }
}

fn mtls(san_matcher: Option<tls::SubjectAltNameMatcher>) -> Identifier {
    let any_validated_client_certificate = san_matcher.is_none();
    let config = Mtls { san_matcher, any_validated_client_certificate };
    Identifier::Custom(extension("envoy.rbac.principals.mtls_authenticated", &config))
}

fn sourced(model: &MetadataMatcher) -> pb::SourcedMetadata {
    use pb_matcher::metadata_matcher::{PathSegment, path_segment::Segment};
    let source = match model.source {
        MetadataSource::Dynamic => pb::MetadataSource::Dynamic,
        MetadataSource::Route => pb::MetadataSource::Route,
    };
    let keys =
        model.path.iter().map(|key| PathSegment { segment: Some(Segment::Key(key.to_string())) });
    pb::SourcedMetadata {
        metadata_matcher: Some(pb_matcher::MetadataMatcher {
            filter: model.filter.to_string(),
            path: keys.collect(),
            value: Some(value(&model.value)),
            invert: model.invert,
        }),
        metadata_source: source.into(),
    }
}

fn value(model: &ValueMatcher) -> pb_matcher::ValueMatcher {
    use pb_matcher::double_matcher::MatchPattern as Double;
    let double =
        |pattern| Value::DoubleMatch(pb_matcher::DoubleMatcher { match_pattern: Some(pattern) });
    let pattern = match model {
        ValueMatcher::Null => Value::NullMatch(pb_matcher::value_matcher::NullMatch {}),
        ValueMatcher::Range { start, end } => {
            double(Double::Range(DoubleRange { start: *start, end: *end }))
        }
        ValueMatcher::Number(number) => double(Double::Exact(*number)),
        ValueMatcher::Text(matcher) => Value::StringMatch(string(matcher)),
        ValueMatcher::Bool(flag) => Value::BoolMatch(*flag),
        ValueMatcher::Present(present) => Value::PresentMatch(*present),
        ValueMatcher::OneOf(inner) => {
            let one = pb_matcher::list_matcher::MatchPattern::OneOf(Box::new(value(inner)));
            Value::ListMatch(Box::new(pb_matcher::ListMatcher { match_pattern: Some(one) }))
        }
        ValueMatcher::Or(inner) => Value::OrMatch(pb_matcher::OrMatcher {
            value_matchers: inner.iter().map(value).collect(),
        }),
    };
    pb_matcher::ValueMatcher { match_pattern: Some(pattern) }
}

fn filter_state(model: &FilterStateMatcher) -> pb_matcher::FilterStateMatcher {
    use pb_matcher::filter_state_matcher::Matcher;
    let matcher = match &model.value {
        FilterStateValue::Text(matcher) => Matcher::StringMatch(string(matcher)),
        FilterStateValue::Address(blocks) => {
            let ranges = blocks.iter().map(|block| xds::CidrRange {
                address_prefix: block.first().to_string(),
                prefix_len: uint32(block.prefix().into()),
            });
            Matcher::AddressMatch(pb_matcher::AddressMatcher {
                ranges: ranges.collect(),
                invert_match: false,
            })
        }
    };
    pb_matcher::FilterStateMatcher { key: model.key.to_string(), matcher: Some(matcher) }
}
