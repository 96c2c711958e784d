//! Hash policies, and the same in our own words where Envoy has no place for them.

use super::matcher::substitute;
use super::words::{Word, Words};
use super::wrap::duration;
use envoy_types::pb::envoy::config::route::v3::route_action::{
    HashPolicy as PbHashPolicy,
    hash_policy::{
        ConnectionProperties, Cookie, FilterState, Header, PolicySpecifier, QueryParameter,
    },
};
use mesh_core::model::{HashPolicy, HashSource};

/// gRFC A42: one value for the whole channel.
const CHANNEL_ID: &str = "io.grpc.channel_id";
/// Ours. Filter state that is not there gives no hash in Envoy, and gRPC leaves it out (gRFC A42).
const PEER_IDENTITY: &str = "mesh.peer_identity";

/// The `hash_policy` of a route or a cluster.
pub(super) fn policies(model: &[HashPolicy]) -> Vec<PbHashPolicy> {
    model
        .iter()
        .map(|policy| PbHashPolicy {
            terminal: policy.terminal,
            policy_specifier: Some(specifier(&policy.source)),
        })
        .collect()
}

fn specifier(source: &HashSource) -> PolicySpecifier {
    let filter_state =
        |key: &str| PolicySpecifier::FilterState(FilterState { key: key.to_owned() });
    match source {
        HashSource::Header { name, rewrite } => PolicySpecifier::Header(Header {
            header_name: name.to_string(),
            regex_rewrite: rewrite.as_ref().map(|(pattern, text)| substitute(pattern, text)),
        }),
        HashSource::Cookie { name, ttl, path } => PolicySpecifier::Cookie(Cookie {
            name: name.to_string(),
            ttl: ttl.and_then(duration),
            path: path.as_deref().unwrap_or_default().to_owned(),
            attributes: Vec::new(),
        }),
        HashSource::SourceIp => {
            PolicySpecifier::ConnectionProperties(ConnectionProperties { source_ip: true })
        }
        HashSource::QueryParameter(name) => {
            PolicySpecifier::QueryParameter(QueryParameter { name: name.to_string() })
        }
        HashSource::PeerIdentity => filter_state(PEER_IDENTITY),
        // `ChannelId`, and what may come: a source that Envoy does not know gives no hash.
        _ => filter_state(CHANNEL_ID),
    }
}

/// The same in our own words: a list of `{ header | cookie | query_parameter | source_ip |
/// peer_identity | channel_id, …, terminal }`.
pub(super) fn words(model: &[HashPolicy]) -> Word {
    Word::list(model.iter().map(|policy| {
        let mut words = Words::default();
        match &policy.source {
            HashSource::Header { name, rewrite } => {
                words.set("header", name.as_str());
                if let Some((pattern, substitution)) = rewrite {
                    words.set("regex", &*pattern.0);
                    words.set("substitution", &**substitution);
                }
            }
            HashSource::Cookie { name, ttl, path } => {
                words.set("cookie", &**name);
                if let Some(ttl) = ttl {
                    words.set("ttl", *ttl);
                }
                if let Some(path) = path {
                    words.set("path", &**path);
                }
            }
            HashSource::SourceIp => words.set("source_ip", true),
            HashSource::PeerIdentity => words.set("peer_identity", true),
            HashSource::QueryParameter(name) => words.set("query_parameter", &**name),
            _ => words.set("channel_id", true),
        }
        words.differs("terminal", policy.terminal, &false);
        words
    }))
}
