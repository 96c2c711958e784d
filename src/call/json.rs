//! The same for programs: one object. Keys may be added; those that are there stay.

use super::body::Kept;
use super::exchange::{Came, Failed, Received};
use super::report::causes;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use mesh_core::WallTime;
use mesh_tower::observe::{
    AttemptOutcome, AttemptReport, CallReport, ConnectionReport, Phases, TlsReport,
};
use serde_json::{Value, json};
use std::time::Duration;

/// All that is known of a call; durations are in milliseconds.
pub(super) fn object(came: &Came, kept: Option<&Kept>, include: bool, now: WallTime) -> Value {
    let mut explained = came.explained.clone();
    explained.redact_credentials();
    // What is printed as JSON can be read as such.
    let decision = serde_json::from_str(&explained.to_json().to_string()).unwrap_or(Value::Null);
    let report = came.report();
    let attempts = report.map(|report| report.attempts.as_slice()).unwrap_or_default();
    let attempts: Value = attempts.iter().map(|of| attempt(of, now)).collect();
    let response = came.received.as_ref().map(|received| response(came, received, kept, include));
    json!({
        "decision": decision,
        "attempts": attempts,
        "times": report.map(times),
        "retry_stop": report.and_then(|report| report.retry_stop).map(|stop| stop.code()),
        "bytes_sent": came.sent,
        "response": response,
        "failure": came.failed.as_ref().map(failure),
    })
}

fn times(report: &CallReport) -> Value {
    json!({
        "head_ms": millis(report.duration),
        "body_ms": report.body_duration().map(millis),
        "phases_ms": phases(&report.phases),
    })
}

fn attempt(report: &AttemptReport, now: WallTime) -> Value {
    let (status, grpc_status) = match &report.outcome {
        AttemptOutcome::Response { status, grpc_status } => (Some(status.as_u16()), *grpc_status),
        _ => (None, None),
    };
    json!({
        "cluster": report.cluster.as_deref(),
        "endpoint": report.endpoint.as_ref().map(ToString::to_string),
        "status": status,
        "grpc_status": grpc_status,
        "flag": report.outcome.flag().map(|flag| flag.as_str()),
        "code": report.outcome.code(),
        "started_ms": millis(report.started),
        "duration_ms": millis(report.duration),
        "phases_ms": phases(&report.phases),
        "connection": report.connection.as_ref().map(|of| connection(of, now)),
    })
}

fn connection(report: &ConnectionReport, now: WallTime) -> Value {
    json!({
        "version": format!("{:?}", report.version),
        "reused": report.reused,
        "tls": report.tls.as_deref().map(|of| tls(of, now)),
    })
}

fn tls(report: &TlsReport, now: WallTime) -> Value {
    json!({
        "version": report.version,
        "cipher": report.cipher,
        "mutual": report.mutual,
        "peer": &*report.peer,
        "peer_until": report.peer_until.to_string(),
        "peer_left_s": report.peer_until.saturating_duration_since(now).as_secs(),
    })
}

fn response(came: &Came, received: &Received, kept: Option<&Kept>, include: bool) -> Value {
    let mut object = json!({
        "status": received.head.status.as_u16(),
        "version": format!("{:?}", received.head.version),
        "grpc_status": came.grpc_status(),
        "grpc_message": came.grpc_message(),
        "bytes": received.bytes,
    });
    if include {
        object["headers"] = headers(&received.head.headers);
        object["trailers"] = received.trailers.as_ref().map_or(Value::Null, headers);
    }
    if let Some(kept) = kept {
        object["body"] = body(kept);
    }
    object
}

/// The beginning of a text ends with a whole letter.
fn body(kept: &Kept) -> Value {
    let text = match std::str::from_utf8(&kept.bytes) {
        Ok(text) => Some(text),
        Err(error) if kept.is_cut && error.error_len().is_none() => {
            std::str::from_utf8(&kept.bytes[..error.valid_up_to()]).ok()
        }
        Err(_) => None,
    };
    match text {
        Some(text) => json!({ "text": text, "is_cut": kept.is_cut }),
        None => json!({ "base64": STANDARD.encode(&kept.bytes), "is_cut": kept.is_cut }),
    }
}

/// Names and values in their order, for a name may have several.
fn headers(headers: &HeaderMap) -> Value {
    let values = headers.iter();
    values
        .map(|(name, value)| json!([name.as_str(), value.as_bytes().escape_ascii().to_string()]))
        .collect()
}

fn failure(failed: &Failed) -> Value {
    match failed {
        Failed::Mesh(error) => json!({
            "flag": error.response_flag().as_str(),
            "extra_flag": error.extra_flag().map(|flag| flag.as_str()),
            "code": error.code(),
            "message": error.to_string(),
            "causes": causes(error),
            "http_status": error.http_status().as_u16(),
            "grpc_status": error.grpc_status(),
            "next": format!("mesh explain {}", error.code()),
        }),
        Failed::Late(limit) => json!({ "code": "late", "limit_ms": millis(*limit) }),
    }
}

fn phases(phases: &Phases) -> Value {
    let told = phases.iter();
    Value::Object(told.map(|(phase, of)| (phase.as_str().to_owned(), millis(of).into())).collect())
}

/// To the microsecond.
pub(super) fn millis(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1_000.0
}
