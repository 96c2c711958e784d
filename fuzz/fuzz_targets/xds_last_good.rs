//! The last good configuration on disk: whatever the bytes, there is one or an error; what is read is
//! written the same; and the contents are looked at even where the frame does not fit.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mesh_xds::last_good::{DEFAULT_MAX_BYTES, Origin, holds_private_key, read, write};

fuzz_target!(|bytes: &[u8]| {
    let origin = Origin::new("", "");
    check(bytes.to_vec(), &origin);
    check(framed(bytes), &origin);
});

fn check(file: Vec<u8>, origin: &Origin) {
    match read(&file.into(), origin, DEFAULT_MAX_BYTES) {
        Ok(last_good) => {
            let kept = last_good.kept().iter();
            let kept = kept.flat_map(|kept| kept.routes.iter().chain([&kept.listener]));
            let keys = last_good.resources().iter().chain(kept);
            let keys = keys.filter(|one| holds_private_key(&one.body));
            assert_eq!(keys.count(), 0);
            let written = write(&last_good, DEFAULT_MAX_BYTES).expect("it was small enough").into();
            assert_eq!(read(&written, origin, DEFAULT_MAX_BYTES), Ok(last_good));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// A file around the bytes for the empty origin: its own header and checksum around any content.
fn framed(content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).expect("inputs are small");
    let mut file = b"meshgood\x01\0\0\0".to_vec();
    file.extend_from_slice(&length.to_le_bytes());
    file.extend_from_slice(content);
    let checksum = xxhash_rust::xxh64::xxh64(&file, 0);
    file.extend_from_slice(&checksum.to_le_bytes());
    file
}
