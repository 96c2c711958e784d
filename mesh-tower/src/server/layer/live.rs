//! [`Live`]: a request in progress, as the service's future and then the response's body hold it.

use super::scope::RequestScope;
use std::cell::RefCell;

/// A request in progress, or none any more.
///
/// What is known of a request is large, and moved some ten times on its way through futures and bodies. So it is in
/// memory of its own, which requests that have ended leave to those that come: with many in flight, asking the
/// allocator for it costs as much as the moves.
#[derive(Default)]
pub(super) struct Live(Option<Box<Option<RequestScope>>>);

/// How many requests leave their memory to others, on each thread: some 100 KiB.
const MOST: usize = 256;

/// What is used again is the memory of each.
type Left = Vec<Box<Option<RequestScope>>>;

thread_local! {
    static LEFT: RefCell<Left> = const { RefCell::new(Vec::new()) };
}

impl Live {
    pub(super) fn new(scope: RequestScope) -> Self {
        let left = LEFT.try_with(|left| left.borrow_mut().pop()).ok().flatten();
        Self(Some(match left {
            Some(mut place) => {
                *place = Some(scope);
                place
            }
            None => Box::new(Some(scope)),
        }))
    }

    /// What is known of it.
    pub(super) fn scope(&mut self) -> Option<&mut RequestScope> {
        self.0.as_mut()?.as_mut().as_mut()
    }

    /// It is over: from now on there is none.
    pub(super) fn finish(&mut self) {
        if let Some(scope) = self.scope() {
            scope.finish();
        }
        *self = Self::default();
    }

    pub(super) const fn is_some(&self) -> bool {
        self.0.is_some()
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let Some(mut place) = self.0.take() else { return };
        // Whatever ends with it may begin another.
        *place = None;
        // On a thread that ends nobody needs it.
        let _ended = LEFT.try_with(|left| {
            let mut left = left.borrow_mut();
            if left.len() < MOST {
                left.push(place);
            }
        });
    }
}
