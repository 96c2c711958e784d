//! What a response changes.
//!
//! - The good resources of a response are used even if others are bad (gRFC A46); the answer is then a
//!   NACK that lists the bad ones.
//! - A resource that nobody asked for is not told and makes no NACK, unless it is bad.
//! - A name that comes twice is an error (xDS protocol: servers must not); the first one counts.
//! - Only a response that is whole says what it is without: not one with a resource whose name can't be
//!   read, which may be the one that is missing, and not one of heartbeats alone, which repeats only
//!   what has a time to live.

use super::delta;
use super::error_text::Errors;
use super::message::{Content, Received, Response};
use super::name::canonical;
use super::options::Variant;
use super::record::Step;
use super::sotw;
use super::subscription::Subscription;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Takes in a response.
pub(super) fn apply(
    subscription: &mut Subscription,
    response: &Response,
    variant: Variant,
    step: &mut Step<'_>,
) {
    let mut reading = Reading::default();
    for (index, received) in response.resources.iter().enumerate() {
        reading.take(subscription, received, index, response, variant, step);
    }
    let Reading { mut seen, mut errors, nameless, bodies } = reading;
    let sotw = variant == Variant::StateOfTheWorld;
    if !sotw {
        delta::remove(subscription, &response.removed, &seen, &mut errors, step);
    }
    for error in &response.errors {
        let name = canonical(&error.name);
        // xDS protocol: of a delta response, NOT_FOUND is the same as a removal.
        if error.code == NOT_FOUND && !sotw {
            delta::remove_one(subscription, &name, step);
        } else if let Some(record) = subscription.records.get_mut(&name) {
            record.fail(&name, error.code, &error.message, step);
        }
        seen.insert(name);
    }
    let full = sotw && response.kind.is_full_state();
    let whole = !nameless && (bodies || response.resources.is_empty());
    if full && whole {
        sotw::omit(subscription, &seen, step);
    }
    subscription.stream.nonce = Some(response.nonce.clone());
    subscription.owe_answer(&response.version, errors, &seen, full && whole);
}

/// gRPC's status code NOT_FOUND.
const NOT_FOUND: u32 = 5;

/// What was read of a response so far.
#[derive(Debug, Default)]
struct Reading {
    seen: BTreeSet<Arc<str>>,
    errors: Errors,
    /// A resource has no name.
    nameless: bool,
    /// A resource has a body.
    bodies: bool,
}

impl Reading {
    fn take(
        &mut self,
        subscription: &mut Subscription,
        received: &Received,
        index: usize,
        response: &Response,
        variant: Variant,
        step: &mut Step<'_>,
    ) {
        self.bodies |= received.content != Content::Heartbeat;
        let Some(name) = received.name.as_ref().map(canonical) else {
            self.nameless = true;
            let what = match &received.content {
                Content::Bad(error) => error,
                Content::Good { .. } | Content::Heartbeat => "it has no name",
            };
            self.errors.push(None, format!("resource {index} of the response: {what}").into());
            return;
        };
        if !self.seen.insert(name.clone()) {
            self.errors.push(Some(&name), "it is in this response more than once".into());
            return;
        }
        let record = match subscription.record(&name, step.now) {
            Ok(record) => record,
            Err(too_many) => return self.errors.push(Some(&name), too_many),
        };
        let version = received.version.as_ref().unwrap_or(&response.version);
        let bad = match (&received.content, record) {
            (Content::Good { hash }, Some(record)) => {
                record.accept(&name, (index, *hash), version, received.ttl, step);
                return;
            }
            (Content::Good { .. } | Content::Heartbeat, None) => return,
            (Content::Bad(error), None) => return self.errors.push(Some(&name), error.clone()),
            (Content::Bad(error), Some(record)) => (error.clone(), record),
            (Content::Heartbeat, Some(record)) => {
                match unfounded(received, record.held_version(), variant) {
                    None => return record.set_ttl(&name, received.ttl, step),
                    Some(error) => (error, record),
                }
            }
        };
        let (error, record) = bad;
        record.refuse(&name, &error, version, step);
        self.errors.push(Some(&name), error);
    }
}

/// What is wrong with a heartbeat: there is nothing that it could keep alive.
fn unfounded(received: &Received, held: Option<&Arc<str>>, variant: Variant) -> Option<Arc<str>> {
    let Some(held) = held else {
        return Some("it came without a body, but nothing is held of it: send the body".into());
    };
    let version = received.version.as_ref().filter(|_| variant == Variant::Delta)?;
    (version != held).then(|| {
        format!(
            "it came without a body in version `{version}`, but version `{held}` is held: send the \
             body"
        )
        .into()
    })
}
