//! `transport_socket`, `transport_socket_matches`: how connections are secured.
//!
//! TLS or nothing: any other socket is refused, as leaving it out would be plaintext. A cluster has one
//! security here; `transport_socket_matches`, by which each endpoint can have its own, is taken when all
//! that it could choose is the same, and refused otherwise.

use super::tls;
use crate::decode::Context;
use crate::decode::address::shorten;
use crate::decode::common::{self, Walk};
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::TransportSocketMatch;
use envoy_types::pb::envoy::config::core::v3::TransportSocket;
use envoy_types::pb::envoy::config::core::v3::transport_socket::ConfigType;
use envoy_types::pb::envoy::extensions::transport_sockets::http_11_proxy::v3::Http11ProxyUpstreamTransport;
use envoy_types::pb::envoy::extensions::transport_sockets::raw_buffer::v3::RawBuffer;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::UpstreamTlsContext;
use mesh_core::model::{Protocol, TlsPolicy};
use std::sync::Arc;

/// How the cluster's connections are secured.
pub(super) fn decode(walk: &mut Walk, message: &Cluster, context: &Context) -> TlsPolicy {
    if message.transport_socket_matcher.is_some() {
        walk.error_at(
            "transport_socket_matcher",
            "it is not supported, and without it connections would be secured in another way; use `transport_socket`",
        );
    }
    let own = walk
        .at("transport_socket", |walk| socket(walk, message.transport_socket.as_ref(), context));
    let mut own = own.unwrap_or_default();
    let mut choices = Vec::with_capacity(message.transport_socket_matches.len() + 1);
    for (index, choice) in message.transport_socket_matches.iter().enumerate() {
        walk.at(format_args!("transport_socket_matches[{index}]"), |walk| {
            let found = walk.at("transport_socket", |walk| {
                socket(walk, choice.transport_socket.as_ref(), context)
            });
            choices.extend(found);
        });
    }
    // Envoy: the first match counts, and an empty one matches every endpoint: what follows it is
    // never chosen, nor is the cluster's own socket.
    match message.transport_socket_matches.iter().position(matches_all) {
        Some(last) => {
            choices.truncate(last + 1);
            own = choices.last().cloned().unwrap_or(own);
        }
        None => choices.push(own.clone()),
    }
    if choices.iter().any(|choice| *choice != own) {
        walk.error_at(
            "transport_socket_matches",
            "it secures the endpoints of one cluster in different ways, which is not supported; make a cluster of each way",
        );
    }
    own
}

/// One protocol is offered where the cluster speaks no other: to say so says nothing.
pub(super) fn leave_out_what_follows(model: &mut mesh_core::model::Cluster) {
    let follows = match model.protocol {
        Protocol::Http1 => "http/1.1",
        Protocol::Http2 => "h2",
        Protocol::Auto | Protocol::Tcp => return,
    };
    let TlsPolicy::On(tls) = &mut model.tls else { return };
    if matches!(&tls.alpn[..], [one] if **one == *follows) {
        Arc::make_mut(tls).alpn.clear();
    }
}

fn matches_all(choice: &TransportSocketMatch) -> bool {
    choice.r#match.as_ref().is_none_or(|wanted| wanted.fields.is_empty())
}

/// What a socket comes to; nothing when there is an error.
fn socket(
    walk: &mut Walk,
    message: Option<&TransportSocket>,
    context: &Context,
) -> Option<TlsPolicy> {
    // Envoy: no socket is `raw_buffer`; gRFC A29: no security, then the channel's own credentials.
    let Some(message) = message else { return Some(TlsPolicy::Off) };
    let Some(ConfigType::TypedConfig(config)) = &message.config_type else {
        if message.name == "envoy.transport_sockets.raw_buffer" {
            return Some(TlsPolicy::Off);
        }
        let name = shorten(&message.name);
        walk.error_at("typed_config", format_args!("`{name}` has no configuration (gRFC A29)"));
        return None;
    };
    walk.at("typed_config", |walk| {
        if common::holds::<RawBuffer>(config) {
            return Some(TlsPolicy::Off);
        }
        if common::holds::<UpstreamTlsContext>(config) {
            let config = common::unpack::<UpstreamTlsContext>(walk, config)?;
            return tls::decode(walk, &config, context).map(|tls| TlsPolicy::On(Arc::new(tls)));
        }
        if common::holds::<Http11ProxyUpstreamTransport>(config) {
            walk.error("HTTP CONNECT through a proxy (gRFC A86) is not supported; connect directly");
            return None;
        }
        walk.error(format_args!(
            "`{}` is not supported, and without it connections would not be secured as they should; use UpstreamTlsContext or RawBuffer",
            shorten(common::type_name(&config.type_url))
        ));
        None
    })
}
