//! `x-envoy-*` request headers: read from whoever is trusted and taken off, left alone otherwise.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mesh_core::call::headers::parse_overrides;
use mesh_fuzz::headers;

fuzz_target!(|lines: &[u8]| {
    let mut headers = headers(lines);
    let (believed, strip) = parse_overrides(&headers, false);
    assert!(believed.is_none() && strip.is_empty());
    let (overrides, strip) = parse_overrides(&headers, true);
    assert_eq!(overrides.is_none(), strip.is_empty());

    let others = headers.len();
    let taken: usize = strip.iter().map(|name| headers.get_all(name).iter().count()).sum();
    strip.apply(&mut headers);
    assert_eq!(headers.len(), others - taken);
    let (overrides, strip) = parse_overrides(&headers, true);
    assert!(overrides.is_none() && strip.is_empty());
});
