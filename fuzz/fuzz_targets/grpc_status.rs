//! `grpc-status` of headers and trailers: what is read maps to an HTTP status.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mesh_core::outcome::{grpc_status, grpc_to_http};
use mesh_fuzz::headers;

fuzz_target!(|lines: &[u8]| {
    let headers = headers(lines);
    if let Some(status) = grpc_status(&headers) {
        assert!((100..600).contains(&grpc_to_http(status)), "{status}");
        assert!(headers.contains_key("grpc-status"));
    }
});
