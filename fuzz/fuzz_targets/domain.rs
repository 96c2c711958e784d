//! Domain patterns: what is read and written reads the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mesh_core::model::Domain;

fuzz_target!(|text: &str| {
    if let Ok(domain) = Domain::parse(text) {
        let written = domain.to_string();
        assert_eq!(written, text.to_ascii_lowercase());
        assert_eq!(Domain::parse(&written), Ok(domain));
    }
});
