//! Every metric of the mesh, in one table: [`Metric`].
//!
//! Name, kind, unit, labels and help stand here and nowhere else. The cells are asked for a
//! [`Metric`], the Prometheus text and the OpenTelemetry instruments are written from it, and the
//! table in the module documentation is a file that a test compares with [`markdown`].
//!
//! Label values that do not apply are empty (Prometheus reads an empty label as an absent one): the
//! `grpc_status` of a call that is not gRPC, the `status` of an attempt without a response head,
//! the `response_flag` of a call that went well, the `cluster` of a route that answers by itself.

use std::fmt::Write as _;

/// What a metric's numbers mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Only goes up while its owner lives.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution of durations.
    Histogram,
}

impl Kind {
    /// The word of Prometheus' `# TYPE` line.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Whose cells hold a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// One cluster under one route.
    Target,
    /// One cluster.
    Cluster,
    /// The mesh as a whole.
    Mesh,
    /// Where its configuration comes from.
    Source,
    /// One listener.
    Server,
    /// One port that serves.
    Port,
    /// Who it is.
    Identity,
    /// Its access logs.
    AccessLog,
    /// What is sent to a collector.
    Telemetry,
}

macro_rules! metrics {
    ($($(#[$doc:meta])* $variant:ident: $owner:ident $kind:ident $name:literal $unit:literal
        [$($label:ident)*] $help:literal;)*) => {
        /// One metric of the mesh.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Metric { $($(#[$doc])* #[doc = $help] $variant,)* }

        impl Metric {
            /// Every metric, in the order of export.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The name in the Prometheus text.
            pub(crate) const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Counter, gauge or histogram.
            pub(crate) const fn kind(self) -> Kind {
                match self { $(Self::$variant => Kind::$kind,)* }
            }

            /// Whose cells hold it.
            pub(crate) const fn owner(self) -> Owner {
                match self { $(Self::$variant => Owner::$owner,)* }
            }

            /// The unit, in UCUM as OpenTelemetry writes it.
            pub(crate) const fn unit(self) -> &'static str {
                match self { $(Self::$variant => $unit,)* }
            }

            /// The label names; every series has them all, in this order.
            pub(crate) const fn labels(self) -> &'static [&'static str] {
                match self { $(Self::$variant => &[$(stringify!($label)),*],)* }
            }

            /// One sentence for `# HELP`.
            pub(crate) const fn help(self) -> &'static str {
                match self { $(Self::$variant => $help,)* }
            }
        }
    };
}

metrics! {
    Calls: Target Counter "mesh_calls_total" "{call}"
        [virtual_host route cluster status grpc_status response_flag]
        "Calls that ended, by how.";
    CallDuration: Target Histogram "mesh_call_duration_seconds" "s" [virtual_host route cluster]
        "Time from the start of a call to the end of its response body.";
    CallExtraAttempts: Target Counter "mesh_call_extra_attempts_total" "{attempt}"
        [virtual_host route cluster]
        "Attempts beyond the first of their call: retries, transparent retries and hedges.";
    CallsActive: Target Gauge "mesh_calls_active" "{call}" [virtual_host route cluster]
        "Calls that have started and not ended.";
    Attempts: Cluster Counter "mesh_attempts_total" "{attempt}"
        [cluster locality status grpc_status response_flag]
        "Attempts that ended, by how.";
    AttemptDuration: Cluster Histogram "mesh_attempt_duration_seconds" "s" [cluster]
        "Time from the pick of an endpoint to the end of its response body.";
    AttemptsActive: Cluster Gauge "mesh_attempts_active" "{attempt}" [cluster]
        "Attempts at an endpoint that have started and not ended.";
    AttemptsPending: Cluster Gauge "mesh_attempts_pending" "{attempt}" [cluster]
        "Attempts that wait for a connection.";
    PhaseDuration: Cluster Histogram "mesh_phase_seconds" "s" [cluster phase]
        "Time that calls spend in one phase.";
    Retries: Cluster Counter "mesh_retries_total" "{retry}" [cluster outcome]
        "Retries that were sent, that led to a good answer, or that were not allowed.";
    TransparentRetries: Cluster Counter "mesh_transparent_retries_total" "{retry}" [cluster]
        "Requests sent again because the server had not processed them.";
    Hedges: Cluster Counter "mesh_hedges_total" "{attempt}" [cluster]
        "Attempts started beside one that was slow.";
    Overflows: Cluster Counter "mesh_overflow_total" "{refusal}" [cluster limit]
        "Attempts and retries that a circuit breaker refused.";
    Drops: Cluster Counter "mesh_drops_total" "{attempt}" [cluster category]
        "Attempts that were dropped because the cluster is overloaded.";
    Ejections: Cluster Counter "mesh_ejections_total" "{ejection}" [cluster kind outcome]
        "Endpoints that outlier detection took out, or would have.";
    Endpoints: Cluster Gauge "mesh_endpoints" "{endpoint}" [cluster state]
        "Endpoints in the configuration, by what they are good for.";
    Panic: Cluster Gauge "mesh_cluster_panic" "{panic}" [cluster]
        "1 while so few endpoints are healthy that all are used.";
    ConnectionsOpened: Cluster Counter "mesh_connections_opened_total" "{connection}" [cluster]
        "Connections that became usable.";
    ConnectionsSecured: Cluster Counter "mesh_connections_secured_total" "{connection}"
        [cluster security peer]
        "Connections that became usable, by their security and by who the endpoint proved to be.";
    AttemptsSecured: Cluster Counter "mesh_attempts_secured_total" "{attempt}"
        [cluster security peer]
        "Attempts that were sent, by the security of their connection and by who the endpoint proved to be; at most 100 peers by name, further ones as `other`.";
    ConnectionsClosed: Cluster Counter "mesh_connections_closed_total" "{connection}"
        [cluster reason]
        "Usable connections that ended.";
    ConnectionsFailed: Cluster Counter "mesh_connections_failed_total" "{connection}"
        [cluster reason]
        "Connections that never became usable.";
    ConnectionsActive: Cluster Gauge "mesh_connections_active" "{connection}" [cluster]
        "Connections that are open.";
    Configuration: Mesh Gauge "mesh_config_info" "{configuration}" [source version]
        "1 for the configuration in force.";
    ConfigurationApplied: Mesh Gauge "mesh_config_applied_timestamp_seconds" "s" []
        "When the configuration in force was accepted, in seconds since the Unix epoch.";
    ConfigurationStale: Mesh Gauge "mesh_config_stale_since_timestamp_seconds" "s" []
        "While the configuration in force comes from a copy on disk: when that was written, in seconds since the Unix epoch.";
    ConfigurationUpdates: Mesh Counter "mesh_config_updates_total" "{update}" [outcome]
        "Configurations that a source gave.";
    ConfigurationRejected: Mesh Gauge "mesh_config_rejected_resources" "{resource}" []
        "Files and resources whose newest version is refused; their last good one stays in force.";
    SourceConnected: Mesh Gauge "mesh_config_source_connected" "{source}" []
        "1 while the source of configuration can be reached, 0 while it can't.";
    OverloadUsed: Mesh Gauge "mesh_overload_used_percent" "{percent}" [resource]
        "How much of a limit the process uses; left out without a limit.";
    OverloadRefusing: Mesh Gauge "mesh_overload_refusing" "{state}" [resource]
        "1 while servers refuse work for want of a resource.";
    OverloadBegun: Mesh Counter "mesh_overload_begun_total" "{time}" [resource]
        "Times that servers began to refuse work for want of a resource.";
    SnapshotSwaps: Mesh Counter "mesh_snapshot_swaps_total" "{snapshot}" []
        "Snapshots that were published.";
    EgressCalls: Mesh Counter "mesh_egress_calls_total" "{call}" [outcome rule]
        "Calls to hosts that no virtual host serves, by what became of them and the rule that is against it.";
    EgressConnections: Mesh Counter "mesh_egress_connections_total" "{connection}" [outcome rule]
        "Connections for such calls whose name led to an address that a rule is against, by what became of that.";
    XdsConnected: Source Gauge "grpc_xds_client_connected" "{bool}" [grpc_target grpc_xds_server]
        "1 while there is a working stream to the xDS server, 0 while there is none (gRFC A78).";
    XdsServerFailures: Source Counter "grpc_xds_client_server_failure_total" "{failure}"
        [grpc_target grpc_xds_server]
        "Times that the xDS server went from healthy to unhealthy (gRFC A78).";
    XdsValid: Source Counter "grpc_xds_client_resource_updates_valid_total" "{resource}"
        [grpc_target grpc_xds_server grpc_xds_resource_type]
        "Resources received that were good, unchanged ones too (gRFC A78).";
    XdsInvalid: Source Counter "grpc_xds_client_resource_updates_invalid_total" "{resource}"
        [grpc_target grpc_xds_server grpc_xds_resource_type]
        "Resources received that were refused (gRFC A78).";
    XdsResources: Source Gauge "grpc_xds_client_resources" "{resource}"
        [grpc_target grpc_xds_authority grpc_xds_cache_state grpc_xds_resource_type]
        "Resources by what is known of them (gRFC A78, A88).";
    XdsAck: Source Histogram "mesh_xds_ack_duration_seconds" "s" [resource_type]
        "Time from the reception of a response to the sending of its ACK.";
    XdsLive: Source Histogram "mesh_xds_live_duration_seconds" "s" [resource_type]
        "Time from the reception of a changed resource until the configuration made of it is in force.";
    XdsVersion: Source Gauge "mesh_xds_version_info" "{version}" [server resource_type version]
        "1 for the version of the last response that was accepted.";
    XdsLastGood: Source Gauge "mesh_xds_last_good_timestamp_seconds" "s" [server resource_type]
        "When the last response was accepted, in seconds since the Unix epoch.";
    XdsCopies: Source Counter "mesh_xds_copy_writes_total" "{write}" [outcome]
        "Times that the copy of the last good configuration was written to disk, or could not be.";
    ServerRequests: Server Counter "mesh_server_requests_total" "{request}"
        [listener virtual_host route status grpc_status response_flag]
        "Requests that were answered or given up, by how.";
    ServerRequestDuration: Server Histogram "mesh_server_request_duration_seconds" "s"
        [listener virtual_host route]
        "Time from the head of a request to the end of its response's body.";
    ServerRequestsActive: Server Gauge "mesh_server_requests_active" "{request}"
        [listener virtual_host route]
        "Requests that have come and not ended.";
    ServerPeers: Server Counter "mesh_server_peer_requests_total" "{request}"
        [listener security peer status_class]
        "Requests by who sent them; at most 100 peers by name, further ones as `other`.";
    ServerRefused: Server Counter "mesh_server_refused_total" "{request}"
        [listener reason filter policy]
        "Requests that were refused before the service saw them, and those that shadow rules would refuse.";
    ServerDecisions: Server Counter "mesh_server_filter_decisions_total" "{decision}"
        [listener filter outcome]
        "What filters that limit, ask or do faults decided about requests; would_be_…: in shadow mode.";
    ServerAccepted: Port Counter "mesh_server_connections_accepted_total" "{connection}"
        [listener security]
        "Connections that a server accepted, by how they are secured.";
    ServerHandshakes: Port Counter "mesh_server_handshakes_failed_total" "{handshake}"
        [listener reason]
        "Connections that ended before their TLS handshake did, by why.";
    ServerConnectionsRefused: Port Counter "mesh_server_connections_refused_total" "{connection}"
        [listener reason]
        "Connections that a server refused because of its configuration, or for want of room, by why.";
    ServerNetworkRbac: Port Counter "mesh_server_network_rbac_total" "{connection}"
        [listener chain outcome policy]
        "Connections that network RBAC denied, by policy (`none`: no policy allowed it); would_deny: its shadow rules would.";
    ServerDrained: Port Counter "mesh_server_connections_drained_total" "{connection}"
        [listener reason]
        "Connections that a server told to take no new requests, by why.";
    ServerBroken: Port Counter "mesh_server_connections_broken_total" "{connection}"
        [listener reason]
        "Connections that ended before their time, by why.";
    ServerUnborn: Port Counter "mesh_server_streams_refused_total" "{stream}" [listener]
        "Streams of HTTP/2 that were opened and became no request: their head was far too large or malformed, or they were reset at once. Counted when their connection ends.";
    ServerStalled: Port Counter "mesh_server_streams_stalled_total" "{stream}" [listener]
        "Streams of HTTP/2 that were reset because their client took nothing of their answer for too long.";
    ServerPeerConnections: Port Counter "mesh_server_peer_connections_total" "{connection}"
        [listener security peer]
        "Connections that a server accepted, by how they are secured and who connected; at most 100 peers by name, further ones as `other`.";
    ServerActive: Port Gauge "mesh_server_connections_active" "{connection}" [listener]
        "Connections that a server has accepted and that are open.";
    IdentityEnd: Identity Gauge "mesh_identity_expiry_timestamp_seconds" "s" [identity]
        "When our certificate in force ends, or its chain, if that is earlier, in seconds since the Unix epoch.";
    IdentityRootEnd: Identity Gauge "mesh_identity_root_expiry_timestamp_seconds" "s"
        [identity trust_domain subject serial]
        "When a root ends, in seconds since the Unix epoch; the first 64 of an identity.";
    IdentityBundleEnd: Identity Gauge "mesh_identity_bundle_expiry_timestamp_seconds" "s"
        [identity trust_domain]
        "When the last root of a trust domain ends, in seconds since the Unix epoch; the first 64 of an identity.";
    IdentityCrlEnd: Identity Gauge "mesh_identity_crl_expiry_timestamp_seconds" "s"
        [identity issuer]
        "When a newer list of revoked certificates is due of an issuer, in seconds since the Unix epoch; the first 64 of an identity.";
    IdentityLastGood: Identity Gauge "mesh_identity_last_good_timestamp_seconds" "s" [identity]
        "When a good identity came last, in seconds since the Unix epoch.";
    IdentityFailures: Identity Counter "mesh_identity_failures_total" "{failure}" [identity]
        "Times that a source had no identity, or one that is not good.";
    AccessLogWritten: AccessLog Counter "mesh_access_log_lines_written_total" "{line}" []
        "Lines of access logs that were written.";
    AccessLogDropped: AccessLog Counter "mesh_access_log_lines_dropped_total" "{line}" [reason]
        "Lines of access logs that were dropped: there was no room, they could not be written, or nobody writes any more.";
    AccessLogQueued: AccessLog Gauge "mesh_access_log_lines_queued" "{line}" []
        "Lines of access logs that wait to be written.";
    TelemetryExported: Telemetry Counter "mesh_telemetry_exported_total" "{item}" [signal]
        "Points of metrics, and spans, that a collector took over OTLP.";
    TelemetryDropped: Telemetry Counter "mesh_telemetry_dropped_total" "{item}" [signal reason]
        "Points of metrics, and spans, that no collector took: there was no room, it could not be reached, did not answer in time, or refused them.";
    TelemetryQueued: Telemetry Gauge "mesh_telemetry_queued" "{item}" [signal]
        "Points of metrics, and spans, that wait to be exported, or are on their way.";
}

/// The header by which a server tells how long its application took, and how long it took itself: the form of
/// `Server-Timing` (W3C), `app;dur=1.25, mesh;dur=0.04`, in milliseconds.
pub(crate) const X_MESH_TIMING: http::HeaderName = http::HeaderName::from_static("x-mesh-timing");

/// How the metrics of gRPC begin that are counted here: its names are kept, for its dashboards.
const GRPC_XDS: &str = "grpc_xds_client_";

impl Metric {
    /// The name as an OpenTelemetry instrument: `mesh_calls_total` is `mesh.calls`, and
    /// `mesh_call_duration_seconds` is `mesh.call_duration` with the unit `s`.
    ///
    /// OpenTelemetry's translation to Prometheus adds the suffixes back (specification
    /// "Prometheus and OpenMetrics Compatibility").
    pub(crate) fn otel_name(self) -> String {
        let name = self.name();
        let name = name.strip_suffix("_total").unwrap_or(name);
        let name = name.strip_suffix("_seconds").unwrap_or(name);
        match name.strip_prefix(GRPC_XDS) {
            Some(name) => format!("grpc.xds_client.{name}"),
            None => name.replacen('_', ".", 1),
        }
    }

    /// A label's name as an OpenTelemetry attribute: the same, but for gRPC's own, which have dots.
    pub(crate) fn attribute(label: &'static str) -> &'static str {
        match label {
            "grpc_target" => "grpc.target",
            "grpc_xds_server" => "grpc.xds.server",
            "grpc_xds_authority" => "grpc.xds.authority",
            "grpc_xds_cache_state" => "grpc.xds.cache_state",
            "grpc_xds_resource_type" => "grpc.xds.resource_type",
            label => label,
        }
    }
}

/// The table of all metrics, as the documentation shows it.
pub(crate) fn markdown() -> String {
    let mut out = String::from("| metric | kind | labels | what it counts |\n|---|---|---|---|\n");
    for metric in Metric::ALL {
        let labels = metric.labels().join("`, `");
        let labels = if labels.is_empty() { "–".to_owned() } else { format!("`{labels}`") };
        let (name, kind, help) = (metric.name(), metric.kind().as_str(), metric.help());
        // Writing to a string can't fail.
        writeln!(out, "| `{name}` | {kind} | {labels} | {help} |").unwrap_or_default();
    }
    out
}

/// Declares an enum whose variants are the values of one label.
macro_rules! label_values {
    ($(#[$doc:meta])* $vis:vis enum $name:ident {
        $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)*
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        $vis enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            /// Every value, in the order of declaration.
            $vis const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The value of the label.
            #[must_use]
            $vis const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}
pub(super) use label_values;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_well_formed() {
        let names: BTreeSet<_> = Metric::ALL.iter().map(|metric| metric.name()).collect();
        assert_eq!(names.len(), Metric::ALL.len());
        for metric in Metric::ALL {
            let name = metric.name();
            assert!(name.starts_with("mesh_") || name.starts_with(GRPC_XDS), "{name}");
            assert!(name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'_')), "{name}");
            assert_eq!(name.ends_with("_total"), metric.kind() == Kind::Counter, "{name}");
            assert_eq!(name.ends_with("_seconds"), metric.unit() == "s", "{name}");
            assert!(metric.help().ends_with('.'), "{name}");
            let labels: BTreeSet<_> = metric.labels().iter().collect();
            assert_eq!(labels.len(), metric.labels().len(), "{name}");
            assert!(!labels.contains(&"le"), "{name}");
        }
    }

    #[test]
    fn opentelemetry_names_have_no_prometheus_suffix() {
        assert_eq!(Metric::Calls.otel_name(), "mesh.calls");
        assert_eq!(Metric::CallDuration.otel_name(), "mesh.call_duration");
        assert_eq!(Metric::Endpoints.otel_name(), "mesh.endpoints");
        // gRFC A78.
        assert_eq!(Metric::XdsServerFailures.otel_name(), "grpc.xds_client.server_failure");
        let attributes = Metric::XdsResources.labels().iter().map(|label| Metric::attribute(label));
        assert!(attributes.eq([
            "grpc.target",
            "grpc.xds.authority",
            "grpc.xds.cache_state",
            "grpc.xds.resource_type"
        ]));
        let names: BTreeSet<_> = Metric::ALL.iter().map(|metric| metric.otel_name()).collect();
        assert_eq!(names.len(), Metric::ALL.len());
    }

    /// The file is part of the module documentation; on a difference, put the printed table there.
    #[test]
    fn the_documented_table_is_this_one() {
        let table = markdown();
        let documented = include_str!("metrics.md");
        assert!(documented == table, "metrics.md should be:\n{table}");
    }
}
