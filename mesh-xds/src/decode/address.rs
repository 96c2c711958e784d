//! `envoy.config.core.v3.Address`: where something listens.
//!
//! An endpoint is an IP address with a TCP port (gRFC A27), or a Unix-domain socket (Envoy: `Pipe`); a
//! name stands only where names are resolved (gRFC A37). What would need an Envoy to connect to is
//! refused: custom resolvers, internal listeners, UDP, network namespaces.

use super::common::Walk;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::core::v3::address::Address as Kind;
use envoy_types::pb::envoy::config::core::v3::socket_address::{PortSpecifier, Protocol};
use mesh_core::model::Address;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

/// The longest path of a Unix socket, in bytes (Linux: `sun_path`, the ending zero apart).
const LONGEST_SOCKET_PATH: usize = 107;

/// The address of an endpoint.
pub(super) fn address(walk: &mut Walk, address: Option<&core::Address>) -> Option<Address> {
    walk.at("address", |walk| match address.and_then(|address| address.address.as_ref()) {
        Some(Kind::SocketAddress(socket)) => walk.at("socket_address", |walk| {
            let port = port(walk, socket);
            let ip = socket.address.parse::<IpAddr>().map_err(|_not_an_address| {
                walk.error_at(
                    "address",
                    format_args!(
                        "`{}` is no IP address (gRFC A27); names are for DNS clusters",
                        shorten(&socket.address)
                    ),
                );
            });
            Some(Address::Socket(SocketAddr::new(ip.ok()?, port?)))
        }),
        Some(Kind::Pipe(pipe)) => walk.at("pipe", |walk| unix(walk, &pipe.path)),
        Some(Kind::EnvoyInternalAddress(_)) => {
            walk.error_at("envoy_internal_address", "an internal listener exists only in an Envoy");
            None
        }
        None => {
            walk.error("there is none (gRFC A27: an IP address and a port)");
            None
        }
    })
}

/// The name of a DNS cluster's endpoint, with its port.
pub(super) fn name_and_port(
    walk: &mut Walk,
    address: Option<&core::Address>,
) -> Option<(Arc<str>, u16)> {
    walk.at("address", |walk| match address.and_then(|address| address.address.as_ref()) {
        Some(Kind::SocketAddress(socket)) => walk.at("socket_address", |walk| {
            let port = port(walk, socket);
            if !is_host(&socket.address) {
                let name = shorten(&socket.address);
                walk.error_at("address", format_args!("`{name}` is no host name"));
                return None;
            }
            Some((socket.address.as_str().into(), port?))
        }),
        // gRFC A37: "the endpoint's address must be a socket_address".
        _ => {
            walk.error("a DNS cluster needs a `socket_address`: a name and a port (gRFC A37)");
            None
        }
    })
}

/// The port, and whether the rest of the address is something to connect to.
fn port(walk: &mut Walk, socket: &core::SocketAddress) -> Option<u16> {
    if socket.protocol != Protocol::Tcp as i32 {
        walk.error_at("protocol", "only TCP is supported");
    }
    if !socket.resolver_name.is_empty() {
        walk.error_at(
            "resolver_name",
            "custom resolvers are not supported (gRFC A37); leave it out",
        );
    }
    if !socket.network_namespace_filepath.is_empty() {
        walk.error_at(
            "network_namespace_filepath",
            "connections are made in this process's own network namespace; leave it out",
        );
    }
    match &socket.port_specifier {
        Some(PortSpecifier::PortValue(port)) => {
            let found = u16::try_from(*port).ok().filter(|port| *port > 0);
            if found.is_none() {
                walk.error_at("port_value", format_args!("{port} is no port from 1 to 65535"));
            }
            found
        }
        Some(PortSpecifier::NamedPort(_)) => {
            walk.error_at("named_port", "named ports need a custom resolver; use `port_value`");
            None
        }
        None => {
            walk.error_at("port_value", "there is no port; it must be from 1 to 65535");
            None
        }
    }
}

fn unix(walk: &mut Walk, path: &str) -> Option<Address> {
    if !path.starts_with('/') {
        let path = shorten(path);
        walk.error_at(
            "path",
            format_args!(
                "`{path}` does not start with `/`: abstract and relative sockets are not supported"
            ),
        );
        return None;
    }
    if path.len() > LONGEST_SOCKET_PATH || path.contains('\0') {
        walk.error_at("path", "a Unix socket's path has at most 107 bytes, none of them zero");
        return None;
    }
    Some(Address::Unix(Path::new(path).into()))
}

/// A host name of letters, digits, `-`, `_` and dots (RFC 1123 with underscores), or an IP address.
pub(super) fn is_host(host: &str) -> bool {
    if host.parse::<IpAddr>().is_ok() {
        return true;
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    (1..=253).contains(&name.len())
        && name.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        })
}

/// At most 80 characters of a text that came from outside.
pub(super) fn shorten(text: &str) -> &str {
    text.char_indices().nth(80).map_or(text, |(end, _)| &text[..end])
}
