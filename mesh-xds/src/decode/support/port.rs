//! What only ports of `mesh proxy` have of listeners.

super::table! {
    "TcpProxy (port)" {
        Ignored stat_prefix: "";
        Used cluster: "";
        Used weighted_clusters: "";
        Ignored on_demand: "";
        Refused metadata_match: "";
        Used idle_timeout: "default 1 h, 0 s is none";
        Ignored downstream_idle_timeout: "";
        Ignored upstream_idle_timeout: "";
        Ignored access_log: "";
        Ignored max_connect_attempts: "a connection that can't be made is tried as calls are";
        Ignored backoff_options: "";
        Used hash_policy: "source_ip";
        Refused tunneling_config: "";
        Ignored max_downstream_connection_duration: "";
        Ignored max_downstream_connection_duration_jitter_percentage: "";
        Ignored access_log_flush_interval: "";
        Ignored flush_access_log_on_connected: "";
        Ignored access_log_options: "";
        Ignored proxy_protocol_tlvs: "";
        Ignored proxy_protocol_tlv_merge_policy: "";
        Ignored upstream_connect_mode: "";
        Ignored max_early_data_bytes: "";
        Ignored check_drain_close: "";
    }
    "TcpProxy.WeightedCluster.ClusterWeight (port)" {
        Used name: "";
        Used weight: "1 or more";
        Refused metadata_match: "";
    }
    "ProxyProtocol (port)" {
        Ignored rules: "";
        Refused allow_requests_without_proxy_protocol: "one without is closed";
        Ignored pass_through_tlvs: "";
        Refused disallowed_versions: "both are read";
        Ignored stat_prefix: "";
        Ignored tlv_location: "";
    }
}
