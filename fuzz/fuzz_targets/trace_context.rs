//! `traceparent` and `tracestate`: what is read and written reads the same, within the limits.
#![no_main]

use http::HeaderMap;
use libfuzzer_sys::fuzz_target;
use mesh_fuzz::headers;
use mesh_fuzz::trace_context::TraceContext;

fuzz_target!(|bytes: &[u8]| {
    let _alone = TraceContext::parse(bytes);
    let Some((context, state)) = TraceContext::extract(&headers(bytes)) else { return };
    assert!(context.trace_id() != [0; 16]);
    let mut sent = HeaderMap::new();
    context.inject(state.as_ref(), &mut sent);
    assert!(state.as_ref().is_none_or(|state| state.header_value().len() <= 512));
    assert_eq!(TraceContext::extract(&sent), Some((context, state)));
});
