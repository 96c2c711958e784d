//! A socket listener → a port of a proxy, which passes on what comes to it (Envoy: `Listener`).
//!
//! All that a server does with connections and requests a port does too, in the same words; then its chains' own routes
//! say where it goes. Beyond that it passes bytes on (`TcpProxy`), and reads the PROXY protocol.
//!
//! What it does not do: ask whether routes and clusters exist.

use super::super::without_effect;
use super::{Read, listener, unsupported};
use crate::XdsPort;
use crate::decode::Context;
use crate::decode::common::{self, Walk, ignored, refused, type_name};
use envoy_types::pb::envoy::config::core::v3::TrafficDirection;
use envoy_types::pb::envoy::config::listener::v3 as pb;
use envoy_types::pb::envoy::extensions::filters::listener::proxy_protocol::v3::ProxyProtocol;
use mesh_core::model::{Forward, ForwardTo};
use pb::listener_filter::ConfigType;
use std::sync::Arc;

/// Reads who connects, before anything else.
pub(super) const PROXY_PROTOCOL: &str =
    "envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol";

/// The port that a listener is, or everything that is wrong with it for one; what does nothing is beside it.
/// `None`: it opens none.
pub(in crate::decode::listener) fn decode(
    message: &pb::Listener,
    context: &Context,
) -> Option<Read<XdsPort>> {
    let is_bound = message.bind_to_port.is_none_or(|bound| bound.value);
    if message.api_listener.is_some() || message.address.is_none() || !is_bound {
        return None;
    }
    let mut walk = Walk::default();
    without_effect(&mut walk, message, false);
    unsupported(&mut walk, message, true);
    walk.ignored(message.metadata.is_some(), "metadata", "a port of Envoy's has no words of ours");
    let (mut found, routes) = listener(&mut walk, message, context, true);
    let outbound = message.traffic_direction != TrafficDirection::Inbound as i32;
    found.forward = Some(Forward::new(ForwardTo::Chain { outbound }));
    found.proxy_protocol = proxy_protocol(&mut walk, &message.listener_filters);
    let (errors, ignored) = walk.into_parts();
    let found = match errors.is_empty() {
        true => Ok(XdsPort::new(Arc::new(found), routes)),
        false => Err(errors),
    };
    Some((found, ignored))
}

/// Whether connections begin with the PROXY protocol.
fn proxy_protocol(walk: &mut Walk, filters: &[pb::ListenerFilter]) -> bool {
    let mut is_read = false;
    for (at, filter) in filters.iter().enumerate() {
        let Some(ConfigType::TypedConfig(any)) = &filter.config_type else { continue };
        if type_name(&any.type_url) != PROXY_PROTOCOL {
            continue;
        }
        is_read = true;
        walk.at(format_args!("listener_filters[{at}]"), |walk| {
            if filter.filter_disabled.is_some() {
                walk.error_at("filter_disabled", "the PROXY protocol is for all connections: leave it out");
            }
            walk.at("typed_config", |walk| {
                let Some(message) = common::unpack::<ProxyProtocol>(walk, any) else { return };
                const TLV: &str = "only addresses are read of the header";
                refused!(walk, message, {
                    allow_requests_without_proxy_protocol:
                        "whoever leaves the header out would be believed about nothing: connections without one \
                         are closed",
                    disallowed_versions: "both versions are read: leave it out",
                });
                ignored!(walk, message, {
                    rules: TLV,
                    pass_through_tlvs: TLV,
                    tlv_location: TLV,
                    stat_prefix: "metrics are named after the listener",
                });
            });
        });
    }
    is_read
}
