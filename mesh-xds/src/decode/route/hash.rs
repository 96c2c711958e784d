//! `HashPolicy`: what a request is hashed by (gRFC A42).
//!
//! Envoy refuses what it does not know, gRPC passes over it; here it is passed over and reported: the
//! other inputs still keep a caller with its endpoint. The same holds for filter state other than
//! `io.grpc.channel_id` and our own `mesh.peer_identity`.

use super::header::header_name;
use super::matcher;
use crate::decode::common::{self, Walk, ignored};
use crate::decode::words::Words;
use envoy_types::pb::envoy::config::route::v3::route_action::HashPolicy as PbHashPolicy;
use envoy_types::pb::envoy::config::route::v3::route_action::hash_policy as pb;
use mesh_core::model::{HashPolicy, HashSource};
use pb::PolicySpecifier;
use std::sync::Arc;
use std::time::Duration;

/// gRFC A42: "the channel's own hash".
const CHANNEL_ID: &str = "io.grpc.channel_id";
/// Ours, as `encode` writes it: others find no such filter state and hash nothing by it.
const PEER_IDENTITY: &str = "mesh.peer_identity";

/// Decodes the inputs in their order.
pub(in crate::decode) fn policies(walk: &mut Walk, messages: &[PbHashPolicy]) -> Vec<HashPolicy> {
    let mut found = Vec::with_capacity(messages.len());
    for (at, message) in messages.iter().enumerate() {
        let source = walk.at(format_args!("hash_policy[{at}]"), |walk| source(walk, message));
        found.extend(source.map(|source| {
            let mut policy = HashPolicy::new(source);
            policy.terminal = message.terminal;
            policy
        }));
    }
    found
}

fn source(walk: &mut Walk, message: &PbHashPolicy) -> Option<HashSource> {
    match &message.policy_specifier {
        Some(PolicySpecifier::Header(header)) => walk.at("header", |walk| {
            let name = header_name(walk, "header_name", &header.header_name);
            let rewrite = match &header.regex_rewrite {
                None => None,
                Some(regex) => {
                    Some(walk.at("regex_rewrite", |walk| matcher::substitution(walk, regex))?)
                }
            };
            Some(HashSource::Header { name: name?, rewrite })
        }),
        Some(PolicySpecifier::Cookie(cookie)) => {
            walk.at("cookie", |walk| self::cookie(walk, cookie))
        }
        Some(PolicySpecifier::ConnectionProperties(properties)) => {
            if properties.source_ip {
                return Some(HashSource::SourceIp);
            }
            walk.ignored(true, "connection_properties", "without `source_ip` it hashes nothing");
            None
        }
        Some(PolicySpecifier::QueryParameter(parameter)) => {
            if parameter.name.is_empty() {
                walk.error_at("query_parameter.name", "a query parameter has a name");
                return None;
            }
            Some(HashSource::QueryParameter(Arc::from(&*parameter.name)))
        }
        Some(PolicySpecifier::FilterState(state)) => match &*state.key {
            CHANNEL_ID => Some(HashSource::ChannelId),
            PEER_IDENTITY => Some(HashSource::PeerIdentity),
            "" => {
                walk.error_at("filter_state.key", "filter state has a key");
                None
            }
            _ => {
                walk.ignored(
                    true,
                    "filter_state.key",
                    "it hashes nothing: `io.grpc.channel_id` is the only filter state here (gRFC A42)",
                );
                None
            }
        },
        None => {
            walk.ignored(true, "policy_specifier", "it hashes by nothing that is known here");
            None
        }
    }
}

fn cookie(walk: &mut Walk, message: &pb::Cookie) -> Option<HashSource> {
    ignored!(walk, message, {
        attributes: "a cookie made here has `Max-Age`, `Path` and `HttpOnly` only",
    });
    if message.name.is_empty() {
        walk.error_at("name", "a cookie has a name");
        return None;
    }
    let ttl = common::duration(walk, "ttl", message.ttl.as_ref());
    let path = (!message.path.is_empty()).then(|| Arc::from(&*message.path));
    Some(HashSource::Cookie { name: Arc::from(&*message.name), ttl, path })
}

/// The same in our own words: the list of `key`; `None`: it is not said.
pub(in crate::decode) fn from_words(
    walk: &mut Walk,
    words: &mut Words<'_>,
    key: &str,
) -> Option<Vec<HashPolicy>> {
    words.structs(walk, key, |walk, words| {
        let terminal = words.flag(walk, "terminal").unwrap_or_default();
        let before = walk.errors();
        let Some(source) = source_from_words(walk, words) else {
            if walk.errors() == before {
                walk.error(
                    "it names no input that is known here: write one of `header`, `cookie`, \
                     `query_parameter`, `source_ip`, `peer_identity`, `channel_id`",
                );
            }
            return None;
        };
        let mut policy = HashPolicy::new(source);
        policy.terminal = terminal;
        Some(policy)
    })
}

/// The input that is named first in this order; another beside it is left, and so reported.
fn source_from_words(walk: &mut Walk, words: &mut Words<'_>) -> Option<HashSource> {
    if let Some(name) = words.text(walk, "header") {
        let name = header_name(walk, "header", name);
        let rewrite = match words.text(walk, "regex") {
            None => None,
            Some(text) => {
                let pattern = matcher::pattern(walk, "regex", text);
                let text = words.text(walk, "substitution").unwrap_or_default();
                let pattern = pattern?;
                let text = matcher::replacement(walk, &pattern, text)?;
                Some((pattern, text))
            }
        };
        return Some(HashSource::Header { name: name?, rewrite });
    }
    if let Some(name) = named(walk, words, "cookie") {
        let ttl = words.time(walk, "ttl", Duration::ZERO);
        let path = words.text(walk, "path").map(Arc::from);
        return Some(HashSource::Cookie { name, ttl, path });
    }
    if let Some(name) = named(walk, words, "query_parameter") {
        return Some(HashSource::QueryParameter(name));
    }
    let plain = [
        ("source_ip", HashSource::SourceIp),
        ("peer_identity", HashSource::PeerIdentity),
        ("channel_id", HashSource::ChannelId),
    ];
    let mut plain = plain.into_iter();
    plain.find(|(key, _)| words.flag(walk, key) == Some(true)).map(|(_, source)| source)
}

fn named(walk: &mut Walk, words: &mut Words<'_>, key: &str) -> Option<Arc<str>> {
    let name = words.text(walk, key)?;
    if name.is_empty() {
        walk.error_at(key, "it is empty: write its name");
        return None;
    }
    Some(Arc::from(name))
}
