//! `envoy.config.cluster.v3.Cluster`: a logical service and how to talk to it.
//!
//! Each file reads one part, named after its field. The meaning and the defaults are Envoy's, and
//! gRPC's where both say something and gRPC is stricter (A27, A29, A32, A37, A42, A48, A50, A52).
//! Where `mesh.yaml` has a default of its own for what a message does not say, it holds here too:
//!
//! - A cluster without HTTP options speaks as the call does; Envoy's would speak HTTP/1.1.
//! - Without `max_retries` the retry budget is the limit; Envoy's is 3.
//! - `dns_lookup_family` `AUTO`, which can't be told from nothing, is the model's own default.
//!
//! Last come the words of `metadata` (`words`), which change what was read from the fields.
//!
//! Security is never weakened: what can't be done as it is said is refused, not left out.

mod aggregate;
mod circuit_breakers;
mod discovery;
mod dns;
mod http2_protocol_options;
mod http_protocol_options;
mod lb_policy;
mod load_balancing_policy;
mod outlier_detection;
mod outlier_words;
mod subject_alt_names;
#[cfg(test)]
mod tests;
pub(super) mod tls;
mod transport_socket;
mod unused;
mod words;

pub(super) use subject_alt_names::{names, typed_name};

use super::common::{self, Walk};
use super::{Context, Decoded};
use crate::resource::{EndpointSource, Resource, XdsCluster};
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use mesh_core::model;
use std::sync::Arc;

/// Decodes a CDS resource.
pub(super) fn decode(body: &[u8], context: &Context) -> Decoded {
    let message = match common::parse::<Cluster>(body) {
        Ok(message) => message,
        Err(broken) => return broken,
    };
    let mut walk = Walk::default();
    let name: Option<Arc<str>> = (!message.name.is_empty()).then(|| message.name.as_str().into());
    if name.is_none() {
        walk.error_at("name", "it is empty (Envoy: min_len 1); it is the resource's name");
    }
    let cluster = cluster(&mut walk, &message, context);
    walk.finish(name, cluster.map(|cluster| Resource::Cluster(Arc::new(cluster))))
}

fn cluster(walk: &mut Walk, message: &Cluster, context: &Context) -> Option<XdsCluster> {
    let mut model = model::Cluster::new(message.name.as_str());
    unused::report(walk, message);
    let is_aggregate = aggregate::is_one(message);
    model.lb_policy = lb_policy::decode(walk, message, is_aggregate, context);
    let endpoints = discovery::decode(walk, message, &mut model);
    let timeout =
        common::positive_duration(walk, "connect_timeout", message.connect_timeout.as_ref());
    if let Some(timeout) = timeout {
        model.connection.connect_timeout = timeout;
    }
    http_protocol_options::decode(walk, message, &mut model);
    circuit_breakers::decode(walk, message.circuit_breakers.as_ref(), &mut model);
    model.outlier_detection = outlier_detection::decode(walk, message.outlier_detection.as_ref());
    transport_socket::decode(walk, message, context, &mut model);
    transport_socket::leave_out_what_follows(&mut model);
    if message.lrs_server.is_some() {
        // gRFC A27: `lrs_server` must be `self`.
        common::same_server(walk, "lrs_server", message.lrs_server.as_ref(), false);
    }
    if matches!(endpoints, Some(EndpointSource::Aggregate(_))) {
        unused::report_of_aggregate(walk, message);
    }
    words::decode(walk, message, &mut model, context);
    let mut cluster = XdsCluster::new(Arc::new(model), endpoints?);
    cluster.follows_locality_weights = lb_policy::follows_locality_weights(message);
    cluster.reports_load = message.lrs_server.is_some();
    Some(cluster)
}
