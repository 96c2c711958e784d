//! `mesh.yaml`: whatever the text, there is a configuration or an error, every place can be shown,
//! and what is accepted can be compiled.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mesh_core::config::{Bounds, Document, Severity, code_explanation, decode, load};
use mesh_core::router::Router;
use std::collections::BTreeMap;
use std::sync::Arc;

fuzz_target!(|bytes: &[u8]| {
    let text = match decode(0, bytes) {
        Ok(text) => text,
        Err(diagnostic) => return assert!(diagnostic.span.end <= bytes.len()),
    };
    let loaded = load(&[Document { name: "mesh.yaml", text }], &(), &Bounds::default());
    let refused = loaded.diagnostics.iter().any(|d| d.severity == Severity::Error);
    assert_eq!(loaded.update.is_none(), refused);
    for diagnostic in &loaded.diagnostics {
        assert!(text.get(diagnostic.span.clone()).is_some(), "{diagnostic:?}");
        assert!(diagnostic.line >= 1 && diagnostic.column >= 1);
        assert!(code_explanation(diagnostic.code).is_some(), "{diagnostic:?}");
        for label in &diagnostic.labels {
            assert!(text.get(label.span.clone()).is_some(), "{label:?}");
        }
    }
    if let Some(update) = loaded.update {
        let slots: BTreeMap<Arc<str>, u32> = update.clusters.keys().cloned().zip(0..).collect();
        let router = Router::compile(&update.route_configuration, &slots, None);
        let router = router.expect("what the reader accepts, the router compiles");
        // Every cluster that is named is there. What answers by itself names none.
        assert!(router.targets().all(|target| target.slot.is_some() == target.cluster.is_some()));
    }
});
