//! `envoy.config.listener.v3.Listener` → [`XdsListener`].
//!
//! An *API listener* holds its connection manager, and calls are made through it (gRFC A27). A *socket
//! listener*, which a sidecar gets, holds them in filter chains: that of the first chain counts when all
//! agree on what they say. One that leads to different routes by address, or takes calls *in*, is none
//! for clients: it is kept without HTTP, and said so, for a control plane that sends all listeners must
//! not be refused for those that nobody asks for.
//!
//!
//! An inbound one is for a server ([`server`], gRFC A36). One that says no direction may be for either, and is for that
//! of both which can do what it says. Where somebody
//! opens ports ([`Context::ports`]), each socket listener is one as well, as in Envoy.

pub(super) mod filter;
mod hcm;
pub(super) mod http_filter;
mod server;

use super::common::{self, Walk, ignored, refused};
use super::{Context, Decoded, FieldError};
use crate::protocol::canonical;
use crate::{HttpConnectionManager, Resource, XdsListener, XdsPort, XdsServer};
use envoy_types::pb::envoy::config::core::v3::{
    Address, TrafficDirection, address::Address as AddressSpec, socket_address::PortSpecifier,
};
use envoy_types::pb::envoy::config::listener::v3 as pb;
use envoy_types::pb::google::protobuf::Any;
use prost::Message;
use std::collections::BTreeSet;
use std::sync::Arc;

const MANAGER: &str =
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";

const PORT_ONLY: &str =
    "for calls by name this can't be: the listener is a port of `mesh proxy` alone";
const SERVER_ONLY: &str = "for calls by name this can't be: the listener is a server's alone";

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
    let default_name = &listener.name.clone();
    listener.is_api = message.api_listener.is_some();
    listener.port = message.address.as_ref().and_then(port).filter(|_| !listener.is_api);
    let port = context.ports.then(|| server::decode_proxy(&message, context)).flatten();
    let mut of_clients = Walk::default();
    listener.http = match &message.api_listener {
        Some(api) => {
            of_clients.at("api_listener", |walk| api_listener(walk, api, default_name, context))
        }
        None => socket_listener(&mut of_clients, &message, default_name, context),
    };
    let server = may_serve(&message).then(|| server::decode(&message, context));
    let can = (matches!(port, Some((Ok(_), _))), matches!(server, Some((Ok(_), _))));
    clients(&mut walk, of_clients, &mut listener, can);
    let is_for_clients = listener.http.is_some() || !may_serve(&message);
    without_effect(&mut walk, &message, is_for_clients);
    listener.server = server.and_then(|read| for_server(&mut walk, read, &listener, context));
    listener.proxy = for_proxy(&mut walk, &listener, port);
    if listener.is_api {
        let chains = !message.filter_chains.is_empty() || message.default_filter_chain.is_some();
        walk.ignored(chains, "filter_chains", "calls are made through `api_listener`");
        walk.ignored(message.address.is_some(), "address", "calls are made through `api_listener`");
    }
    let name = Some(listener.name.clone()).filter(|name| !name.is_empty());
    walk.finish(name, Some(Resource::Listener(Arc::new(listener))))
}

/// What was found of it for clients; whether a port or a server `can` do by it what it says. What calls by name can't do
/// does not count then, for the listener is none for them.
fn clients(walk: &mut Walk, found: Walk, listener: &mut XdsListener, can: (bool, bool)) {
    let (errors, ignored) = found.into_parts();
    let why = match can {
        _ if errors.is_empty() => None,
        (true, _) => Some(PORT_ONLY),
        (false, true) => Some(SERVER_ONLY),
        (false, false) => None,
    };
    let Some(why) = why else { return walk.take_in(errors, ignored) };
    listener.http = None;
    errors.iter().for_each(|error| walk.ignored(true, &error.path, why));
    let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
    listener.not_for_calls = Some(errors.join("; ").into());
}

#[expect(deprecated, reason = "control planes still send the old fields: they are reported")]
fn without_effect(walk: &mut Walk, message: &pb::Listener, is_for_clients: bool) {
    const SOCKET: &str = "sockets are the process's own setting";
    const CHAIN: &str = "connections are not told apart here";
    refused!(walk, message, {
        fcds_config: "filter chains are not asked for apart: list them in `filter_chains`",
    });
    ignored!(walk, message, {
        additional_addresses: SOCKET,
        stat_prefix: "metrics are named after the listener",
        stats_matcher: "metrics are not filtered here",
        per_connection_buffer_limit_bytes: SOCKET,
        per_connection_buffer_high_watermark_timeout: SOCKET,
        deprecated_v1: SOCKET,
        drain_type: SOCKET,
        listener_filters_timeout: CHAIN,
        continue_on_listener_filters_timeout: CHAIN,
        transparent: SOCKET,
        freebind: SOCKET,
        socket_options: SOCKET,
        tcp_fast_open_queue_length: SOCKET,
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
    // A server has a meaning for them, or refuses them.
    if is_for_clients {
        ignored!(walk, message, {
            filter_chain_matcher: CHAIN,
            use_original_dst: CHAIN,
            listener_filters: CHAIN,
            udp_listener_config: SOCKET,
            metadata: "",
        });
    }
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

/// Whether a server may ask for it.
fn may_serve(message: &pb::Listener) -> bool {
    let is_outbound = message.traffic_direction == TrafficDirection::Outbound as i32;
    let is_socket = message.address.is_some() || !message.filter_chains.is_empty();
    message.api_listener.is_none() && is_socket && !is_outbound
}

/// What a server does by it, as it was read; `None`: it is refused.
///
/// A listener that a server asks for by name is refused for what is wrong with it (gRFC A36), and so is one that is
/// for a server alone, unless nobody asked for it by name. Of others a server that asks for one is told.
fn for_server(
    walk: &mut Walk,
    (found, ignored): server::Read<XdsServer>,
    listener: &XdsListener,
    context: &Context,
) -> Option<Result<Arc<XdsServer>, Vec<FieldError>>> {
    let is_for_clients = listener.http.is_some();
    if !is_for_clients {
        walk.take_in(Vec::new(), ignored);
    }
    let is_asked = context.servers.contains(&canonical(&listener.name));
    match found {
        Err(errors) if is_asked || !(is_for_clients || context.all_listeners) => {
            walk.take_in(errors, Vec::new());
            None
        }
        found => Some(found.map(Arc::new)),
    }
}

/// The port that it is. What its port has a use for is not reported as ignored.
fn for_proxy(
    walk: &mut Walk,
    listener: &XdsListener,
    port: Option<server::Read<XdsPort>>,
) -> Option<Result<Arc<XdsPort>, Vec<FieldError>>> {
    let (port, ignored) = port?;
    let server = listener.server.as_ref().and_then(|server| server.as_ref().ok());
    if server.is_some_and(|server| server.listener.forward.is_some()) {
        // Our own words have said already what is done with it.
        return None;
    }
    if port.is_ok() {
        let paths: BTreeSet<&str> = ignored.iter().map(|ignored| &*ignored.path).collect();
        walk.keep_ignored(|known| known.reason == PORT_ONLY || paths.contains(&*known.path));
        if listener.http.is_none() && server.is_none() {
            walk.add_ignored(ignored);
        }
    }
    Some(port.map(Arc::new))
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
