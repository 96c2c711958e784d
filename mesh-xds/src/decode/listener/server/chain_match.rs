//! `FilterChainMatch`: which connections a chain is for.

use crate::decode::address::shorten;
use crate::decode::common::{self, Walk, ignored};
use crate::decode::rbac::cidr;
use envoy_types::pb::envoy::config::core::v3::CidrRange;
use envoy_types::pb::envoy::config::listener::v3 as pb;
use mesh_core::model::Cidr;
use mesh_core::model::filter_chain::{FilterChainMatch, SourceType, TransportProtocol};
use pb::filter_chain_match::ConnectionSourceType;
use std::sync::Arc;

/// Which connections; `None`: something is wrong.
pub(super) fn decode(walk: &mut Walk, message: &pb::FilterChainMatch) -> Option<FilterChainMatch> {
    ignored!(walk, message, {
        address_suffix: "it has no effect in Envoy either",
        suffix_len: "it has no effect in Envoy either",
    });
    let errors = walk.errors();
    let mut found = FilterChainMatch::default();
    found.destination_port =
        common::uint32(walk, "destination_port", message.destination_port.as_ref(), 1..=65_535)
            .and_then(|port| u16::try_from(port).ok());
    found.prefix_ranges = blocks(walk, "prefix_ranges", &message.prefix_ranges);
    found.direct_source_prefix_ranges =
        blocks(walk, "direct_source_prefix_ranges", &message.direct_source_prefix_ranges);
    found.source_prefix_ranges =
        blocks(walk, "source_prefix_ranges", &message.source_prefix_ranges);
    found.source_ports = ports(walk, &message.source_ports);
    found.source_type =
        match common::enumeration::<ConnectionSourceType>(walk, "source_type", message.source_type)
        {
            Some(ConnectionSourceType::SameIpOrLoopback) => SourceType::SameIpOrLoopback,
            Some(ConnectionSourceType::External) => SourceType::External,
            Some(ConnectionSourceType::Any) | None => SourceType::Any,
        };
    found.server_names = server_names(walk, &message.server_names);
    let protocols = message.application_protocols.iter();
    found.application_protocols = protocols.map(|name| name.as_str().into()).collect();
    found.transport_protocol = match message.transport_protocol.as_str() {
        "" => None,
        "raw_buffer" => Some(TransportProtocol::RawBuffer),
        "tls" => Some(TransportProtocol::Tls),
        _ => {
            // Envoy: what no listener filter detects is never there. gRFC A36: the chain never matches. What its
            // other fields have narrowed stays so.
            walk.ignored(
                true,
                "transport_protocol",
                "only `raw_buffer` and `tls` are detected: the chain is for no connection",
            );
            Some(TransportProtocol::Undetected)
        }
    };
    (walk.errors() == errors).then_some(found)
}

fn blocks(walk: &mut Walk, field: &str, messages: &[CidrRange]) -> Vec<Cidr> {
    let blocks = messages.iter().enumerate().filter_map(|(at, block)| {
        let field = format!("{field}[{at}]");
        cidr(walk, &field, &block.address_prefix, block.prefix_len.as_ref())
    });
    blocks.collect()
}

fn ports(walk: &mut Walk, messages: &[u32]) -> Vec<u16> {
    let ports = messages.iter().enumerate().filter_map(|(at, port)| {
        let found = u16::try_from(*port).ok().filter(|port| *port > 0);
        if found.is_none() {
            let field = format!("source_ports[{at}]");
            walk.error_at(field, format_args!("{port} is no port from 1 to 65535"));
        }
        found
    });
    ports.collect()
}

/// Envoy: a name, or `*.` and a name; `*` alone and partial wildcards are refused.
fn server_names(walk: &mut Walk, messages: &[String]) -> Vec<Arc<str>> {
    let names = messages.iter().enumerate().filter_map(|(at, name)| {
        let rest = name.strip_prefix("*.").unwrap_or(name);
        if rest.is_empty() || rest.contains('*') {
            let instead = match name.as_str() {
                "*" => "leave server_names out where any will do",
                _ => "a wildcard is `*.` and a name",
            };
            walk.error_at(
                format_args!("server_names[{at}]"),
                format_args!(
                    "`{}` is no server name: {instead} (Envoy)",
                    shorten(name).escape_debug()
                ),
            );
            return None;
        }
        Some(Arc::from(name.to_ascii_lowercase()))
    });
    names.collect()
}
