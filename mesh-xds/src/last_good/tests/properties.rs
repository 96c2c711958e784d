//! Over any content: it reads back whole, and no other bytes are taken for it.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

fn resources() -> impl Strategy<Value = Vec<RawResource>> {
    let kind = prop::sample::select(ResourceType::ALL.to_vec());
    let one = (kind, ".{0,12}", ".{0,4}", vec(any::<u8>(), 0..200));
    let one = one.prop_map(|(kind, name, version, body)| {
        RawResource::new(kind, name, version, Bytes::from(body))
    });
    vec(one, 0..8)
}

prop_compose! {
    fn any_last_good()(
        server in ".{0,20}", node in ".{0,20}", seconds in any::<u64>(), resources in resources(),
        roots in vec((".{0,9}", any::<u16>()), 0..3),
    ) -> LastGood {
        let origin = Origin::new(server, &node);
        let roots = roots.into_iter().map(|(authority, port)| Root::new(authority, port));
        let mut last_good = LastGood::new(origin, WallTime::from_unix_seconds(seconds))
            .with_roots(roots.collect());
        for resource in resources {
            // Secrets and doubles are refused, the rest is kept.
            let _refused: Result<(), WriteError> = last_good.push(resource);
        }
        last_good
    }
}

proptest! {
    #[test]
    fn what_is_written_reads_back(last_good in any_last_good()) {
        let file = Bytes::from(write(&last_good, DEFAULT_MAX_BYTES).unwrap());
        prop_assert_eq!(read(&file, last_good.origin(), DEFAULT_MAX_BYTES), Ok(last_good));
    }

    #[test]
    fn no_bytes_panic(bytes in vec(any::<u8>(), 0..400), format in 0_u32..3) {
        let _unframed = read(&Bytes::from(bytes.clone()), &origin(), DEFAULT_MAX_BYTES);
        let _framed = read(&framed(format, &bytes), &origin(), DEFAULT_MAX_BYTES);
    }
}

proptest! {
    // Each case looks at every byte of a file.
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn every_altered_byte_is_refused(last_good in any_last_good(), mask in 1_u8..) {
        let file = write(&last_good, DEFAULT_MAX_BYTES).unwrap();
        for at in 0..file.len() {
            let mut altered = file.clone();
            altered[at] ^= mask;
            let altered = Bytes::from(altered);
            prop_assert!(read(&altered, last_good.origin(), DEFAULT_MAX_BYTES).is_err(), "{}", at);
        }
    }

    #[test]
    fn every_cut_is_refused(last_good in any_last_good()) {
        let file = Bytes::from(write(&last_good, DEFAULT_MAX_BYTES).unwrap());
        for end in 0..file.len() {
            let cut = file.slice(..end);
            prop_assert!(read(&cut, last_good.origin(), DEFAULT_MAX_BYTES).is_err(), "{}", end);
        }
    }
}
