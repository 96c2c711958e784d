//! How large a body may be: two filters of Envoy's. One keeps the whole body first, the other only counts it;
//! here it is counted.

use super::values::checked;
use super::{Kind, message};
use crate::decode::common::Walk;
use envoy_types::pb::envoy::extensions::filters::http::body_size_limit::v3 as pb_limit;
use envoy_types::pb::envoy::extensions::filters::http::buffer::v3 as pb;
use envoy_types::pb::google::protobuf::Any;
use mesh_core::model::{BodySizeLimit, HttpFilterConfig, HttpFilterOverride};
use pb::buffer_per_route::Override;
use std::sync::Arc;

const NAME: &str = "envoy.extensions.filters.http.body_size_limit.v3.BodySizeLimit";

pub(super) const KIND: Kind = Kind { config: NAME, decode: config, route: Some((NAME, route)) };

pub(super) const BUFFER: Kind = Kind {
    config: "envoy.extensions.filters.http.buffer.v3.Buffer",
    decode: buffer,
    route: Some(("envoy.extensions.filters.http.buffer.v3.BufferPerRoute", buffer_route)),
};

fn config(walk: &mut Walk, any: &Any) -> Option<HttpFilterConfig> {
    let message: pb_limit::BodySizeLimit = message(walk, any)?;
    limit(walk, message.max_request_bytes.map(|most| most.value))
}

fn route(walk: &mut Walk, any: &Any) -> Option<HttpFilterOverride> {
    config(walk, any).map(HttpFilterOverride::Config)
}

fn buffer(walk: &mut Walk, any: &Any) -> Option<HttpFilterConfig> {
    let message: pb::Buffer = message(walk, any)?;
    limit(walk, message.max_request_bytes.map(|most| most.value.into()))
}

fn buffer_route(walk: &mut Walk, any: &Any) -> Option<HttpFilterOverride> {
    let message: pb::BufferPerRoute = message(walk, any)?;
    match message.r#override {
        Some(Override::Disabled(true)) => Some(HttpFilterOverride::Disabled),
        Some(Override::Buffer(buffer)) => {
            let most = buffer.max_request_bytes.map(|most| most.value.into());
            let config = walk.at("buffer", |walk| limit(walk, most));
            config.map(HttpFilterOverride::Config)
        }
        // Envoy: `disabled` is only ever true, and one of them is required.
        Some(Override::Disabled(false)) | None => {
            walk.error_at("disabled", "it has to be true, or `buffer` has to be set (Envoy)");
            None
        }
    }
}

fn limit(walk: &mut Walk, most: Option<u64>) -> Option<HttpFilterConfig> {
    let Some(most) = most.filter(|most| *most > 0) else {
        walk.error_at("max_request_bytes", "it has to be more than 0 (Envoy: required)");
        return None;
    };
    checked(walk, HttpFilterConfig::BodySizeLimit(Arc::new(BodySizeLimit::new(most))))
}
