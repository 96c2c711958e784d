//! Paths of requests: one path is made of all spellings, which stays what it is, and never goes up.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mesh_core::inbound::path::{NormalizedPath, normalize};
use mesh_core::model::filter_chain::PathNormalization;

fuzz_target!(|text: &str| {
    let rules = PathNormalization::default();
    let Ok(normalized) = normalize(text, &rules) else { return };
    let path = match normalized {
        NormalizedPath::Unchanged => text.to_owned(),
        NormalizedPath::Changed(path) | NormalizedPath::Redirect(path) => path,
    };
    assert_eq!(normalize(&path, &rules), Ok(NormalizedPath::Unchanged));
    if path.starts_with('/') {
        let end = path.find(['?', '#']).unwrap_or(path.len());
        assert!(!path[..end].contains("//"));
        assert!(!path[..end].split('/').any(|segment| matches!(segment, "." | "..")));
    }
});
