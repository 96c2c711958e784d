//! `transport_socket`, `transport_socket_matches`: how connections are secured.
//!
//! TLS or nothing: any other socket is refused, as leaving it out would be plaintext. By
//! `transport_socket_matches` each endpoint can have its own way, as its metadata says; all that it could
//! choose is checked. Names that are resolved have one way, so of a DNS cluster they must come to the same.

use super::tls;
use crate::decode::Context;
use crate::decode::address::shorten;
use crate::decode::common::{self, Walk};
use crate::tls_labels;
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::core::v3::TransportSocket;
use envoy_types::pb::envoy::config::core::v3::transport_socket::ConfigType;
use envoy_types::pb::envoy::extensions::transport_sockets::http_11_proxy::v3::Http11ProxyUpstreamTransport;
use envoy_types::pb::envoy::extensions::transport_sockets::raw_buffer::v3::RawBuffer;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::UpstreamTlsContext;
use mesh_core::model::{self, Discovery, Protocol, TlsMatch, TlsPolicy};
use std::sync::Arc;

/// How the cluster's connections are secured, into `model`.
pub(super) fn decode(
    walk: &mut Walk,
    message: &Cluster,
    context: &Context,
    model: &mut model::Cluster,
) {
    if message.transport_socket_matcher.is_some() {
        walk.error_at(
            "transport_socket_matcher",
            "it is not supported, and without it connections would be secured in another way; use `transport_socket_matches`",
        );
    }
    let own = walk
        .at("transport_socket", |walk| socket(walk, message.transport_socket.as_ref(), context));
    model.tls = own.unwrap_or_default();
    for (index, choice) in message.transport_socket_matches.iter().enumerate() {
        walk.at(format_args!("transport_socket_matches[{index}]"), |walk| {
            let found = walk.at("transport_socket", |walk| {
                socket(walk, choice.transport_socket.as_ref(), context)
            });
            model.tls_matches.extend(found.map(|tls| {
                let labels = tls_labels::of_match(choice.r#match.as_ref());
                TlsMatch::new(choice.name.as_str(), labels, tls)
            }));
        });
    }
    // Envoy: the first match counts, and an empty one matches every endpoint: what follows it is
    // never chosen, nor is the cluster's own socket.
    if let Some(last) = model.tls_matches.iter().position(|one| one.labels.0.is_empty()) {
        model.tls_matches.truncate(last + 1);
        model.tls = model.tls_matches[last].tls.clone();
    }
    if model.tls_matches.iter().all(|one| one.tls == model.tls) {
        model.tls_matches.clear();
    }
    match &model.discovery {
        Discovery::StrictDns(_) | Discovery::LogicalDns(_) => of_names(walk, message, model),
        // Each child of an aggregate has its own.
        Discovery::Aggregate(_) => model.tls_matches.clear(),
        _ => {}
    }
}

/// The one way of all names of a DNS cluster.
fn of_names(walk: &mut Walk, message: &Cluster, model: &mut model::Cluster) {
    if model.tls_matches.is_empty() {
        return;
    }
    let places = message.load_assignment.iter().flat_map(|assignment| &assignment.endpoints);
    let ways = places.flat_map(|place| {
        let of_place = tls_labels::said(place.metadata.as_ref());
        let model = &*model;
        place.lb_endpoints.iter().map(move |name| {
            let of_name = tls_labels::said(name.metadata.as_ref());
            let at = model.tls_match_at(of_place.as_ref(), of_name.as_ref());
            at.and_then(|at| model.tls_matches.get(at)).map_or(&model.tls, |one| &one.tls)
        })
    });
    let mut ways: Vec<&TlsPolicy> = ways.collect();
    ways.dedup();
    if ways.len() > 1 {
        walk.error_at(
            "transport_socket_matches",
            "it secures the names of a DNS cluster in different ways, which is not supported; make a cluster of each way",
        );
    }
    if let Some(way) = ways.first() {
        model.tls = (*way).clone();
    }
    model.tls_matches.clear();
}

/// One protocol is offered where the cluster speaks no other: to say so says nothing.
pub(super) fn leave_out_what_follows(model: &mut model::Cluster) {
    let follows = match model.protocol {
        Protocol::Http1 => "http/1.1",
        Protocol::Http2 => "h2",
        Protocol::Auto | Protocol::Tcp => return,
    };
    let of_matches = model.tls_matches.iter_mut().map(|one| &mut one.tls);
    for tls in of_matches.chain([&mut model.tls]) {
        if let TlsPolicy::On(tls) = tls
            && matches!(&tls.alpn[..], [one] if **one == *follows)
        {
            Arc::make_mut(tls).alpn.clear();
        }
    }
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
