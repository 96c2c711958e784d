//! Faults (gRFC A33).

use super::values::{RUNTIME, checked};
use super::{Kind, message};
use crate::decode::common::{self, Walk, ignored, refused};
use crate::decode::route::matcher;
use envoy_types::pb::envoy::extensions::filters::common::fault::v3 as pb_common;
use envoy_types::pb::envoy::extensions::filters::http::fault::v3 as pb;
use envoy_types::pb::envoy::r#type::v3::{FractionalPercent, fractional_percent::DenominatorType};
use envoy_types::pb::google::protobuf::{Any, UInt32Value};
use http::StatusCode;
use mesh_core::model::http_filter::{
    Fault, FaultAbort, FaultDelay, FaultDenominator, FaultDuration, FaultPercentage, FaultStatus,
};
use mesh_core::model::{HttpFilterConfig, HttpFilterOverride};
use pb::fault_abort::ErrorType;
use pb_common::fault_delay::FaultDelaySecifier;
use std::sync::Arc;

const NAME: &str = "envoy.extensions.filters.http.fault.v3.HTTPFault";

pub(super) const KIND: Kind = Kind { config: NAME, decode: config, route: Some((NAME, route)) };

fn route(walk: &mut Walk, any: &Any) -> Option<HttpFilterOverride> {
    config(walk, any).map(HttpFilterOverride::Config)
}

fn config(walk: &mut Walk, any: &Any) -> Option<HttpFilterConfig> {
    let message: pb::HttpFault = message(walk, any)?;
    let before = walk.errors();
    refused!(walk, message, {
        upstream_cluster: "a server's requests go to no cluster: leave it out",
    });
    ignored!(walk, message, {
        response_rate_limit: "responses are not slowed",
        delay_percent_runtime: RUNTIME,
        abort_percent_runtime: RUNTIME,
        delay_duration_runtime: RUNTIME,
        abort_http_status_runtime: RUNTIME,
        max_active_faults_runtime: RUNTIME,
        response_rate_limit_percent_runtime: RUNTIME,
        abort_grpc_status_runtime: RUNTIME,
        disable_downstream_cluster_stats: "there are no such statistics",
        filter_metadata: "it is for access logs of faults",
    });
    let mut fault = Fault::default();
    let delay = message.delay.as_ref();
    fault.delay = delay.and_then(|delay| walk.at("delay", |walk| self::delay(walk, delay)));
    let abort = message.abort.as_ref();
    fault.abort = abort.and_then(|abort| walk.at("abort", |walk| self::abort(walk, abort)));
    fault.headers = matcher::headers(walk, "headers", &message.headers);
    fault.downstream_nodes = message.downstream_nodes.iter().map(|node| (&**node).into()).collect();
    fault.max_active_faults = message.max_active_faults.as_ref().map(|most| most.value);
    if walk.errors() > before {
        return None;
    }
    checked(walk, HttpFilterConfig::Fault(Arc::new(fault)))
}

fn delay(walk: &mut Walk, message: &pb_common::FaultDelay) -> Option<FaultDelay> {
    let percentage = percentage(walk, message.percentage.as_ref())?;
    let duration = match &message.fault_delay_secifier {
        Some(FaultDelaySecifier::FixedDelay(delay)) => {
            FaultDuration::Fixed(common::positive_duration(walk, "fixed_delay", Some(delay))?)
        }
        Some(FaultDelaySecifier::HeaderDelay(_)) => FaultDuration::Header,
        None => {
            walk.error_at("fixed_delay", "there is no delay: set it, or `header_delay`");
            return None;
        }
    };
    Some(FaultDelay { duration, percentage })
}

fn abort(walk: &mut Walk, message: &pb::FaultAbort) -> Option<FaultAbort> {
    let percentage = percentage(walk, message.percentage.as_ref())?;
    let status = match message.error_type {
        // Envoy: `gte: 200, lt: 600`.
        Some(ErrorType::HttpStatus(status)) => {
            let status = common::uint32(
                walk,
                "http_status",
                Some(&UInt32Value { value: status }),
                200..=599,
            )?;
            FaultStatus::Http(
                u16::try_from(status).ok().and_then(|s| StatusCode::from_u16(s).ok())?,
            )
        }
        Some(ErrorType::GrpcStatus(status)) => FaultStatus::Grpc(status),
        Some(ErrorType::HeaderAbort(_)) => FaultStatus::Header,
        None => {
            walk.error_at("http_status", "there is no status: set it, or `grpc_status`");
            return None;
        }
    };
    Some(FaultAbort { status, percentage, response_body: (&*message.response_body).into() })
}

/// Nothing said is none.
fn percentage(walk: &mut Walk, message: Option<&FractionalPercent>) -> Option<FaultPercentage> {
    let Some(message) = message else { return Some(FaultPercentage::percent(0)) };
    let field = "percentage.denominator";
    let denominator = common::enumeration::<DenominatorType>(walk, field, message.denominator)?;
    Some(FaultPercentage {
        numerator: message.numerator,
        denominator: match denominator {
            DenominatorType::Hundred => FaultDenominator::Hundred,
            DenominatorType::TenThousand => FaultDenominator::TenThousand,
            DenominatorType::Million => FaultDenominator::Million,
        },
    })
}
