//! Changes of the path and the authority before a request is sent.

use super::header::{self, header_name};
use super::matcher;
use crate::decode::Context;
use crate::decode::common::{IsSet, Walk};
use envoy_types::pb::envoy::config::route::v3 as pb;
use http::uri::{Authority, PathAndQuery};
use mesh_core::model::{HostRewrite, PathRewrite};
use pb::route_action::HostRewriteSpecifier as Host;
use std::sync::Arc;

/// The change of the path, of which there is one at most.
pub(super) fn path(walk: &mut Walk, message: &pb::RouteAction) -> Option<PathRewrite> {
    let set = [
        ("prefix_rewrite", message.prefix_rewrite.is_set()),
        ("regex_rewrite", message.regex_rewrite.is_set()),
        ("path_rewrite_policy", message.path_rewrite_policy.is_set()),
        ("path_rewrite", message.path_rewrite.is_set()),
    ];
    let mut set = set.into_iter().filter(|(_, set)| *set);
    if let (Some((first, _)), Some((second, _))) = (set.next(), set.next()) {
        // Envoy: "Only one of … may be specified".
        walk.error_at(second, format_args!("`{first}` changes the path already: keep one"));
        return None;
    }
    if let Some(policy) = &message.path_rewrite_policy {
        walk.error_at(
            "path_rewrite_policy",
            format_args!(
                "the path rewriter `{}` is not supported: use `prefix_rewrite` or `regex_rewrite`",
                policy.name
            ),
        );
    }
    if message.prefix_rewrite.is_set() {
        let text = path_text(walk, "prefix_rewrite", &message.prefix_rewrite, false)?;
        return Some(PathRewrite::Prefix(text));
    }
    if message.path_rewrite.is_set() {
        let text = header::constant(walk, "path_rewrite", &message.path_rewrite)?;
        return path_text(walk, "path_rewrite", &text, false).map(PathRewrite::Full);
    }
    let regex = message.regex_rewrite.as_ref()?;
    let (pattern, substitution) =
        walk.at("regex_rewrite", |walk| matcher::substitution(walk, regex))?;
    Some(PathRewrite::Regex { pattern, substitution })
}

/// A text that may stand in a path.
pub(super) fn path_text(
    walk: &mut Walk,
    field: &str,
    text: &str,
    fragment: bool,
) -> Option<Arc<str>> {
    if text.contains('#') && !fragment {
        walk.error_at(field, format_args!("`{text}`: a fragment is never sent: leave it out"));
        return None;
    }
    if PathAndQuery::try_from(format!("/{text}")).is_err() {
        walk.error_at(field, format_args!("`{text}` can't stand in a path"));
        return None;
    }
    Some(Arc::from(text))
}

/// A text that is an authority.
pub(super) fn authority(walk: &mut Walk, field: &str, text: &str) -> Option<Arc<str>> {
    if Authority::try_from(text).is_err() {
        walk.error_at(field, format_args!("`{text}` is no host, with or without a port"));
        return None;
    }
    Some(Arc::from(text))
}

/// The change of the authority.
pub(super) fn host(
    walk: &mut Walk,
    message: &pb::RouteAction,
    context: &Context,
) -> Option<HostRewrite> {
    match message.host_rewrite_specifier.as_ref()? {
        // Envoy: an empty text is no rewrite.
        Host::HostRewriteLiteral(text) if text.is_empty() => None,
        Host::HostRewriteLiteral(text) => {
            authority(walk, "host_rewrite_literal", text).map(HostRewrite::Literal)
        }
        Host::HostRewrite(text) => {
            let text = header::constant(walk, "host_rewrite", text)?;
            authority(walk, "host_rewrite", &text).map(HostRewrite::Literal)
        }
        Host::HostRewriteHeader(name) => {
            header_name(walk, "host_rewrite_header", name).map(HostRewrite::Header)
        }
        Host::HostRewritePathRegex(regex) => {
            let (pattern, substitution) =
                walk.at("host_rewrite_path_regex", |walk| matcher::substitution(walk, regex))?;
            Some(HostRewrite::PathRegex { pattern, substitution })
        }
        Host::AutoHostRewrite(auto) => {
            // gRFC A81: who chooses the authority chooses whom the peer is checked against.
            walk.ignored(
                auto.value && !context.trusted_server,
                "auto_host_rewrite",
                "it is honoured from a server with the feature `trusted_xds_server` only (gRFC A81)",
            );
            (auto.value && context.trusted_server).then_some(HostRewrite::Auto)
        }
    }
}
