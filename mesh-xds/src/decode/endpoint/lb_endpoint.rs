//! One endpoint of a locality (`LbEndpoint`).

use super::{Reading, Walk};
use crate::decode::address::address;
use crate::decode::common;
use crate::tls_labels;
use envoy_types::pb::envoy::config::core::v3::{self as core, Metadata};
use envoy_types::pb::envoy::config::endpoint::v3 as proto;
use envoy_types::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use envoy_types::pb::google::protobuf::value::Kind;
use mesh_core::model::{Address, Endpoint, HealthStatus, TlsLabels};
use std::sync::Arc;

/// How many different labels are looked through for the same ones: as many ways of securing endpoints there
/// hardly are in a cluster.
const LOOKED_AT: usize = 8;

impl Reading {
    /// An endpoint, unless something is wrong with it.
    pub(super) fn lb_endpoint(
        &mut self,
        walk: &mut Walk,
        message: &proto::LbEndpoint,
    ) -> Option<Endpoint> {
        // Envoy: `load_balancing_weight` is at least 1; gRFC A27 refuses 0 too.
        let weight = &message.load_balancing_weight;
        let weight = common::uint32(walk, "load_balancing_weight", weight.as_ref(), 1..=u32::MAX);
        let health = health(walk, message.health_status);
        let hash_key = self.hash_key(walk, message.metadata.as_ref());
        let tls_labels = self.tls_labels(message.metadata.as_ref());
        let found = match &message.host_identifier {
            Some(HostIdentifier::Endpoint(endpoint)) => {
                walk.at("endpoint", |walk| self.endpoint(walk, endpoint))
            }
            Some(HostIdentifier::EndpointName(_)) => {
                walk.error_at("endpoint_name", "it is not supported, nor by Envoy; use `endpoint`");
                None
            }
            None => {
                walk.error_at("endpoint", "it is missing (gRFC A27)");
                None
            }
        };
        let mut endpoint = found?;
        endpoint.weight = weight.unwrap_or(1);
        endpoint.health = health?;
        endpoint.hash_key = hash_key;
        endpoint.tls_labels = tls_labels;
        Some(endpoint)
    }

    fn endpoint(&mut self, walk: &mut Walk, message: &proto::Endpoint) -> Option<Endpoint> {
        let unused = [
            (
                message.health_check_config.is_some(),
                "health_check_config",
                "there are no active health checks",
            ),
            (
                !message.observability_name.is_empty(),
                "observability_name",
                "an endpoint is observed by its address",
            ),
            (
                !message.additional_addresses.is_empty(),
                "additional_addresses",
                "an endpoint is connected to by its first address",
            ),
        ];
        for (set, field, reason) in unused {
            self.once.ignored(walk, set, field, reason);
        }
        let first = address(walk, message.address.as_ref());
        if let Some(first) = &first {
            self.check_new(walk, first, true);
        }
        for (index, more) in message.additional_addresses.iter().enumerate() {
            walk.at(format_args!("additional_addresses[{index}]"), |walk| {
                let Some(found) = address(walk, more.address.as_ref()) else { return };
                // Envoy: additional addresses are IP addresses.
                self.check_new(walk, &found, false);
            });
        }
        let mut endpoint = Endpoint::new(first?);
        let hostname = Some(message.hostname.as_str()).filter(|name| !name.is_empty());
        endpoint.hostname = hostname.map(Into::into);
        Some(endpoint)
    }

    /// gRFC A27, A61: an address stands once, among the additional ones too.
    fn check_new(&mut self, walk: &mut Walk, address: &Address, allows_unix: bool) {
        if matches!(address, Address::Unix(_)) && !allows_unix {
            walk.error_at("address", "an additional address is an IP address (Envoy)");
        }
        if !self.addresses.insert(address.clone()) {
            walk.error_at("address", format_args!("{address} stands twice (gRFC A27)"));
        }
    }

    /// gRFC A76: `hash_key` of the metadata `envoy.lb`. What else is there is reported.
    fn hash_key(&mut self, walk: &mut Walk, metadata: Option<&Metadata>) -> Option<Arc<str>> {
        let metadata = metadata?;
        let lb = metadata.filter_metadata.get("envoy.lb");
        let value = lb.and_then(|lb| lb.fields.get("hash_key")).and_then(|key| key.kind.as_ref());
        let key = match value {
            Some(Kind::StringValue(key)) if !key.is_empty() => Some(key.as_str().into()),
            _ => None,
        };
        let others = metadata.filter_metadata.iter().filter(|(name, _)| *name != tls_labels::NAME);
        let entries = others.map(|(_, fields)| fields.fields.len());
        let known = usize::from(key.is_some());
        let others = metadata.typed_filter_metadata.len() + entries.sum::<usize>() > known;
        self.once.ignored(
            walk,
            others,
            "metadata",
            "of an endpoint's metadata only the text `hash_key` of `envoy.lb` (gRFC A76) and \
             `envoy.transport_socket_match` are used",
        );
        key
    }

    /// What decides how connections to it are secured. Most endpoints say the same: they share it.
    pub(super) fn tls_labels(&mut self, metadata: Option<&Metadata>) -> Option<Arc<TlsLabels>> {
        let said = tls_labels::said(metadata)?;
        let known = self.labels.iter().rev().take(LOOKED_AT).find(|known| ***known == said);
        if let Some(known) = known {
            return Some(Arc::clone(known));
        }
        let said = Arc::new(said);
        self.labels.push(Arc::clone(&said));
        Some(said)
    }
}

fn health(walk: &mut Walk, status: i32) -> Option<HealthStatus> {
    let status = common::enumeration::<core::HealthStatus>(walk, "health_status", status)?;
    Some(match status {
        core::HealthStatus::Unknown => HealthStatus::Unknown,
        core::HealthStatus::Healthy => HealthStatus::Healthy,
        core::HealthStatus::Unhealthy => HealthStatus::Unhealthy,
        core::HealthStatus::Draining => HealthStatus::Draining,
        core::HealthStatus::Timeout => HealthStatus::Timeout,
        core::HealthStatus::Degraded => HealthStatus::Degraded,
    })
}
