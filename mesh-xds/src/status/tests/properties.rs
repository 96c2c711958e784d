//! Whatever happens: what is shown is what the protocol says of what is watched or held, and the counts
//! are over that.

use super::{Run, cache_state};
use crate::protocol::Variant;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn event() -> impl Strategy<Value = String> {
    let kind = || prop::sample::select(vec!["LDS", "EDS"]);
    let name = || prop::sample::select(vec!["a", "b", "c"]);
    let content = prop::sample::select(vec!["=1", "=2", "=!bad", "=~", "^5", "^14", "^0"]);
    let part = prop_oneof![
        4 => (name(), content).prop_map(|(name, content)| format!(" {name}{content}")),
        1 => name().prop_map(|name| format!(" -{name}")),
    ];
    prop_oneof![
        4 => (kind(), name()).prop_map(|(kind, name)| format!("watch {kind} {name}")),
        3 => (kind(), name()).prop_map(|(kind, name)| format!("unwatch {kind} {name}")),
        3 => Just("connected".to_owned()),
        1 => Just("ended".to_owned()),
        1 => Just("failed x".to_owned()),
        3 => Just("timer".to_owned()),
        6 => (kind(), 1..4u8, prop::collection::vec(part, 0..4))
            .prop_map(|(kind, version, parts)| format!("{kind} v{version}{}", parts.concat())),
    ]
}

/// Found by `the_copy_is_the_original`: silence makes a name absent, and ends the stream, with which it is unknown
/// again.
#[test]
fn a_stream_that_is_given_up_takes_its_silence_along() {
    let mut run = Run::new(Variant::StateOfTheWorld);
    for (at, event) in [(1, "watch LDS a"), (2, "connected"), (100, "timer")] {
        run.event(at, event);
    }
    let shown: Vec<_> = run.status.resources().into_iter().map(|of| of.state).collect();
    let said: Vec<_> = run.protocol.resources().map(|found| found.state).collect();
    assert_eq!(shown, said);
}

proptest! {
    #[test]
    fn the_copy_is_the_original(
        delta: bool,
        events in prop::collection::vec((0..20u64, any::<bool>(), event()), 0..60),
    ) {
        let variant = if delta { Variant::Delta } else { Variant::StateOfTheWorld };
        let mut run = Run::new(variant);
        let mut at = 1;
        for (pause, take, event) in events {
            at += pause;
            run.event(at, &format!("{}{event}", if take { "" } else { "~" }));
            let found = run.protocol.resources();
            let found = found.filter(|found| found.watched || found.version.is_some());
            let said: Vec<_> = found
                .map(|found| {
                    let error = found.error.map(|(error, version)| (error.clone(), version.cloned()));
                    (found.kind, found.name.clone(), found.state, found.version.cloned(), error)
                })
                .collect();
            let dump = run.status.resources();
            let mut counts = BTreeMap::<_, u64>::new();
            for of in &dump {
                prop_assert_eq!(of.body.is_some(), of.version.is_some());
                prop_assert_eq!(of.last_updated.is_some(), of.version.is_some());
                let state = cache_state(of.state, of.version.is_some());
                *counts.entry((of.authority.clone(), of.kind, state)).or_default() += 1;
            }
            let shown: Vec<_> = dump
                .into_iter()
                .map(|of| {
                    let error = of.error.map(|error| (error.details, error.version));
                    (of.kind, of.name, of.state, of.version, error)
                })
                .collect();
            prop_assert_eq!(shown, said, "after {}", event);
            let kept = run.status.counts().into_iter();
            let kept = kept.map(|of| ((of.authority, of.kind, of.cache_state), of.count)).collect();
            prop_assert_eq!(counts, kept);
        }
    }
}
