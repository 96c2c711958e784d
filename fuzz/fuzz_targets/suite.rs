//! Files of expectations, and what they ask: whatever the text, there are tests or an error with its
//! place, and every test runs against any configuration.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mesh_core::config::{Bounds, Document, Suite, decode, load};
use mesh_core::explain::snapshot;

const CONFIGURATION: &str = "version: 1
virtual_hosts:
  reviews:
    routes:
      - { name: old, match: { path: /old }, redirect: { path: /new, code: 308 } }
      - { name: some, match: { headers: { x-user: { regex: 'qa-.*' } } }, cluster: v2 }
      - { name: all, match: { prefix: /api }, split: { v1: 90, v2: 10 }, split_by: { cookie: c } }
clusters:
  v1: { endpoints: ['127.0.0.1:81'] }
  v2: { dns: 'v2:80' }
";

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = decode(0, bytes) else { return };
    let document = Document { name: "tests.yaml", text };
    let suite = match Suite::read(&document, &(), &Bounds::default()) {
        Ok(suite) => suite,
        Err(diagnostics) => {
            assert!(!diagnostics.is_empty());
            assert!(diagnostics.iter().all(|d| text.get(d.span.clone()).is_some()));
            return;
        }
    };
    let loaded =
        load(&[Document { name: "mesh.yaml", text: CONFIGURATION }], &(), &Bounds::default());
    let snapshot = snapshot(loaded.update.expect("a good file")).expect("a good configuration");
    for result in suite.run(&document, &snapshot) {
        let _text = result.explained.to_string();
        for difference in &result.differences {
            assert!(text.get(difference.span.clone()).is_some(), "{difference:?}");
        }
    }
});
