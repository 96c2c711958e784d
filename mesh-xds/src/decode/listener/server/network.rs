//! The network filters of a chain: who may connect, and the connection manager, once and last (gRFC A36).
//!
//! A proxy's chain may end in a `TcpProxy` as well: it passes bytes on.

use super::super::MANAGER;
use super::{Reader, manager, tcp_proxy};
use crate::decode::common::{self, Walk, type_name};
use crate::decode::rbac;
use envoy_types::pb::envoy::config::listener::v3 as pb;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager as PbManager;
use envoy_types::pb::google::protobuf::Any;
use manager::Manager;
use mesh_core::model::RbacFilter;
use pb::filter::ConfigType;
use std::collections::BTreeSet;
use std::sync::Arc;
use tcp_proxy::Bytes;

const TCP_PROXY: &str = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";

/// What the filters come to.
pub(super) struct Filters {
    pub(super) rbac: Vec<Arc<RbacFilter>>,
    pub(super) end: End,
}

/// What the last filter does.
pub(super) enum End {
    Http(Manager),
    /// Of a proxy alone.
    Bytes(Bytes),
}

/// Reads them all; `None`: there is no connection manager, or it can't be.
pub(super) fn filters(
    walk: &mut Walk,
    messages: &[pb::Filter],
    reader: Reader<'_>,
) -> Option<Filters> {
    let mut names = BTreeSet::new();
    let (mut rbac, mut end) = (Vec::new(), None);
    let last = messages.len().saturating_sub(1);
    let (mut ends, before) = (0, walk.errors());
    for (at, message) in messages.iter().enumerate() {
        walk.at(format_args!("filters[{at}]"), |walk| {
            check_name(walk, &message.name, &mut names);
            let Some(ConfigType::TypedConfig(any)) = &message.config_type else {
                walk.error_at("typed_config", "a filter has a configuration (gRFC A36)");
                return;
            };
            match type_name(&any.type_url) {
                MANAGER if at == last => {
                    ends += 1;
                    end = walk.at("typed_config", |walk| {
                        let message: PbManager = common::unpack(walk, any)?;
                        manager::decode(walk, &message, reader).map(End::Http)
                    });
                }
                MANAGER => {
                    ends += 1;
                    walk.error("the HttpConnectionManager is the last filter (gRFC A36)");
                }
                rbac::NETWORK => {
                    let found = walk.at("typed_config", |walk| rbac_filter(walk, any));
                    rbac.extend(found.map(Arc::new));
                }
                TCP_PROXY if reader.is_proxy && at == last => {
                    ends += 1;
                    end = walk.at("typed_config", |walk| {
                        let message = common::unpack(walk, any)?;
                        tcp_proxy::decode(walk, &message, reader.listener).map(End::Bytes)
                    });
                }
                TCP_PROXY if reader.is_proxy => {
                    ends += 1;
                    walk.error("the TcpProxy is the last filter: what follows it gets nothing");
                }
                TCP_PROXY => walk.error(
                    "a server does not pass on raw TCP: its chain ends in an HttpConnectionManager (gRFC A36)",
                ),
                other if reader.is_proxy => walk.error(format_args!(
                    "the network filter `{other}` is not supported: only RBAC, and at the end the \
                     HttpConnectionManager or the TcpProxy, are"
                )),
                other => walk.error(format_args!(
                    "the network filter `{other}` is not supported: only RBAC and the \
                     HttpConnectionManager are (gRFC A36)"
                )),
            }
        });
    }
    if ends == 0 && walk.errors() == before {
        let why = match reader.is_proxy {
            true => "there is no HttpConnectionManager or TcpProxy, one of which is the last one",
            false => "there is no HttpConnectionManager, which is the last one (gRFC A36)",
        };
        walk.error_at("filters", why);
    }
    Some(Filters { rbac, end: end? })
}

fn check_name<'m>(walk: &mut Walk, name: &'m str, names: &mut BTreeSet<&'m str>) {
    if name.is_empty() {
        walk.error_at("name", "a filter has a name (Envoy: min_len 1)");
    } else if !names.insert(name) {
        let why = format_args!("`{name}` is there twice: names are unique (gRFC A36)");
        walk.error_at("name", why);
    }
}

fn rbac_filter(walk: &mut Walk, any: &Any) -> Option<RbacFilter> {
    let message = common::unpack(walk, any)?;
    rbac::network_filter(walk, &message)
}
