//! `FilterChain`: which connections, how they are secured, and what is done with them.

use super::network::{self, End};
use super::{Reader, chain_match, tls};
use crate::decode::common::{self, Walk};
use crate::decode::words;
use crate::{RouteSource, XdsChainRoutes};
use envoy_types::pb::envoy::config::listener::v3 as pb;
use mesh_core::WallTime;
use mesh_core::model::FilterChain;
use std::sync::Arc;
use std::time::Duration;

/// A chain without its routes, and where these are. `None`: it can't be.
#[expect(deprecated, reason = "control planes still set `use_proxy_proto`")]
pub(super) fn decode(
    walk: &mut Walk,
    message: &pb::FilterChain,
    name: Arc<str>,
    reader: Reader<'_>,
) -> Option<(FilterChain, XdsChainRoutes)> {
    if message.use_proxy_proto.is_some_and(|used| used.value) {
        walk.error_at("use_proxy_proto", "the proxy protocol is not read: leave it out");
    }
    let mut chain = FilterChain::new(name, None);
    let matcher = match &message.filter_chain_match {
        Some(message) => walk.at("filter_chain_match", |walk| chain_match::decode(walk, message)),
        None => Some(Default::default()),
    };
    chain.tls = walk.at("transport_socket", |walk| {
        tls::socket(walk, message.transport_socket.as_ref(), reader.context)
    });
    let timeout = common::duration(
        walk,
        "transport_socket_connect_timeout",
        message.transport_socket_connect_timeout.as_ref(),
    );
    // Envoy: no timeout. A socket without an end is one that anybody can hold.
    if let Some(timeout) = timeout.filter(|timeout| *timeout > Duration::ZERO) {
        chain.handshake_timeout = timeout;
    }
    let found = network::filters(walk, &message.filters, reader)?;
    chain.network_rbac = found.rbac;
    let routes = match found.end {
        End::Http(manager) => {
            chain.http = Some(Arc::new(manager.http));
            let mut routes = XdsChainRoutes::new(manager.routes);
            routes.max_stream_duration = manager.max_stream_duration;
            routes
        }
        End::Bytes(bytes) => {
            let mut routes = XdsChainRoutes::new(RouteSource::Inline(Arc::new(bytes.routes)));
            routes.idle_timeout = bytes.idle_timeout;
            routes
        }
    };
    chain.matcher = matcher?;
    words(walk, message, &mut chain);
    Some((chain, routes))
}

/// Our own words, for which Envoy has no field.
fn words(walk: &mut Walk, message: &pb::FilterChain, chain: &mut FilterChain) {
    words::read(walk, message.metadata.as_ref(), |walk, words| {
        if let Some(until) = words.time(walk, "until", Duration::ZERO) {
            chain.until = Some(WallTime::from_unix_seconds(until.as_secs()));
        }
        chain.detect = words.time(walk, "detect", Duration::from_millis(1));
        let Some(text) = words.text(walk, "max_body_bytes") else { return };
        match (text.parse(), &mut chain.http) {
            (Ok(most), Some(http)) => Arc::make_mut(http).limits.max_body_bytes = Some(most),
            _ => walk.error_at("max_body_bytes", "it is no number of bytes"),
        }
    });
}
