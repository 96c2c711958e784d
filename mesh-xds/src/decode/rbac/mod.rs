//! RBAC filters → [`RbacFilter`] (gRFC A41, A59; Envoy: `filters.http.rbac.v3`, `filters.network.rbac.v3`).
//!
//! A policy that is not understood must not decide, so everything in it that is not known is refused:
//! kinds of permissions and principals that are newer than these messages, match trees, what a condition
//! in CEL asks of what is not known here. What is read beyond gRPC: LOG, shadow rules, metadata, the filter
//! state, templates of paths, `mtls_authenticated`, and conditions in CEL, which gRFC A41 refuses.
//!
//! What it does not do: decide; `mesh_core::rbac` does, and what is accepted here compiles there.

mod cel;
mod condition;
mod metadata;
#[cfg(test)]
mod tests;

pub(super) use metadata::cidr;

use super::common::{self, Walk, ignored, refused, type_name};
use super::{FieldError, Ignored};
use envoy_types::pb::envoy::config::rbac::v3 as pb;
use envoy_types::pb::envoy::extensions::filters::http::rbac::v3 as pb_http;
use envoy_types::pb::envoy::extensions::filters::network::rbac::v3 as pb_network;
use mesh_core::model::rbac::{AuditCondition, AuditLogger, Policy, Rbac, RbacAction, RbacFilter};
use pb::rbac::audit_logging_options::{AuditCondition as PbCondition, AuditLoggerConfig};
use pb::rbac::{Action as PbAction, AuditLoggingOptions};
use prost::Message;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The type of the HTTP filter's configuration.
pub(super) const HTTP: &str = "envoy.extensions.filters.http.rbac.v3.RBAC";
/// The type of the network filter's configuration.
pub(super) const NETWORK: &str = "envoy.extensions.filters.network.rbac.v3.RBAC";
/// The type of a logger that writes to standard output (gRFC A59).
const STDOUT: &str = "envoy.extensions.rbac.audit_loggers.stream.v3.StdoutAuditLog";
const MATCHER: &str = "match trees are not supported: list policies in `rules`";

/// The configuration of a filter after decoding.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DecodedFilter<T> {
    /// What it says, or everything that is wrong with it; paths begin at the configuration.
    pub config: Result<T, Vec<FieldError>>,
    /// The fields that are set and do nothing here.
    pub ignored: Vec<Ignored>,
}

/// What a filter may be asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layer {
    Http,
    /// A connection has no headers and no path.
    Network,
}

/// Decodes the HTTP filter: the value of an `Any` of type `filters.http.rbac.v3.RBAC`.
#[must_use]
pub fn http(body: &[u8]) -> DecodedFilter<RbacFilter> {
    decoded(body, http_filter)
}

/// Decodes what a route or a virtual host says of the HTTP filter: the value of an `Any` of type
/// `filters.http.rbac.v3.RBACPerRoute`. `None`: the filter is off there (gRFC A41).
#[must_use]
pub fn per_route(body: &[u8]) -> DecodedFilter<Option<RbacFilter>> {
    decoded(body, route_filter)
}

/// Decodes the network filter: the value of an `Any` of type `filters.network.rbac.v3.RBAC`.
///
/// It is asked once for each connection. Conditions on headers and paths are refused, for a connection
/// has none (Envoy: "Header should not be used").
#[must_use]
pub fn network(body: &[u8]) -> DecodedFilter<RbacFilter> {
    decoded(body, network_filter)
}

fn decoded<M: Message + Default, T>(
    body: &[u8],
    decode: impl FnOnce(&mut Walk, &M) -> Option<T>,
) -> DecodedFilter<T> {
    let mut walk = Walk::default();
    let found = match M::decode(body) {
        Ok(message) => decode(&mut walk, &message),
        Err(invalid) => {
            walk.error(format_args!("not a valid message: {invalid}"));
            None
        }
    };
    let (mut errors, ignored) = walk.into_parts();
    let config = match found {
        Some(config) if errors.is_empty() => Ok(config),
        _ => {
            if errors.is_empty() {
                errors.push(common::error("", "nothing could be made of it"));
            }
            Err(errors)
        }
    };
    DecodedFilter { config, ignored }
}

/// What a route says of the filter; the inner one is `None` when the filter is off there.
pub(super) fn route_filter(
    walk: &mut Walk,
    message: &pb_http::RbacPerRoute,
) -> Option<Option<RbacFilter>> {
    match &message.rbac {
        None => Some(None),
        Some(filter) => walk.at("rbac", |walk| http_filter(walk, filter)).map(Some),
    }
}

pub(super) fn http_filter(walk: &mut Walk, message: &pb_http::Rbac) -> Option<RbacFilter> {
    refused!(walk, message, { matcher: MATCHER, shadow_matcher: MATCHER });
    let mut filter = RbacFilter::default();
    filter.rules = optional(walk, "rules", message.rules.as_ref(), Layer::Http)?;
    filter.shadow_rules =
        optional(walk, "shadow_rules", message.shadow_rules.as_ref(), Layer::Http)?;
    filter.rules_stat_prefix = Arc::from(&*message.rules_stat_prefix);
    filter.shadow_rules_stat_prefix = Arc::from(&*message.shadow_rules_stat_prefix);
    filter.track_per_rule_stats = message.track_per_rule_stats;
    Some(filter)
}

pub(super) fn network_filter(walk: &mut Walk, message: &pb_network::Rbac) -> Option<RbacFilter> {
    refused!(walk, message, { matcher: MATCHER, shadow_matcher: MATCHER });
    ignored!(walk, message, {
        enforcement_type: "a connection is decided once: nothing that policies see changes in it",
        delay_deny: "a connection that is denied is closed at once",
    });
    if message.stat_prefix.is_empty() {
        walk.error_at("stat_prefix", "it is not empty (Envoy: min_len 1)");
    }
    let mut filter = RbacFilter::default();
    filter.rules = optional(walk, "rules", message.rules.as_ref(), Layer::Network)?;
    filter.shadow_rules =
        optional(walk, "shadow_rules", message.shadow_rules.as_ref(), Layer::Network)?;
    filter.rules_stat_prefix = Arc::from(&*message.stat_prefix);
    filter.shadow_rules_stat_prefix = Arc::from(&*message.shadow_rules_stat_prefix);
    Some(filter)
}

/// Rules, if there are any; `None` after an error.
fn optional(
    walk: &mut Walk,
    field: &str,
    message: Option<&pb::Rbac>,
    layer: Layer,
) -> Option<Option<Arc<Rbac>>> {
    let Some(message) = message else { return Some(None) };
    walk.at(field, |walk| rules(walk, message, layer)).map(|rules| Some(Arc::new(rules)))
}

fn rules(walk: &mut Walk, message: &pb::Rbac, layer: Layer) -> Option<Rbac> {
    let mut rules = Rbac::default();
    let action = common::enumeration::<PbAction>(walk, "action", message.action);
    // Sorted, so that the same message gives the same report.
    let messages: BTreeMap<_, _> = message.policies.iter().collect();
    let mut complete = true;
    for (name, message) in messages {
        let found = walk.at(format_args!("policies[{name}]"), |walk| policy(walk, message, layer));
        complete &= found.is_some();
        rules.policies.extend(found.map(|policy| (Arc::from(&**name), policy)));
    }
    if let Some(options) = &message.audit_logging_options {
        complete &=
            walk.at("audit_logging_options", |walk| audit(walk, options, &mut rules)).is_some();
    }
    rules.action = match action? {
        PbAction::Allow => RbacAction::Allow,
        PbAction::Deny => RbacAction::Deny,
        PbAction::Log => RbacAction::Log,
    };
    complete.then_some(rules)
}

/// gRFC A59: who is told of which decisions.
fn audit(walk: &mut Walk, message: &AuditLoggingOptions, rules: &mut Rbac) -> Option<()> {
    let condition =
        common::enumeration::<PbCondition>(walk, "audit_condition", message.audit_condition);
    let before = walk.errors();
    for (at, config) in message.logger_configs.iter().enumerate() {
        let found = walk.at(format_args!("logger_configs[{at}]"), |walk| logger(walk, config));
        rules.audit_loggers.extend(found);
    }
    rules.audit = match condition? {
        PbCondition::None => AuditCondition::None,
        PbCondition::OnDeny => AuditCondition::OnDeny,
        PbCondition::OnAllow => AuditCondition::OnAllow,
        PbCondition::OnDenyAndAllow => AuditCondition::OnDenyAndAllow,
    };
    (walk.errors() == before).then_some(())
}

fn logger(walk: &mut Walk, message: &AuditLoggerConfig) -> Option<AuditLogger> {
    let any = message.audit_logger.as_ref().and_then(|logger| logger.typed_config.as_ref());
    let url = any.map(|any| type_name(&any.type_url));
    if url == Some(STDOUT) {
        return Some(AuditLogger::Stdout);
    }
    match message.is_optional {
        true => walk.ignored(true, "is_optional", "its type is not known here, and it is optional"),
        false => walk.error_at(
            "audit_logger",
            format_args!(
                "the logger type `{}` is not known here: use `{STDOUT}`, or set `is_optional` (gRFC \
                 A59)",
                url.unwrap_or_default()
            ),
        ),
    }
    None
}

fn policy(walk: &mut Walk, message: &pb::Policy, layer: Layer) -> Option<Policy> {
    let before = walk.errors();
    let condition = cel::condition(walk, message, layer);
    let level = condition::Level::new(layer);
    let permissions = level.list(walk, "permissions", &message.permissions, condition::permission);
    let principals = level.list(walk, "principals", &message.principals, condition::principal);
    let policy =
        Policy { permissions: permissions?, principals: principals?, condition: condition? };
    (walk.errors() == before).then_some(policy)
}
