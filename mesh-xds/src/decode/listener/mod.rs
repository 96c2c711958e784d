//! `envoy.config.listener.v3.Listener` → [`XdsListener`].
//!
//! An *API listener* holds its connection manager, and calls are made through it (gRFC A27). A *socket
//! listener*, which a sidecar gets, holds them in filter chains: that of the first chain counts when all
//! agree on what they say. One that leads to different routes by address, or takes calls *in*, is none
//! for clients: it is kept without HTTP, and said so, for a control plane that sends all listeners must
//! not be refused for those that nobody asks for.
//!
//! What it does not do: sockets, TLS and filter chains of servers (gRFC A36).

mod filter;
mod hcm;
pub(super) mod http_filter;

use super::common::{self, Walk, ignored, refused};
use super::{Context, Decoded};
use crate::{HttpConnectionManager, Resource, XdsListener};
use envoy_types::pb::envoy::config::core::v3::{
    Address, TrafficDirection, address::Address as AddressSpec, socket_address::PortSpecifier,
};
use envoy_types::pb::envoy::config::listener::v3 as pb;
use envoy_types::pb::google::protobuf::Any;
use prost::Message;
use std::sync::Arc;

const MANAGER: &str =
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";

/// Decodes a listener.
pub(super) fn decode(body: &[u8], context: &Context) -> Decoded {
    let message = match common::parse::<pb::Listener>(body) {
        Ok(message) => message,
        Err(broken) => return broken,
    };
    let mut walk = Walk::default();
    if message.name.is_empty() {
        walk.error_at("name", "a listener has a name, by which it is asked for");
    }
    let mut listener = XdsListener::new(&*message.name);
    without_effect(&mut walk, &message);
    let default_name = &listener.name.clone();
    listener.is_api = message.api_listener.is_some();
    listener.port = message.address.as_ref().and_then(port).filter(|_| !listener.is_api);
    listener.http = match &message.api_listener {
        Some(api) => walk.at("api_listener", |walk| api_listener(walk, api, default_name, context)),
        None => socket_listener(&mut walk, &message, default_name, context),
    };
    if listener.is_api {
        let chains = !message.filter_chains.is_empty() || message.default_filter_chain.is_some();
        walk.ignored(chains, "filter_chains", "calls are made through `api_listener`");
        walk.ignored(message.address.is_some(), "address", "calls are made through `api_listener`");
    }
    let name = Some(listener.name.clone()).filter(|name| !name.is_empty());
    walk.finish(name, Some(Resource::Listener(Arc::new(listener))))
}

#[expect(deprecated, reason = "control planes still send the old fields: they are reported")]
fn without_effect(walk: &mut Walk, message: &pb::Listener) {
    const SOCKET: &str = "sockets are the process's own setting";
    const CHAIN: &str = "connections are not told apart here";
    refused!(walk, message, {
        fcds_config: "filter chains are not asked for apart: list them in `filter_chains`",
    });
    ignored!(walk, message, {
        additional_addresses: SOCKET,
        stat_prefix: "metrics are named after the listener",
        stats_matcher: "metrics are not filtered here",
        filter_chain_matcher: CHAIN,
        use_original_dst: CHAIN,
        per_connection_buffer_limit_bytes: SOCKET,
        per_connection_buffer_high_watermark_timeout: SOCKET,
        metadata: "",
        deprecated_v1: SOCKET,
        drain_type: SOCKET,
        listener_filters: CHAIN,
        listener_filters_timeout: CHAIN,
        continue_on_listener_filters_timeout: CHAIN,
        transparent: SOCKET,
        freebind: SOCKET,
        socket_options: SOCKET,
        tcp_fast_open_queue_length: SOCKET,
        udp_listener_config: SOCKET,
        connection_balance_config: SOCKET,
        reuse_port: SOCKET,
        enable_reuse_port: SOCKET,
        access_log: "logs are the client's setting",
        tcp_backlog_size: SOCKET,
        max_connections_to_accept_per_socket_event: SOCKET,
        bind_to_port: SOCKET,
        enable_mptcp: SOCKET,
        ignore_global_conn_limit: SOCKET,
        bypass_overload_manager: SOCKET,
        tcp_keepalive: SOCKET,
        listener_specifier: SOCKET,
    });
}

/// The port of a socket address.
fn port(address: &Address) -> Option<u16> {
    let Some(AddressSpec::SocketAddress(socket)) = &address.address else { return None };
    match socket.port_specifier {
        Some(PortSpecifier::PortValue(port)) => u16::try_from(port).ok(),
        Some(PortSpecifier::NamedPort(_)) | None => None,
    }
}

fn api_listener(
    walk: &mut Walk,
    message: &pb::ApiListener,
    name: &Arc<str>,
    context: &Context,
) -> Option<HttpConnectionManager> {
    walk.at("api_listener", |walk| {
        let Some(any) = &message.api_listener else {
            walk.error("an API listener holds an HttpConnectionManager");
            return None;
        };
        if common::type_name(&any.type_url) != MANAGER {
            // gRFC A27.
            walk.error(format_args!(
                "`{}` is no HttpConnectionManager, which an API listener holds",
                any.type_url
            ));
            return None;
        }
        manager(walk, any, name, context)
    })
}

fn manager(
    walk: &mut Walk,
    any: &Any,
    name: &Arc<str>,
    context: &Context,
) -> Option<HttpConnectionManager> {
    match Message::decode(&*any.value) {
        Ok(message) => hcm::decode(walk, &message, name, context),
        Err(invalid) => {
            walk.error(format_args!("not a valid HttpConnectionManager: {invalid}"));
            None
        }
    }
}

fn socket_listener(
    walk: &mut Walk,
    message: &pb::Listener,
    name: &Arc<str>,
    context: &Context,
) -> Option<HttpConnectionManager> {
    let chains =
        message.filter_chains.iter().map(Some).chain([message.default_filter_chain.as_ref()]);
    let empty = message.filter_chains.is_empty() && message.default_filter_chain.is_none();
    if empty && message.address.is_none() && message.listener_specifier.is_none() {
        walk.error("a listener has an `api_listener`, or an `address` and filter chains");
        return None;
    }
    if message.traffic_direction == TrafficDirection::Inbound as i32 {
        walk.ignored(!empty, "filter_chains", "an inbound listener is for a server");
        return None;
    }
    let mut found: Vec<HttpConnectionManager> = Vec::new();
    for (at, chain) in chains.enumerate() {
        let Some(chain) = chain else { continue };
        let field = match message.filter_chains.len() {
            count if at < count => format!("filter_chains[{at}]"),
            _ => "default_filter_chain".to_owned(),
        };
        found.extend(walk.at(field, |walk| filter_chain(walk, chain, name, context)));
    }
    let first = found.pop()?;
    if found.iter().any(|other| !same_for_clients(other, &first)) {
        walk.ignored(
            true,
            "filter_chains",
            "they lead to different routes by address: calls can't be made through this listener",
        );
        return None;
    }
    Some(first)
}

/// Whether calls through two managers go the same way: what only a server does is not compared.
fn same_for_clients(a: &HttpConnectionManager, b: &HttpConnectionManager) -> bool {
    let filters = |manager: &HttpConnectionManager| -> Vec<_> {
        let filters = manager.http_filters.iter();
        filters.map(|filter| (filter.name.clone(), filter.type_url.clone())).collect()
    };
    let rest = |m: &HttpConnectionManager| (m.max_stream_duration, filters(m));
    a.routes == b.routes && rest(a) == rest(b)
}

/// The connection manager of a chain that has one.
fn filter_chain(
    walk: &mut Walk,
    message: &pb::FilterChain,
    name: &Arc<str>,
    context: &Context,
) -> Option<HttpConnectionManager> {
    use pb::filter::ConfigType;
    let managers =
        message.filters.iter().enumerate().find_map(|(at, filter)| match &filter.config_type {
            Some(ConfigType::TypedConfig(any)) if common::type_name(&any.type_url) == MANAGER => {
                Some((at, any))
            }
            _ => None,
        });
    let (at, any) = managers?;
    walk.at(format_args!("filters[{at}].typed_config"), |walk| manager(walk, any, name, context))
}

#[cfg(test)]
mod tests;
