//! What is held is given back exactly once, whatever happens in whatever order.

use super::*;
use crate::model::http_filter::{Fault, FaultDelay, FaultDuration, FaultPercentage};
use crate::model::{AdaptiveConcurrency, AdmissionControl, ConcurrencyLimit};
use proptest::prelude::*;
use std::time::Duration;

/// What may happen to one of several requests.
#[derive(Clone, Copy, Debug)]
enum Event {
    Start,
    DelayOver,
    Response,
    End { cancelled: bool },
    Drop,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        Just(Event::Start),
        Just(Event::DelayOver),
        Just(Event::Response),
        any::<bool>().prop_map(|cancelled| Event::End { cancelled }),
        Just(Event::Drop),
    ]
}

fn everything(max: u32) -> Chain {
    let mut fault = Fault::default();
    fault.delay = Some(FaultDelay {
        duration: FaultDuration::Fixed(Duration::from_millis(1)),
        percentage: FaultPercentage::percent(30),
    });
    let mut limit = ConcurrencyLimit::default();
    limit.max_concurrent_requests = max;
    let adaptive = AdaptiveConcurrency::new(Duration::from_millis(10), Duration::from_millis(100));
    chain(&[
        ("limit", HttpFilterConfig::ConcurrencyLimit(Arc::new(limit))),
        ("fault", HttpFilterConfig::Fault(Arc::new(fault))),
        ("adaptive", HttpFilterConfig::AdaptiveConcurrency(Arc::new(adaptive))),
        ("admission", HttpFilterConfig::AdmissionControl(Arc::new(AdmissionControl::default()))),
    ])
}

proptest! {
    #[test]
    fn permits_are_given_back_exactly_once(
        max in 1_u32..4,
        events in proptest::collection::vec((0_usize..6, event()), 1..200),
    ) {
        let chain = everything(max);
        let mut ways: Vec<Option<Way<'_>>> = (0..6).map(|_| None).collect();
        for (now, (at, event)) in events.into_iter().enumerate() {
            let slot = &mut ways[at];
            match (event, slot.as_mut()) {
                (Event::Start, None) => {
                    let mut way = Way::new(&chain, "/", "");
                    (way.now, way.pass) = (now as u64, Pass::new(now as u64));
                    way.run();
                    *slot = Some(way);
                }
                (Event::Drop, Some(_)) => *slot = None,
                (Event::DelayOver, Some(way)) if way.waits => {
                    way.now = now as u64;
                    way.run_after_delay();
                }
                (Event::Response, Some(way)) => {
                    way.now = now as u64;
                    way.answer(200, "");
                }
                (Event::End { cancelled }, Some(way)) => {
                    way.now = now as u64;
                    way.end(End { cancelled, ..End::default() });
                }
                (Event::Start | Event::DelayOver, Some(_)) | (_, None) => {}
            }
            // Each request is inside of at most three, and none is when nobody is there.
            let there = ways.iter().flatten().count() as u32;
            prop_assert!(chain.inside() <= 3 * there);
        }
        // Another would find all places free.
        ways.clear();
        prop_assert_eq!(chain.inside(), 0);
    }
}

#[test]
fn an_end_gives_back_at_once_and_a_second_does_nothing() {
    let chain = everything(1);
    let mut way = Way::new(&chain, "/", "");
    way.pass = Pass::new(3);
    way.run();
    assert!(chain.inside() >= 1);
    way.end(End::default());
    assert_eq!(chain.inside(), 0);
    way.end(End::default());
    drop(way);
    assert_eq!(chain.inside(), 0);
}
