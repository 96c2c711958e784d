//! Whatever happens, in whatever order: the server knows what is watched, every answer is one to the
//! last response, the caller holds what the machine thinks it holds, and no timer is due for ever.

mod model;

use super::super::*;
use proptest::prelude::*;

/// The bytes of one step, as [`model::run`] reads them.
fn step() -> impl Strategy<Value = Vec<u8>> {
    let of = || (any::<u8>(), any::<u8>());
    prop_oneof![
        4 => of().prop_map(|(kind, name)| vec![0, kind, name]),
        3 => of().prop_map(|(kind, name)| vec![1, kind, name]),
        3 => Just(vec![2]),
        6 => response(),
        1 => Just(vec![4]),
        1 => (0..3u8).prop_map(|reason| vec![5, reason]),
        4 => Just(vec![6]),
        3 => (0..30_000u16).prop_map(|millis| {
            let [high, low] = millis.to_be_bytes();
            vec![7, high, low]
        }),
    ]
}

/// Up to three resources of three bytes each, two removed names, and two errors of two bytes each.
fn response() -> impl Strategy<Value = Vec<u8>> {
    (any::<u8>(), 0..48u8).prop_flat_map(|(kind, counts)| {
        let more = counts % 4 * 3 + counts / 4 % 3 + counts / 16 % 3 * 2;
        let more = prop::collection::vec(any::<u8>(), usize::from(more));
        more.prop_map(move |more| [vec![3, kind, counts], more].concat())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]
    #[test]
    fn the_server_knows_what_is_watched_and_the_caller_what_is_held(
        options: u8,
        steps in prop::collection::vec(step(), 0..80),
    ) {
        model::run(&[vec![options], steps.concat()].concat());
    }
}
