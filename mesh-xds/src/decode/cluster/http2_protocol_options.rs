//! `http2_protocol_options`: streams and PINGs.

use crate::decode::common::{self, Walk};
use envoy_types::pb::envoy::config::core::v3::{Http2ProtocolOptions, KeepaliveSettings};
use envoy_types::pb::google::protobuf;
use mesh_core::model::ConnectionOptions;
use std::time::Duration;

/// Envoy: the most streams of a connection.
const MOST_STREAMS: u32 = 2_147_483_647;
/// Envoy: the shortest keepalive times.
const LEAST_KEEPALIVE: Duration = Duration::from_millis(1);

/// Reads the options of HTTP/2 into `connection`.
pub(super) fn decode(
    walk: &mut Walk,
    message: &Http2ProtocolOptions,
    connection: &mut ConnectionOptions,
) {
    walk.at("http2_protocol_options", |walk| {
        report(walk, message);
        let most = message.max_concurrent_streams.as_ref();
        let most = common::uint32(walk, "max_concurrent_streams", most, 1..=MOST_STREAMS);
        connection.max_concurrent_streams = most.unwrap_or(connection.max_concurrent_streams);
        if let Some(settings) = &message.connection_keepalive {
            walk.at("connection_keepalive", |walk| keepalive(walk, settings, connection));
        }
    });
}

#[expect(deprecated, reason = "control planes still set `stream_error_on_invalid_http_messaging`")]
fn report(walk: &mut Walk, message: &Http2ProtocolOptions) {
    for (set, field) in [
        (message.hpack_table_size.is_some(), "hpack_table_size"),
        (message.initial_stream_window_size.is_some(), "initial_stream_window_size"),
        (message.initial_connection_window_size.is_some(), "initial_connection_window_size"),
        (message.allow_connect, "allow_connect"),
        (message.allow_metadata, "allow_metadata"),
        (message.max_outbound_frames.is_some(), "max_outbound_frames"),
        (message.max_outbound_control_frames.is_some(), "max_outbound_control_frames"),
        (
            message.max_consecutive_inbound_frames_with_empty_payload.is_some(),
            "max_consecutive_inbound_frames_with_empty_payload",
        ),
        (
            message.max_inbound_priority_frames_per_stream.is_some(),
            "max_inbound_priority_frames_per_stream",
        ),
        (
            message.max_inbound_window_update_frames_per_data_frame_sent.is_some(),
            "max_inbound_window_update_frames_per_data_frame_sent",
        ),
        (message.stream_error_on_invalid_http_messaging, "stream_error_on_invalid_http_messaging"),
        (
            message.override_stream_error_on_invalid_http_message.is_some(),
            "override_stream_error_on_invalid_http_message",
        ),
        (!message.custom_settings_parameters.is_empty(), "custom_settings_parameters"),
        (message.use_oghttp2_codec.is_some(), "use_oghttp2_codec"),
        (message.max_metadata_size.is_some(), "max_metadata_size"),
        (message.enable_huffman_encoding.is_some(), "enable_huffman_encoding"),
        (message.max_header_field_size_kb.is_some(), "max_header_field_size_kb"),
        (message.disallow_obs_text.is_some(), "disallow_obs_text"),
        (message.stream_reset_burst.is_some(), "stream_reset_burst"),
        (message.stream_reset_rate.is_some(), "stream_reset_rate"),
    ] {
        walk.ignored(set, field, "windows, table sizes and flood limits of HTTP/2 are built in");
    }
}

fn keepalive(walk: &mut Walk, settings: &KeepaliveSettings, connection: &mut ConnectionOptions) {
    walk.ignored(
        settings.interval_jitter.is_some(),
        "interval_jitter",
        "intervals have no jitter: connections start at different times",
    );
    walk.ignored(
        settings.connection_idle_interval.is_some(),
        "connection_idle_interval",
        "a connection is not probed before a call",
    );
    if let Some(interval) = time(walk, "interval", settings.interval.as_ref()) {
        connection.keepalive_interval = interval;
        // Envoy sends PINGs whether or not there are streams.
        connection.keepalive_while_idle = true;
    }
    if settings.timeout.is_none() {
        walk.error_at("timeout", "it is missing (Envoy: required)");
    }
    let timeout = time(walk, "timeout", settings.timeout.as_ref());
    connection.keepalive_timeout = timeout.unwrap_or(connection.keepalive_timeout);
}

/// Envoy: at least a millisecond.
fn time(walk: &mut Walk, field: &str, value: Option<&protobuf::Duration>) -> Option<Duration> {
    let time = common::duration(walk, field, value)?;
    if time < LEAST_KEEPALIVE {
        walk.error_at(field, format_args!("{time:?} is less than 1 ms (Envoy)"));
        return None;
    }
    Some(time)
}
