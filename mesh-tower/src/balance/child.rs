//! Placing an attempt of a call to an aggregate: in the child that is chosen for it.

use super::future::Choice;
use super::{dropped, nobody, place, request};
use crate::net::{Draw, Net};
use crate::routed::Attempt;
use mesh_core::Timestamp;
use mesh_core::breaker::Resource;
use mesh_core::outcome::Failure;
use mesh_core::state::{PickedChild, PickedIn};
use std::sync::Arc;

/// Picks a child and an endpoint of it, then admits the attempt there: the child's drops and limits count.
#[cold]
pub(super) fn choose(attempt: Attempt, now: Timestamp) -> Choice {
    match attempt.target.pick_child(request(&attempt, now), Draw) {
        PickedChild::Endpoint(picked) => admit(attempt, picked, now),
        PickedChild::Wait => Choice::Wait(attempt),
        PickedChild::Fail(_) if attempt.wait_for_ready => Choice::Wait(attempt),
        PickedChild::Fail(counts) | PickedChild::Gone(counts) => {
            let mut children = attempt.target.children().iter();
            let why = children.find_map(|child| child.cluster().attached().unresolved());
            Choice::Fail(nobody(attempt, counts, why))
        }
    }
}

fn admit(mut attempt: Attempt, picked: PickedIn<Net>, now: Timestamp) -> Choice {
    let failure = match dropped(&mut attempt.drawn, &picked.picker) {
        Some(category) => Some(Failure::Dropped { category }),
        None => {
            let breaker = picked.target.cluster().breaker();
            let place = breaker.try_acquire(attempt.priority(), Resource::Requests);
            place.err().map(Failure::Overflow)
        }
    };
    if let Some(failure) = failure {
        let mut error = attempt.unsent(failure);
        error.target = Some(picked.target);
        return Choice::Fail(error);
    }
    let set = picked.picker.set();
    let Some(endpoint) = set.endpoint(picked.index).map(Arc::clone) else {
        // An index is of its own set.
        picked.target.cluster().breaker().release(attempt.priority(), Resource::Requests);
        return Choice::Wait(attempt);
    };
    attempt.target = picked.target;
    Choice::Picked(place(attempt, set, (picked.index, endpoint), now))
}
