//! The network filters of a chain: who may connect, and the connection manager, once and last (gRFC A36).

use super::super::MANAGER;
use super::manager;
use crate::decode::Context;
use crate::decode::common::{self, Walk, type_name};
use crate::decode::rbac;
use envoy_types::pb::envoy::config::listener::v3 as pb;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager as PbManager;
use envoy_types::pb::google::protobuf::Any;
use mesh_core::model::{HttpConnectionManager, RbacFilter};
use pb::filter::ConfigType;
use std::collections::BTreeSet;
use std::sync::Arc;

const TCP_PROXY: &str = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";

/// What the filters come to.
pub(super) struct Filters {
    pub(super) rbac: Vec<Arc<RbacFilter>>,
    pub(super) http: HttpConnectionManager,
    /// The route configuration that is asked for.
    pub(super) routes: Option<Arc<str>>,
}

/// Reads them all; `None`: there is no connection manager, or it can't be.
pub(super) fn filters(
    walk: &mut Walk,
    messages: &[pb::Filter],
    listener: &Arc<str>,
    context: &Context,
) -> Option<Filters> {
    let mut names = BTreeSet::new();
    let (mut rbac, mut http) = (Vec::new(), None);
    let last = messages.len().saturating_sub(1);
    let (mut managers, before) = (0, walk.errors());
    for (at, message) in messages.iter().enumerate() {
        walk.at(format_args!("filters[{at}]"), |walk| {
            if message.name.is_empty() {
                walk.error_at("name", "a filter has a name (Envoy: min_len 1)");
            } else if !names.insert(&message.name) {
                walk.error_at(
                    "name",
                    format_args!("`{}` is there twice: names are unique (gRFC A36)", message.name),
                );
            }
            let Some(ConfigType::TypedConfig(any)) = &message.config_type else {
                walk.error_at("typed_config", "a filter has a configuration (gRFC A36)");
                return;
            };
            match type_name(&any.type_url) {
                MANAGER if at == last => {
                    managers += 1;
                    http = walk.at("typed_config", |walk| manager(walk, any, listener, context));
                }
                MANAGER => {
                    managers += 1;
                    walk.error("the HttpConnectionManager is the last filter (gRFC A36)");
                }
                rbac::NETWORK => {
                    let found = walk.at("typed_config", |walk| rbac_filter(walk, any));
                    rbac.extend(found.map(Arc::new));
                }
                TCP_PROXY => walk.error(
                    "a server does not pass on raw TCP: its chain ends in an HttpConnectionManager (gRFC A36)",
                ),
                other => walk.error(format_args!(
                    "the network filter `{other}` is not supported: only RBAC and the \
                     HttpConnectionManager are (gRFC A36)"
                )),
            }
        });
    }
    if managers == 0 && walk.errors() == before {
        walk.error_at(
            "filters",
            "there is no HttpConnectionManager, which is the last one (gRFC A36)",
        );
    }
    let (http, routes) = http?;
    Some(Filters { rbac, http, routes })
}

fn manager(
    walk: &mut Walk,
    any: &Any,
    listener: &Arc<str>,
    context: &Context,
) -> Option<(HttpConnectionManager, Option<Arc<str>>)> {
    let message: PbManager = common::unpack(walk, any)?;
    manager::decode(walk, &message, listener, context)
}

fn rbac_filter(walk: &mut Walk, any: &Any) -> Option<RbacFilter> {
    let message = common::unpack(walk, any)?;
    rbac::network_filter(walk, &message)
}
