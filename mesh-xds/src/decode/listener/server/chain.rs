//! `FilterChain`: which connections, how they are secured, and what is done with them.

use super::{chain_match, network, tls};
use crate::decode::Context;
use crate::decode::common::{self, Walk};
use crate::decode::words;
use envoy_types::pb::envoy::config::listener::v3 as pb;
use mesh_core::WallTime;
use mesh_core::model::FilterChain;
use std::sync::Arc;
use std::time::Duration;

/// A chain and the route configuration that it names. `None`: it is for no connection, or can't be.
#[expect(deprecated, reason = "control planes still set `use_proxy_proto`")]
pub(super) fn decode(
    walk: &mut Walk,
    message: &pb::FilterChain,
    name: Arc<str>,
    listener: &Arc<str>,
    context: &Context,
) -> Option<(FilterChain, Option<Arc<str>>)> {
    if message.use_proxy_proto.is_some_and(|used| used.value) {
        walk.error_at("use_proxy_proto", "the proxy protocol is not read: leave it out");
    }
    let mut chain = FilterChain::new(name, None);
    let matcher = match &message.filter_chain_match {
        Some(message) => walk.at("filter_chain_match", |walk| chain_match::decode(walk, message)),
        None => Some(Default::default()),
    };
    chain.tls = walk.at("transport_socket", |walk| {
        tls::socket(walk, message.transport_socket.as_ref(), context)
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
    let found = network::filters(walk, &message.filters, listener, context)?;
    chain.network_rbac = found.rbac;
    chain.http = Some(Arc::new(found.http));
    chain.matcher = matcher?;
    words(walk, message, &mut chain);
    Some((chain, found.routes))
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
