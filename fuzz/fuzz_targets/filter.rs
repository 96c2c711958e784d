//! HTTP filters: what is decoded compiles, is written the same, and what is refused says why.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mesh_core::filter::Chain;
use mesh_core::model::HttpFilter;
use mesh_xds::decode::filter;
use mesh_xds::encode::filter_config;

const TYPES: [&str; 9] = [
    "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
    "envoy.extensions.filters.http.adaptive_concurrency.v3.AdaptiveConcurrency",
    "envoy.extensions.filters.http.admission_control.v3.AdmissionControl",
    "envoy.extensions.filters.http.fault.v3.HTTPFault",
    "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
    "envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute",
    "envoy.extensions.filters.http.buffer.v3.Buffer",
    "envoy.extensions.filters.http.buffer.v3.BufferPerRoute",
    "envoy.extensions.filters.http.body_size_limit.v3.BodySizeLimit",
];

// The first byte is the type.
fuzz_target!(|bytes: &[u8]| {
    let Some((kind, body)) = bytes.split_first() else { return };
    let url = TYPES[usize::from(*kind) % TYPES.len()];
    if let Some(route) = filter::per_route(url, body) {
        assert!(route.config.err().is_none_or(|errors| !errors.is_empty()));
    }
    let Some(decoded) = filter::config(url, body) else { return };
    let config = match decoded.config {
        Ok(config) => config,
        Err(errors) => {
            assert!(!errors.is_empty());
            return;
        }
    };
    let chain = [HttpFilter::new("f", config.clone())];
    Chain::compile(&chain, None).expect("what is accepted compiles");
    if let Some(any) = filter_config(&config) {
        let again = filter::config(&any.type_url, &any.value).expect("the type is known");
        assert_eq!(again.config, Ok(config));
    }
});
