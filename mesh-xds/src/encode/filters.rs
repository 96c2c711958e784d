//! The HTTP filters of a server, and what routes say of them.
//!
//! A filter that says what Envoy has no field for (`filter.rs`) is sent with a type that nobody has: who gets it refuses the
//! listener, where leaving the filter out would let requests through.

use super::filter::{filter_config, filter_override};
use super::wrap::any;
use envoy_types::pb::envoy::extensions::filters::http::router::v3::Router;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpFilter as PbFilter, http_filter::ConfigType,
};
use envoy_types::pb::google::protobuf::Any;
use mesh_core::model::{HttpFilter, HttpFilterConfig, HttpFilterOverride, HttpFilterOverrides};
use std::collections::HashMap;

/// The filters and, last, the router (gRFC A39).
pub(super) fn chain(models: &[HttpFilter]) -> Vec<PbFilter> {
    let filters = models.iter().map(|model| PbFilter {
        disabled: model.disabled,
        ..filter(&model.name, config(&model.config))
    });
    let router = filter("envoy.filters.http.router", any(&Router::default()));
    filters.chain([router]).collect()
}

fn filter(name: &str, config: Any) -> PbFilter {
    let config_type = Some(ConfigType::TypedConfig(config));
    PbFilter { name: name.to_owned(), config_type, ..PbFilter::default() }
}

fn config(model: &HttpFilterConfig) -> Any {
    filter_config(model).unwrap_or_else(unknown)
}

fn unknown() -> Any {
    Any { type_url: "type.googleapis.com/mesh.UnknownFilter".to_owned(), value: Vec::new() }
}

/// What a level says of filters (Envoy: `typed_per_filter_config`).
pub(super) fn overrides(models: &HttpFilterOverrides) -> HashMap<String, Any> {
    models.iter().map(|(name, model)| (name.to_string(), override_of(model))).collect()
}

fn override_of(model: &HttpFilterOverride) -> Any {
    filter_override(model).unwrap_or_else(unknown)
}
