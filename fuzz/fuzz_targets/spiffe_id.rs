//! SPIFFE ids: what is read is written the same and has only what the standard allows; what is refused
//! has its place within the text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mesh_core::identity::{SpiffeId, TrustDomain};

fuzz_target!(|text: &str| {
    match SpiffeId::parse(text) {
        Ok(id) => {
            assert_eq!(id.to_string(), text);
            let domain = id.trust_domain();
            assert_eq!(format!("spiffe://{domain}{}", id.path()), text);
            assert_eq!(TrustDomain::parse(domain.as_str()), Ok(domain));
            let mut segments = id.path().split('/').skip(1);
            assert!(!segments.any(|segment| matches!(segment, "" | "." | "..")));
            assert!(!text.contains(['%', '@', '?', '#', '\\', ' ']) && text.is_ascii());
        }
        Err(error) => assert!(error.at <= text.len() && !error.to_string().is_empty()),
    }
});
