//! Whom access loggers and tracers report to: the clusters that they name.
//!
//! They are read here, by themselves, because nothing else in the crate reads them: what a listener is does not hang
//! on who is told of it. But who reads the listener needs them, so they go with it.
//!
//! | message | names a cluster in |
//! |---|---|
//! | `HttpGrpcAccessLogConfig`, `TcpGrpcAccessLogConfig` | `common_config.grpc_service` |
//! | `OpenTelemetryAccessLogConfig` | `grpc_service`, `http_service`, `common_config.grpc_service` |
//! | `FluentdAccessLogConfig`, `FluentdConfig` | `cluster` |
//! | `OpenTelemetryConfig` | `grpc_service`, `http_service` |
//! | `TraceServiceConfig`, `SkyWalkingConfig` | `grpc_service` |
//! | `ZipkinConfig` | `collector_cluster`, `collector_service` |
//! | `DatadogConfig`, `LightstepConfig` | `collector_cluster` |
//!
//! What it does not do: say whether a message is right, or read others, which name no cluster as far as is known.

use super::references::unpack;
use envoy_types::pb::envoy::config::accesslog::v3::{AccessLog, access_log};
use envoy_types::pb::envoy::config::core::v3::{
    GrpcService, HttpService, grpc_service::TargetSpecifier, http_uri::HttpUpstreamType,
};
use envoy_types::pb::envoy::config::trace::v3::{
    DatadogConfig, LightstepConfig, OpenTelemetryConfig, SkyWalkingConfig, TraceServiceConfig,
    ZipkinConfig, tracing::http,
};
use envoy_types::pb::envoy::extensions::access_loggers::fluentd::v3::FluentdAccessLogConfig;
use envoy_types::pb::envoy::extensions::access_loggers::grpc::v3::{
    CommonGrpcAccessLogConfig, HttpGrpcAccessLogConfig, TcpGrpcAccessLogConfig,
};
use envoy_types::pb::envoy::extensions::access_loggers::open_telemetry::v3::OpenTelemetryAccessLogConfig;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::Tracing;
use envoy_types::pb::envoy::extensions::tracers::fluentd::v3::FluentdConfig;
use envoy_types::pb::google::protobuf::Any;
use std::collections::BTreeSet;

/// The clusters that access loggers write to.
pub(super) fn of_logs(logs: &[AccessLog], clusters: &mut BTreeSet<String>) {
    for log in logs {
        if let Some(access_log::ConfigType::TypedConfig(config)) = &log.config_type {
            logger(config, clusters);
        }
    }
}

/// The clusters that a tracer sends its spans to.
pub(super) fn of_tracing(tracing: Option<&Tracing>, clusters: &mut BTreeSet<String>) {
    let provider = tracing.and_then(|tracing| tracing.provider.as_ref());
    if let Some(http::ConfigType::TypedConfig(config)) =
        provider.and_then(|provider| provider.config_type.as_ref())
    {
        tracer(config, clusters);
    }
}

fn logger(config: &Any, clusters: &mut BTreeSet<String>) {
    let of_common = |common: Option<CommonGrpcAccessLogConfig>| grpc(common?.grpc_service.as_ref());
    if let Some(log) = unpack::<HttpGrpcAccessLogConfig>(config) {
        clusters.extend(of_common(log.common_config));
    }
    if let Some(log) = unpack::<TcpGrpcAccessLogConfig>(config) {
        clusters.extend(of_common(log.common_config));
    }
    if let Some(log) = unpack::<OpenTelemetryAccessLogConfig>(config) {
        clusters.extend(grpc(log.grpc_service.as_ref()));
        clusters.extend(uri(log.http_service.as_ref()));
        #[expect(deprecated, reason = "written so by who has not moved on")]
        clusters.extend(of_common(log.common_config));
    }
    if let Some(log) = unpack::<FluentdAccessLogConfig>(config) {
        clusters.extend(named(&log.cluster));
    }
}

fn tracer(config: &Any, clusters: &mut BTreeSet<String>) {
    if let Some(tracer) = unpack::<OpenTelemetryConfig>(config) {
        clusters.extend(grpc(tracer.grpc_service.as_ref()));
        clusters.extend(uri(tracer.http_service.as_ref()));
    }
    if let Some(tracer) = unpack::<TraceServiceConfig>(config) {
        clusters.extend(grpc(tracer.grpc_service.as_ref()));
    }
    if let Some(tracer) = unpack::<SkyWalkingConfig>(config) {
        clusters.extend(grpc(tracer.grpc_service.as_ref()));
    }
    if let Some(tracer) = unpack::<ZipkinConfig>(config) {
        clusters.extend(named(&tracer.collector_cluster));
        clusters.extend(uri(tracer.collector_service.as_ref()));
    }
    if let Some(tracer) = unpack::<DatadogConfig>(config) {
        clusters.extend(named(&tracer.collector_cluster));
    }
    if let Some(tracer) = unpack::<LightstepConfig>(config) {
        clusters.extend(named(&tracer.collector_cluster));
    }
    if let Some(tracer) = unpack::<FluentdConfig>(config) {
        clusters.extend(named(&tracer.cluster));
    }
}

fn grpc(service: Option<&GrpcService>) -> Option<String> {
    match service?.target_specifier.as_ref()? {
        TargetSpecifier::EnvoyGrpc(service) => named(&service.cluster_name),
        TargetSpecifier::GoogleGrpc(_) => None,
    }
}

fn uri(service: Option<&HttpService>) -> Option<String> {
    let HttpUpstreamType::Cluster(cluster) =
        service?.http_uri.as_ref()?.http_upstream_type.as_ref()?;
    named(cluster)
}

fn named(cluster: &str) -> Option<String> {
    (!cluster.is_empty()).then(|| cluster.to_owned())
}
