//! The state of the world: every request names all that is wanted.
//!
//! **The wildcard** is written as no names at all where that means everything: LDS and CDS, as long as
//! no name was sent on the stream (xDS protocol: the wildcard). Every server knows that form; `*` is for
//! all other cases, as newer ones do. From "no names" there is no way back to nothing, since "no names"
//! is what nothing looks like too: `*` is sent first, and then nothing.

use super::event::Deletion;
use super::message::Body;
use super::name::WILDCARD;
use super::record::{ResourceState, Step};
use super::subscription::Subscription;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The next request, and whether it asks for what is not known yet.
pub(super) fn request(subscription: &mut Subscription, step: &mut Step<'_>) -> (Body, bool) {
    let version = subscription.version.clone().unwrap_or_default();
    let first_name = !subscription.stream.named;
    if !subscription.is_watched() && subscription.wildcard_sent && first_name {
        subscription.stream.named = true;
        return (Body::StateOfTheWorld { version, names: vec![WILDCARD.into()] }, false);
    }
    let plain = first_name && subscription.named == 0 && subscription.kind.is_full_state();
    let watched = subscription.records.iter().filter(|(_, record)| record.watchers > 0);
    let mut names: Vec<Arc<str>> = watched.map(|(name, _)| name.clone()).collect();
    if subscription.wildcard > 0 && !plain {
        names.push(WILDCARD.into());
        names.sort_unstable();
    }
    subscription.stream.named |= !names.is_empty();
    let unknown = subscription.handle_sent(step);
    (Body::StateOfTheWorld { version, names }, unknown)
}

/// Deletes what a response of the full state is without (xDS protocol: "Deleting Resources").
///
/// Two kinds of absence say nothing. What never came may be younger than the response (gRFC A53: the
/// timer decides). And what the server sent an error for stays away until it comes again (xDS TP3: the
/// error is sent once, and is to be remembered).
pub(super) fn omit(
    subscription: &mut Subscription,
    seen: &BTreeSet<Arc<str>>,
    step: &mut Step<'_>,
) {
    let came = subscription.records.iter().filter(|(name, record)| {
        let came = match record.state {
            ResourceState::Nacked => true,
            ResourceState::ReceivedError => false,
            _ => record.held.is_some(),
        };
        came && !seen.contains(*name)
    });
    let omitted: Vec<Arc<str>> = came.map(|(name, _)| name.clone()).collect();
    for name in &omitted {
        if let Some(record) = subscription.records.get_mut(name) {
            record.delete(name, Deletion::Omitted, step);
            subscription.forget_if_unwatched(name, step);
        }
    }
}
