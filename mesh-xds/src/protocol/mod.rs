//! The stream to one xDS server, as a machine without time, transport or bytes.
//!
//! A client of xDS has to keep apart what outlives a stream and what does not, say what it wants in two
//! dialects, answer for what it took, and know silence from absence. Each rule is small, and their
//! order is where clients go wrong: a version that is forgotten with the stream, a nonce that is not, a
//! resource that is "absent" because the server is down. So one machine, [`Protocol`], decides. What
//! happened goes in, with the time; requests to send, actions to take and events to pass on come out.
//!
//! ```text
//!   handle_watch, handle_unwatch ──▶ ┌──────────────────────────────┐ ──▶ poll_request   to the server
//!   handle_connected, handle_closed ▶│ per type: subscription.rs    │ ──▶ poll_action    Connect, Close
//!   handle_response ────────────────▶│ per resource: record.rs      │ ──▶ poll_event     to the watchers
//!   handle_timeout ─────────────────▶│ the stream: connection.rs    │ ──▶ poll_timeout   when, and why
//!                                    └──────────────────────────────┘
//!
//!   of the stream: nonce, node sent, names sent, timers of absence, the answer that is owed
//!   beyond it:     watches, accepted version, values that are held and their versions, time to live
//! ```
//!
//! **Driving it.** After whatever is handed in, take all of [`Protocol::poll_action`], while the
//! transport has room all of [`Protocol::poll_request`], then all of [`Protocol::poll_event`], and set
//! one timer to [`Protocol::poll_timeout`]. A request that is not taken yet is not made yet: what comes
//! until then goes into it, with the latest nonce.
//!
//! **The values** stay with the caller, who finds a changed one by its index in the response and drops
//! one when told so: [`Event::Deleted`], [`Event::Refused`] and [`Event::ServerError`] if not `kept`,
//! and [`Event::Forgotten`]. A later watcher of the same name is served from there: nothing is told
//! again for it.
//!
//! **The rules** are in the files that make them: names sent and taken back (`subscription.rs`), the two
//! variants (`sotw.rs`, `delta.rs`), what a response changes (`apply.rs`), what is known of a resource
//! (`record.rs`), when there is a stream (`connection.rs`). What is decided here:
//!
//! - Every response is answered, also one of a type without a watch (grpc-java#11232); the one exception
//!   is a response of LDS or CDS when nothing of it was asked for, as the answer would ask for all.
//! - Answers and changes of one type go in one request. If two responses wait for their answer, it is
//!   one, with the nonce of the second; what was wrong with the first stays wrong, unless the second
//!   repeats it.
//! - What was learned is kept while there is no stream; watches come and go, and only what is still
//!   watched is asked for on the next (gRFC A57).
//! - A stream on which something unknown was asked for and nothing at all was received is mute: it is
//!   closed, and counts as one that failed. A quiet stream is not mute if all that it was asked for is
//!   known: a server need not send again what has the version that the client names.
//!
//! What it does not do: encode and decode, keep values, send flow control, choose another server (gRFC
//! A71: [`Event::Unreachable`] and [`Protocol::resources`] say what that decision needs).

mod apply;
mod connection;
mod delta;
mod error_text;
mod event;
mod message;
mod name;
mod options;
mod record;
mod sotw;
mod status;
mod subscription;
#[cfg(test)]
mod tests;
mod timers;

pub(crate) use connection::{Connection, Due};
pub use event::{Action, CloseReason, Deletion, Event};
pub use message::{Body, Content, Received, Request, ResourceError, Response};
pub use name::{Name, WatchRefused};
pub(crate) use name::{WILDCARD, canonical};
pub use options::{MAX_NACK_TEXT, MAX_NAMES, MAX_RESOURCE_ERROR, Options, Variant};
pub use record::ResourceState;
pub use status::ResourceStatus;

use crate::ResourceType;
use mesh_core::{Random, Timestamp};
use record::Step;
use std::collections::VecDeque;
use std::sync::Arc;
use subscription::Subscription;
use timers::Timers;

/// One stream to one server, and the next one after it ends.
#[derive(Debug)]
pub struct Protocol {
    options: Options,
    connection: Connection,
    /// In the order of [`ResourceType::ALL`].
    subscriptions: [Subscription; ResourceType::ALL.len()],
    timers: Timers,
    actions: VecDeque<Action>,
    events: VecDeque<Event>,
    /// When the stream was opened.
    opened: Timestamp,
    node_sent: bool,
}

impl Protocol {
    /// Nothing is watched, and there is no stream.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self {
            connection: Connection::new(options.variant),
            options,
            subscriptions: ResourceType::ALL.map(Subscription::new),
            timers: Timers::default(),
            actions: VecDeque::new(),
            events: VecDeque::new(),
            opened: Timestamp::ZERO,
            node_sent: false,
        }
    }

    /// Takes in that someone watches `name`. However many do, the server is asked once.
    ///
    /// # Errors
    /// [`WatchRefused::EmptyName`]; [`WatchRefused::TooMany`] when there are [`MAX_NAMES`] of the type.
    pub fn handle_watch(
        &mut self,
        kind: ResourceType,
        name: &Name,
        now: Timestamp,
    ) -> Result<(), WatchRefused> {
        self.subscriptions[index(kind)].watch(&name.canonical(), now)?;
        self.connection.want(&self.options, now, &mut self.actions);
        Ok(())
    }

    /// Takes in that one watcher of `name` is gone. After the last one its value is still to be kept,
    /// until [`Event::Forgotten`]: a watch that comes soon finds it there. A watch that never was is
    /// ignored.
    pub fn handle_unwatch(&mut self, kind: ResourceType, name: &Name, now: Timestamp) {
        self.step(kind, now, |subscription, step| subscription.unwatch(&name.canonical(), step));
    }

    /// Takes in that the transport is connected and the stream is open.
    pub fn handle_connected(&mut self, now: Timestamp) {
        if self.connection.handle_connected() {
            self.opened = now;
            self.node_sent = false;
        }
    }

    /// Takes in a response. What comes when no stream is open is ignored.
    pub fn handle_response(&mut self, response: &Response, now: Timestamp) {
        if !self.connection.handle_response(&mut self.events) {
            return;
        }
        let variant = self.connection.variant();
        self.step(response.kind, now, |subscription, step| {
            apply::apply(subscription, response, variant, step);
        });
    }

    /// Takes in that a response came of a type that is not known here: it is not answered, but the
    /// server is not mute (grpc-go neither ACKs nor NACKs it).
    pub fn handle_unknown_response(&mut self) {
        self.connection.handle_response(&mut self.events);
    }

    /// Takes in that the stream has ended, or the attempt to open one.
    pub fn handle_closed(&mut self, reason: CloseReason, now: Timestamp, random: &mut impl Random) {
        if !self.connection.is_live() {
            return;
        }
        let silent = self.connection.is_open() && !self.connection.is_answered();
        let silent_since = silent.then_some(self.opened);
        self.end_stream(silent_since, now);
        if self.connection.end(reason, &self.options, now, random, &mut self.events) {
            self.subscriptions.iter_mut().for_each(Subscription::handle_variant_changed);
        }
        self.handle_pause_over(now);
    }

    /// Takes in that another server answers for what is watched here (gRFC A71), so that its values are
    /// held now: this one has to send everything again, whatever it sent before. An open stream is left
    /// and opened anew, as within one a server need not repeat itself.
    pub fn handle_replaced(&mut self, now: Timestamp) {
        if self.connection.restart(&self.options) {
            self.actions.push_back(Action::Close);
            self.end_stream(None, now);
        }
        self.subscriptions.iter_mut().for_each(Subscription::handle_replaced);
        self.handle_pause_over(now);
    }

    /// Takes in that nothing is watched any more and nothing will be soon: there is no stream without a
    /// watch. Everything is forgotten; only pauses go on. Ignored while anything is watched.
    pub fn handle_idle(&mut self, now: Timestamp) {
        if self.subscriptions.iter().any(Subscription::is_watched) {
            return;
        }
        if self.connection.rest(&self.options) {
            self.actions.push_back(Action::Close);
        }
        self.end_stream(None, now);
        self.subscriptions.iter_mut().for_each(Subscription::handle_variant_changed);
    }

    /// Takes in that the time of [`poll_timeout`](Self::poll_timeout) has come; does nothing before.
    pub fn handle_timeout(&mut self, now: Timestamp, random: &mut impl Random) {
        while let Some(due) = self.timers.pop(now) {
            self.step(due.kind, now, |subscription, step| {
                if let Some(record) = subscription.records.get_mut(&due.name) {
                    record.handle_timeout(&due.name, due.why, step);
                }
                subscription.forget_if_unwatched(&due.name, step);
            });
        }
        match self.connection.next().filter(|(at, ..)| *at <= now) {
            Some((.., Due::Connect)) => self.handle_pause_over(now),
            Some((.., Due::ConnectTimeout)) => {
                let limit = self.options.connect_timeout;
                self.give_up(format!("no stream could be opened within {limit:?}"), now, random);
            }
            Some((.., Due::Mute)) if self.subscriptions.iter().any(Subscription::is_waiting) => {
                let limit = self.options.mute_timeout;
                let error = format!("the server said nothing within {limit:?} of a request");
                self.give_up(error, now, random);
            }
            Some((.., Due::Mute)) => self.connection.excuse(),
            None => {}
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called, and why; `None`: never, as
    /// things stand.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Timestamp, &'static str)> {
        let stream = self.connection.next().map(|(at, why, _)| (at, why));
        self.timers.next().into_iter().chain(stream).min_by_key(|(at, _)| *at)
    }

    /// The next request to send on the open stream. It is made when it is taken.
    pub fn poll_request(&mut self, now: Timestamp) -> Option<Request> {
        if !self.connection.is_open() {
            return None;
        }
        let variant = self.connection.variant();
        let (mut request, unknown) = ResourceType::ALL.into_iter().find_map(|kind| {
            self.step(kind, now, |subscription, step| subscription.take_request(variant, step))
        })?;
        if unknown {
            self.connection.handle_asked(&self.options, now);
        }
        // xDS protocol: only the first request of a stream needs the node.
        request.node = !self.node_sent;
        self.node_sent = true;
        Some(request)
    }

    /// The next action to take.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// The next event to pass on.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// What is known of each resource that is watched or held.
    pub fn resources(&self) -> impl Iterator<Item = ResourceStatus<'_>> {
        self.subscriptions.iter().flat_map(|subscription| {
            let records = subscription.records.iter();
            records.map(|(name, record)| ResourceStatus::new(subscription.kind, name, record))
        })
    }

    /// What is known of one resource; `None`: it is neither watched nor held.
    #[must_use]
    pub fn resource(&self, kind: ResourceType, name: &Arc<str>) -> Option<ResourceStatus<'_>> {
        let records = &self.subscriptions[index(kind)].records;
        let (name, record) = records.get_key_value(&canonical(name))?;
        Some(ResourceStatus::new(kind, name, record))
    }

    /// Whether there are errors in what is owed as an answer: then it will be a NACK.
    #[must_use]
    pub fn is_refusing(&self, kind: ResourceType) -> bool {
        let answer = self.subscriptions[index(kind)].stream.answer.as_ref();
        answer.is_some_and(|errors| !errors.is_empty())
    }

    /// The version of the type that was accepted last, in the state of the world.
    #[must_use]
    pub fn version(&self, kind: ResourceType) -> Option<&Arc<str>> {
        self.subscriptions[index(kind)].version.as_ref()
    }

    /// Whether the server has answered for this type, on whatever stream of this variant: then an empty wildcard is
    /// empty, and not just not known yet.
    #[must_use]
    pub fn is_answered(&self, kind: ResourceType) -> bool {
        self.subscriptions[index(kind)].answered
    }

    /// The variant that is spoken.
    #[must_use]
    pub const fn variant(&self) -> Variant {
        self.connection.variant()
    }

    /// Why the server counts as unreachable; `None`: it does not. For a watch that comes after
    /// [`Event::Unreachable`].
    #[must_use]
    pub const fn unreachable(&self) -> Option<&Arc<str>> {
        self.connection.unreachable()
    }

    /// What ends with a stream ends.
    fn end_stream(&mut self, silent_since: Option<Timestamp>, now: Timestamp) {
        for kind in ResourceType::ALL {
            self.step(kind, now, |subscription, step| {
                subscription.handle_stream_end(silent_since, step);
            });
        }
    }

    /// Drops the stream as one that failed.
    fn give_up(&mut self, error: String, now: Timestamp, random: &mut impl Random) {
        self.actions.push_back(Action::Close);
        self.handle_closed(CloseReason::Failed(error.into()), now, random);
    }

    fn handle_pause_over(&mut self, now: Timestamp) {
        let wanted = self.subscriptions.iter().any(Subscription::is_watched);
        self.connection.handle_pause_over(wanted, &self.options, now, &mut self.actions);
    }

    /// Does something to one type.
    fn step<T>(
        &mut self,
        kind: ResourceType,
        now: Timestamp,
        work: impl FnOnce(&mut Subscription, &mut Step<'_>) -> T,
    ) -> T {
        let Self { options, timers, events, subscriptions, .. } = self;
        let mut step = Step { options, kind, now, timers, events };
        work(&mut subscriptions[index(kind)], &mut step)
    }
}

/// Where a type is in [`ResourceType::ALL`].
const fn index(kind: ResourceType) -> usize {
    kind.index()
}
