//! Endpoints: `ClusterLoadAssignment` and the messages within it.

use super::Support::{Ignored, Refused, Used};
use super::{Row, row};

/// The fields in the order of the messages.
pub(super) const ROWS: &[Row] = &[
    row("ClusterLoadAssignment", "cluster_name", Used, ""),
    row("ClusterLoadAssignment", "endpoints", Used, ""),
    row("ClusterLoadAssignment", "named_endpoints", Ignored, ""),
    row("ClusterLoadAssignment", "policy", Used, "drop_overloads and overprovisioning_factor"),
    row("LocalityLbEndpoints", "locality", Used, ""),
    row("LocalityLbEndpoints", "metadata", Used, "only envoy.transport_socket_match"),
    row("LocalityLbEndpoints", "lb_endpoints", Used, ""),
    row("LocalityLbEndpoints", "load_balancer_endpoints", Refused, "use lb_endpoints"),
    row("LocalityLbEndpoints", "leds_cluster_locality_config", Refused, "use lb_endpoints"),
    row(
        "LocalityLbEndpoints",
        "load_balancing_weight",
        Used,
        "in EDS, a locality without it is left out where others have one (gRFC A27)",
    ),
    row("LocalityLbEndpoints", "priority", Used, "0 to 128, without gaps"),
    row("LocalityLbEndpoints", "proximity", Ignored, ""),
    row("LbEndpoint", "endpoint", Used, ""),
    row("LbEndpoint", "endpoint_name", Refused, "use endpoint"),
    row("LbEndpoint", "health_status", Used, ""),
    row(
        "LbEndpoint",
        "metadata",
        Used,
        "only hash_key of envoy.lb (gRFC A76) and envoy.transport_socket_match",
    ),
    row("LbEndpoint", "load_balancing_weight", Used, ""),
    row("Endpoint", "address", Used, "an IP address with a port, or a pipe"),
    row("Endpoint", "health_check_config", Ignored, ""),
    row("Endpoint", "hostname", Used, ""),
    row(
        "Endpoint",
        "additional_addresses",
        Ignored,
        "checked; an endpoint is connected to by its first address",
    ),
    row("Endpoint", "observability_name", Ignored, ""),
];
