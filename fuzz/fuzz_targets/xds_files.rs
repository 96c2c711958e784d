//! Files of Envoy's: whatever the text, there is a configuration or an error; diagnostics lie within the text;
//! what is accepted can be applied, and is read from its bytes as from the text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mesh_core::config::{Bounds, Document, Severity, code_explanation};
use mesh_core::explain::snapshot;
use mesh_xds::decode::{Context, decode};
use mesh_xds::files::read;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut bounds = Bounds::default();
    bounds.nodes = 20_000;
    let files = read(&[Document { name: "fuzz.yaml", text }], &(), &bounds);
    for found in &files.loaded.diagnostics {
        assert!(text.get(found.span.clone()).is_some(), "{found:?}");
        assert!(code_explanation(found.code).is_some() && !found.message.is_empty());
    }
    let refused = files.loaded.diagnostics.iter().any(|found| found.severity == Severity::Error);
    assert_eq!(files.loaded.update.is_none(), refused);
    if let Some(update) = files.loaded.update {
        assert!(snapshot(update).is_ok(), "what is accepted can be applied");
    }
    let mut context = Context::default();
    context.trusted_server = true;
    context.static_secrets = true;
    context.all_listeners = true;
    for resource in files.resources.into_iter().flatten() {
        assert!(decode(resource.kind, &resource.body, &context).resource.is_ok());
    }
});
