//! The URL that `mesh explain` is asked about: a request whose head deciders can read, or an error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mesh_core::explain::Request;

fuzz_target!(|url: &str| {
    match Request::new(url) {
        Ok(request) => {
            let head = request.head();
            assert!(!head.authority.contains(['/', '@', '?', '#']), "{}", head.authority);
            assert!(!head.path_and_query.contains('#'));
            assert!(head.path_and_query.starts_with(head.path()));
            let _text = request.to_string();
        }
        Err(invalid) => assert!(!invalid.to_string().is_empty()),
    }
});
