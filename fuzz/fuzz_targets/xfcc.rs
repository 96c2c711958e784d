//! `x-forwarded-client-cert`: what is read is within what came; names that are written come back as they were,
//! and never as another pair.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mesh_core::identity::xfcc::{self, XfccElement};
use mesh_core::identity::{Peer, PeerCertificate};
use std::sync::Arc;

fuzz_target!(|text: &str| {
    if let Ok(elements) = xfcc::parse(text) {
        let names = elements.iter().flat_map(|one| one.uris.iter().chain(&one.by));
        assert!(names.map(String::len).sum::<usize>() <= text.len());
    }
    let mut certificate = PeerCertificate::new(text);
    certificate.uris.push(text.into());
    let peer = Peer::Certified(Arc::new(certificate));
    let written = XfccElement { by: &[text], hash: Some(text.as_bytes()), peer: &peer }.to_string();
    assert!(http::HeaderValue::from_str(&written).is_ok());
    // It is longer than it was, and may be too long.
    if let Ok(read) = xfcc::parse(&written) {
        let [one] = &read[..] else { panic!("{written:?} is one element") };
        assert_eq!((one.uris.len(), one.by.len(), one.dns_names.len()), (1, 1, 0));
        if text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
            assert_eq!((&*one.uris[0], one.subject.as_deref()), (text, Some(text)));
        }
    } else {
        assert!(written.len() > xfcc::MAX_XFCC);
    }
});
