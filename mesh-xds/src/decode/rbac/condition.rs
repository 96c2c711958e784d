//! Permissions and principals.

use super::metadata::{self, cidr};
use super::{Layer, Walk, common, type_name};
use crate::decode::cluster::typed_name;
use crate::decode::route::matcher;
use envoy_types::pb::envoy::config::core::v3::TypedExtensionConfig;
use envoy_types::pb::envoy::config::rbac::v3::{
    Permission as PbPermission, Principal as PbPrincipal, permission::Rule, principal::Identifier,
};
use envoy_types::pb::envoy::config::route::v3::HeaderMatcher;
use envoy_types::pb::envoy::extensions::path::r#match::uri_template::v3::UriTemplateMatchConfig;
use envoy_types::pb::envoy::extensions::rbac::principals::mtls_authenticated::v3::Config as Mtls;
use envoy_types::pb::envoy::r#type::matcher::v3::{PathMatcher, path_matcher};
use envoy_types::pb::envoy::r#type::v3::Int32Range;
use mesh_core::model::StringMatcher;
use mesh_core::model::rbac::{Permission, Principal, RbacHeader, RbacHeaderName};
use mesh_core::rbac::{MAX_DEPTH, check_template};
use std::sync::Arc;

const UNKNOWN: &str = "there is no kind of condition that is known here";
const NO_HTTP: &str = "a connection has no headers and no path: use the HTTP filter";

/// How deep we are, and what there is to ask about.
#[derive(Clone, Copy)]
pub(super) struct Level {
    layer: Layer,
    depth: usize,
}

impl Level {
    pub(super) const fn new(layer: Layer) -> Self {
        Self { layer, depth: 0 }
    }

    /// One step down; `None`, with an error, below the bound.
    fn deeper(self, walk: &mut Walk) -> Option<Self> {
        let depth = self.depth + 1;
        if depth > MAX_DEPTH {
            walk.error(format_args!("conditions are nested deeper than {MAX_DEPTH}"));
            return None;
        }
        Some(Self { depth, ..self })
    }

    /// A list of conditions, of which there is at least one.
    pub(super) fn list<M, T>(
        self,
        walk: &mut Walk,
        field: &str,
        messages: &[M],
        decode: fn(&mut Walk, &M, Self) -> Option<T>,
    ) -> Option<Vec<T>> {
        if messages.is_empty() {
            walk.error_at(
                field,
                "it is empty; write `any: true` to mean anything (Envoy: min_items 1)",
            );
            return None;
        }
        let mut found = Vec::with_capacity(messages.len());
        for (at, message) in messages.iter().enumerate() {
            found.extend(walk.at(format_args!("{field}[{at}]"), |walk| {
                let level = self.deeper(walk)?;
                decode(walk, message, level)
            }));
        }
        (found.len() == messages.len()).then_some(found)
    }

    /// Whether there are headers and a path; an error when there are none.
    fn has_http(self, walk: &mut Walk, field: &str) -> bool {
        if self.layer == Layer::Network {
            walk.error_at(field, NO_HTTP);
        }
        self.layer == Layer::Http
    }
}

#[expect(deprecated, reason = "control planes still send the old kinds")]
pub(super) fn permission(
    walk: &mut Walk,
    message: &PbPermission,
    level: Level,
) -> Option<Permission> {
    let Some(rule) = &message.rule else {
        walk.error(UNKNOWN);
        return None;
    };
    Some(match rule {
        Rule::Any(any) => is_any(walk, *any).then_some(Permission::Any)?,
        Rule::AndRules(set) => Permission::And(
            walk.at("and_rules", |walk| level.list(walk, "rules", &set.rules, permission))?,
        ),
        Rule::OrRules(set) => Permission::Or(
            walk.at("or_rules", |walk| level.list(walk, "rules", &set.rules, permission))?,
        ),
        Rule::NotRule(rule) => Permission::Not(Box::new(walk.at("not_rule", |walk| {
            let level = level.deeper(walk)?;
            permission(walk, rule, level)
        })?)),
        Rule::Header(message) => Permission::Header(header(walk, message, level)?),
        Rule::UrlPath(message) => Permission::UrlPath(url_path(walk, message, level)?),
        Rule::DestinationIp(block) => Permission::DestinationIp(cidr(
            walk,
            "destination_ip",
            &block.address_prefix,
            block.prefix_len.as_ref(),
        )?),
        Rule::DestinationPort(port) => match u16::try_from(*port) {
            Ok(port) => Permission::DestinationPort(port),
            Err(_) => {
                walk.error_at("destination_port", format_args!("{port} is not within 0 to 65535"));
                return None;
            }
        },
        Rule::DestinationPortRange(range) => port_range(walk, *range)?,
        Rule::Metadata(message) => {
            Permission::Metadata(walk.at("metadata", |walk| metadata::matcher(walk, message))?)
        }
        Rule::SourcedMetadata(message) => Permission::Metadata(
            walk.at("sourced_metadata", |walk| metadata::sourced(walk, message))?,
        ),
        Rule::RequestedServerName(message) => Permission::RequestedServerName(
            walk.at("requested_server_name", |walk| matcher::string(walk, message))?,
        ),
        Rule::UriTemplate(config) => {
            Permission::UriTemplate(walk.at("uri_template", |walk| template(walk, config, level))?)
        }
        Rule::Matcher(config) => {
            walk.error_at(
                "matcher",
                format_args!("the matcher `{}` is not supported", config.name),
            );
            return None;
        }
    })
}

#[expect(deprecated, reason = "control planes still send the old kinds")]
pub(super) fn principal(walk: &mut Walk, message: &PbPrincipal, level: Level) -> Option<Principal> {
    let Some(identifier) = &message.identifier else {
        walk.error(UNKNOWN);
        return None;
    };
    Some(match identifier {
        Identifier::Any(any) => is_any(walk, *any).then_some(Principal::Any)?,
        Identifier::AndIds(set) => {
            Principal::And(walk.at("and_ids", |walk| level.list(walk, "ids", &set.ids, principal))?)
        }
        Identifier::OrIds(set) => {
            Principal::Or(walk.at("or_ids", |walk| level.list(walk, "ids", &set.ids, principal))?)
        }
        Identifier::NotId(id) => Principal::Not(Box::new(walk.at("not_id", |walk| {
            let level = level.deeper(walk)?;
            principal(walk, id, level)
        })?)),
        Identifier::Authenticated(message) => match &message.principal_name {
            None => Principal::Authenticated(None),
            Some(name) => Principal::Authenticated(Some(
                walk.at("authenticated.principal_name", |walk| matcher::string(walk, name))?,
            )),
        },
        Identifier::SourceIp(block) => Principal::SourceIp(cidr(
            walk,
            "source_ip",
            &block.address_prefix,
            block.prefix_len.as_ref(),
        )?),
        Identifier::DirectRemoteIp(block) => Principal::DirectRemoteIp(cidr(
            walk,
            "direct_remote_ip",
            &block.address_prefix,
            block.prefix_len.as_ref(),
        )?),
        Identifier::RemoteIp(block) => Principal::RemoteIp(cidr(
            walk,
            "remote_ip",
            &block.address_prefix,
            block.prefix_len.as_ref(),
        )?),
        Identifier::Header(message) => Principal::Header(header(walk, message, level)?),
        Identifier::UrlPath(message) => Principal::UrlPath(url_path(walk, message, level)?),
        Identifier::Metadata(message) => {
            Principal::Metadata(walk.at("metadata", |walk| metadata::matcher(walk, message))?)
        }
        Identifier::SourcedMetadata(message) => Principal::Metadata(
            walk.at("sourced_metadata", |walk| metadata::sourced(walk, message))?,
        ),
        Identifier::FilterState(message) => Principal::FilterState(
            walk.at("filter_state", |walk| metadata::filter_state(walk, message))?,
        ),
        Identifier::Custom(config) => walk.at("custom", |walk| custom(walk, config))?,
    })
}

fn is_any(walk: &mut Walk, any: bool) -> bool {
    if !any {
        walk.error_at("any", "it is true, or is left out (Envoy: const true)");
    }
    any
}

fn header(walk: &mut Walk, message: &HeaderMatcher, level: Level) -> Option<RbacHeader> {
    if !level.has_http(walk, "header") {
        return None;
    }
    walk.at("header", |walk| {
        let name = RbacHeaderName::parse(&message.name);
        let kind = matcher::header_kind(walk, message);
        let name = match name {
            Ok(name) => name,
            Err(refused) => {
                let name = message.name.escape_debug();
                walk.error_at("name", format_args!("`{name}` can't be asked for: {refused}"));
                return None;
            }
        };
        walk.ignored(
            name.is_hop_by_hop(),
            "name",
            "hop-by-hop headers count as missing in every request (gRFC A41)",
        );
        let mut header = RbacHeader::new(name, kind?);
        header.invert = message.invert_match;
        header.treat_missing_as_empty = message.treat_missing_header_as_empty;
        Some(header)
    })
}

fn url_path(walk: &mut Walk, message: &PathMatcher, level: Level) -> Option<StringMatcher> {
    if !level.has_http(walk, "url_path") {
        return None;
    }
    let Some(path_matcher::Rule::Path(path)) = &message.rule else {
        walk.error_at("url_path", "there is no kind of match that is known here: set `path`");
        return None;
    };
    walk.at("url_path.path", |walk| matcher::string(walk, path))
}

fn port_range(walk: &mut Walk, range: Int32Range) -> Option<Permission> {
    let port = |end: i32| u32::try_from(end).ok().filter(|end| *end <= 65_536);
    let ends = port(range.start).zip(port(range.end)).filter(|(start, end)| start < end);
    if ends.is_none() {
        walk.error_at(
            "destination_port_range",
            format_args!(
                "the range from {} to {} has no port: it is within 0 to 65536, and its end does not \
                 count",
                range.start, range.end
            ),
        );
    }
    ends.map(|(start, end)| Permission::DestinationPortRange(start..end))
}

fn template(walk: &mut Walk, config: &TypedExtensionConfig, level: Level) -> Option<Arc<str>> {
    let any = config.typed_config.as_ref();
    let Some(any) = any.filter(|any| common::holds::<UriTemplateMatchConfig>(any)) else {
        walk.error(format_args!("the path matcher `{}` is not supported", config.name));
        return None;
    };
    if level.layer == Layer::Network {
        walk.error(NO_HTTP);
        return None;
    }
    let message: UriTemplateMatchConfig =
        walk.at("typed_config", |walk| common::unpack(walk, any))?;
    let template = message.path_template;
    if let Err(error) = check_template(&template) {
        walk.error_at("typed_config.path_template", format_args!("`{template}`: {error}"));
        return None;
    }
    Some(Arc::from(template))
}

/// The one extension there is: `mtls_authenticated`.
fn custom(walk: &mut Walk, config: &TypedExtensionConfig) -> Option<Principal> {
    let any = config.typed_config.as_ref();
    let Some(any) = any.filter(|any| common::holds::<Mtls>(any)) else {
        let url = any.map(|any| type_name(&any.type_url)).unwrap_or_default();
        walk.error(format_args!(
            "the principal `{}` of type `{url}` is not supported",
            config.name
        ));
        return None;
    };
    let message: Mtls = walk.at("typed_config", |walk| common::unpack(walk, any))?;
    match &message.san_matcher {
        Some(matcher) => {
            let san = walk.at("typed_config.san_matcher", |walk| typed_name(walk, matcher))?;
            Some(Principal::MtlsAuthenticated(Some(san)))
        }
        None if message.any_validated_client_certificate => {
            Some(Principal::MtlsAuthenticated(None))
        }
        None => {
            walk.error_at(
                "typed_config",
                "set `san_matcher`, or `any_validated_client_certificate` (Envoy refuses neither)",
            );
            None
        }
    }
}
