//! Delta: requests and responses hold what changed.
//!
//! The first request of a type on a stream says what is held, so that the server sends only what is
//! other and removes what is gone. A value that is held but not good is named without its version: the
//! server must send that resource again, or remove it.

use super::error_text::Errors;
use super::event::Deletion;
use super::message::Body;
use super::name::{WILDCARD, canonical};
use super::record::Step;
use super::subscription::Subscription;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The next request, and whether it asks for what is not known yet.
pub(super) fn request(subscription: &mut Subscription, step: &mut Step<'_>) -> (Body, bool) {
    let first = !subscription.stream.asked;
    let mut initial_versions = BTreeMap::new();
    if first {
        let held = subscription.records.iter();
        let versions =
            held.filter_map(|(name, record)| Some((name.clone(), record.initial_version()?)));
        initial_versions.extend(versions);
    }
    let (mut subscribe, mut unsubscribe): (Vec<_>, Vec<_>) =
        subscription.changed.iter().cloned().partition(|name| {
            subscription.records.get(name).is_some_and(|record| record.watchers > 0)
        });
    // xDS protocol: a first request without names is one for everything, of LDS and CDS.
    let plain = first && subscribe.is_empty() && subscription.kind.is_full_state();
    let wildcard = WILDCARD.into();
    match (subscription.wildcard > 0, subscription.wildcard_sent) {
        (true, false) if !plain => subscribe.push(wildcard),
        (false, true) => unsubscribe.push(wildcard),
        _ => {}
    }
    subscribe.sort_unstable();
    unsubscribe.sort_unstable();
    let unknown = subscription.handle_sent(step);
    (Body::Delta { subscribe, unsubscribe, initial_versions }, unknown)
}

/// Deletes what a response removes; what it holds too is an error.
pub(super) fn remove(
    subscription: &mut Subscription,
    removed: &[Arc<str>],
    seen: &BTreeSet<Arc<str>>,
    errors: &mut Errors,
    step: &mut Step<'_>,
) {
    for name in removed {
        let name = &canonical(name);
        if seen.contains(name) {
            // Envoy: "duplicate name … found in the union of added+removed resources".
            errors.push(Some(name), "it is both sent and removed in this response".into());
        } else {
            remove_one(subscription, name, step);
        }
    }
}

/// Deletes one resource.
pub(super) fn remove_one(subscription: &mut Subscription, name: &Arc<str>, step: &mut Step<'_>) {
    if let Some(record) = subscription.records.get_mut(name) {
        record.delete(name, Deletion::Removed, step);
        subscription.forget_if_unwatched(name, step);
    }
}
