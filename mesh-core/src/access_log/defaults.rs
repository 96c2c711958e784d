//! The formats that there are without one's own.

use super::format::Format;

/// Envoy's default format, but for `X-ENVOY-ORIGINAL-PATH`, which it prefers to the path: nothing of the mesh writes it, so
/// it is what a caller says. Its `:PATH` has no query here: see [`Format::keep_query`].
pub const DEFAULT_TEXT: &str = concat!(
    r#"[%START_TIME%] "%REQ(:METHOD)% %REQ(:PATH)% %PROTOCOL%" "#,
    r#"%RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% "#,
    r#"%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "#,
    r#""%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%""#,
    "\n",
);

/// A template of JSON with everything that a mesh knows of a call and that is no header of the application's own.
/// Keys that Istio's has are called as there.
pub const DEFAULT_JSON: &str = r#"{
    "attempt": "%MESH(attempt)%",
    "attempts": "%MESH(attempts)%",
    "authority": "%REQ(:AUTHORITY)%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%",
    "duration": "%DURATION%",
    "duration_ms": "%MESH(duration)%",
    "grpc_status": "%GRPC_STATUS_NUMBER%",
    "listener": "%MESH(listener)%",
    "method": "%REQ(:METHOD)%",
    "own_identity": "%MESH(own_identity)%",
    "path": "%REQ(:PATH)%",
    "peer_identity": "%MESH(peer_identity)%",
    "phases_ms": "%MESH(phases)%",
    "policy": "%MESH(policy)%",
    "protocol": "%PROTOCOL%",
    "reason": "%MESH(reason)%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "response_code": "%RESPONSE_CODE%",
    "response_code_details": "%MESH(details)%",
    "response_flags": "%RESPONSE_FLAGS%",
    "route_name": "%ROUTE_NAME%",
    "side": "%MESH(side)%",
    "start_time": "%START_TIME%",
    "trace_id": "%TRACE_ID%",
    "upstream_cluster": "%UPSTREAM_CLUSTER%",
    "upstream_host": "%UPSTREAM_HOST%",
    "user_agent": "%REQ(USER-AGENT)%",
    "virtual_host": "%VIRTUAL_HOST_NAME%",
    "x_forwarded_for": "%REQ(X-FORWARDED-FOR)%"
}"#;

impl Format {
    /// Envoy's default format, as [`DEFAULT_TEXT`] has it.
    #[must_use]
    pub fn default_text() -> Self {
        // A test compiles it.
        Self::text(DEFAULT_TEXT).unwrap_or_default()
    }

    /// Everything that a mesh knows of a call, [`DEFAULT_JSON`].
    #[must_use]
    pub fn default_json() -> Self {
        Self::json(DEFAULT_JSON).unwrap_or_default()
    }
}
