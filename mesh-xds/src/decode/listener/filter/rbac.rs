//! RBAC (gRFC A41).

use super::{Kind, message};
use crate::decode::common::Walk;
use crate::decode::rbac;
use envoy_types::pb::google::protobuf::Any;
use mesh_core::model::{HttpFilterConfig, HttpFilterOverride};
use std::sync::Arc;

pub(super) const KIND: Kind = Kind {
    config: rbac::HTTP,
    decode: config,
    route: Some(("envoy.extensions.filters.http.rbac.v3.RBACPerRoute", route)),
};

fn config(walk: &mut Walk, any: &Any) -> Option<HttpFilterConfig> {
    let message = message(walk, any)?;
    rbac::http_filter(walk, &message).map(|filter| HttpFilterConfig::Rbac(Arc::new(filter)))
}

fn route(walk: &mut Walk, any: &Any) -> Option<HttpFilterOverride> {
    let message = message(walk, any)?;
    Some(match rbac::route_filter(walk, &message)? {
        None => HttpFilterOverride::Disabled,
        Some(filter) => HttpFilterOverride::Config(HttpFilterConfig::Rbac(Arc::new(filter))),
    })
}
