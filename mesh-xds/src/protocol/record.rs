//! What is known of one resource, and what its watchers were told last.
//!
//! ```text
//!                 sent, 15 s             good                  bad          error of the server
//!   Requested ───────────────▶ DoesNotExist, Timeout        Nacked          ReceivedError
//!       │                            │      ▲ deleted          ▲                ▲
//!       └──────────── good ────▶  Acked ────┴──────────────────┴────────────────┘
//! ```
//!
//! Every state but the first two can hold a value, the last good one (gRFC A88: "…but cached").

use super::error_text::bounded;
use super::event::{Deletion, Event};
use super::options::Options;
use super::timers::{Timers, Why};
use crate::ResourceType;
use mesh_core::Timestamp;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// The state of a resource, as CSDS and metrics name it (gRFC A40, A78, A88).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "closed by gRFC A88")]
pub enum ResourceState {
    /// It was asked for, or will be.
    Requested,
    /// It does not exist, as the server says or by its silence.
    DoesNotExist,
    /// It is good.
    Acked,
    /// Its last update was refused.
    Nacked,
    /// The server sent an error for it.
    ReceivedError,
    /// It did not come in time, which says nothing.
    Timeout,
}

/// What to know to change a record, and where to tell it.
pub(super) struct Step<'a> {
    pub(super) options: &'a Options,
    pub(super) kind: ResourceType,
    pub(super) now: Timestamp,
    pub(super) timers: &'a mut Timers,
    pub(super) events: &'a mut VecDeque<Event>,
}

/// One resource.
#[derive(Debug)]
pub(super) struct Record {
    /// Watchers by name; the wildcard's are not counted here.
    pub(super) watchers: u32,
    /// Its name was sent on this stream, and not taken back.
    pub(super) sent: bool,
    pub(super) state: ResourceState,
    pub(super) since: Timestamp,
    pub(super) held: Option<Held>,
    /// The error that stands, and the version that had it.
    pub(super) error: Option<Arc<str>>,
    pub(super) error_version: Option<Arc<str>>,
    /// The last thing that was told is an error.
    told_error: bool,
    absent_at: Option<Timestamp>,
    expires_at: Option<Timestamp>,
}

/// The last good value, which is with the caller.
#[derive(Clone, Debug)]
pub(super) struct Held {
    hash: u64,
    version: Arc<str>,
}

impl Record {
    pub(super) const fn new(now: Timestamp) -> Self {
        Self {
            watchers: 0,
            sent: false,
            state: ResourceState::Requested,
            since: now,
            held: None,
            error: None,
            error_version: None,
            told_error: false,
            absent_at: None,
            expires_at: None,
        }
    }

    /// Whether nothing is known of it: not even that it does not exist.
    pub(super) fn is_unknown(&self) -> bool {
        use ResourceState::{Acked, DoesNotExist, Nacked, ReceivedError, Requested, Timeout};
        match self.state {
            Requested | Nacked | Acked => self.held.is_none(),
            // xDS TP3: the server sends an error once, and the client remembers it.
            DoesNotExist | Timeout | ReceivedError => false,
        }
    }

    /// It was asked for (gRFC A57: the timer runs from when the request is sent and the transport is
    /// connected).
    pub(super) fn handle_sent(&mut self, name: &Arc<str>, step: &mut Step<'_>) {
        self.sent = true;
        if self.is_unknown() {
            let at = step.options.resource_timeout().map(|timeout| step.now + timeout);
            step.timers.set(&mut self.absent_at, at, Why::DoesNotExist, step.kind, name);
        }
    }

    /// The stream has ended. What became absent by the silence of a server that never spoke on it is
    /// unknown again.
    pub(super) fn handle_stream_end(
        &mut self,
        name: &Arc<str>,
        silent_since: Option<Timestamp>,
        step: &mut Step<'_>,
    ) {
        self.sent = false;
        self.stop_waiting(name, step);
        let absent = matches!(self.state, ResourceState::DoesNotExist | ResourceState::Timeout);
        let then = silent_since.is_some_and(|opened| opened <= self.since);
        if absent && then && self.held.is_none() {
            self.enter(ResourceState::Requested, step.now);
        }
    }

    /// A good value came.
    pub(super) fn accept(
        &mut self,
        name: &Arc<str>,
        (index, hash): (usize, u64),
        version: &Arc<str>,
        ttl: Option<Duration>,
        step: &mut Step<'_>,
    ) {
        self.stop_waiting(name, step);
        self.set_ttl(name, ttl, step);
        let equal = self.held.as_ref().is_some_and(|held| held.hash == hash);
        self.held = Some(Held { hash, version: version.clone() });
        // grpc-go#7692: equal content is told again when the last thing told was an error.
        if !equal || self.told_error {
            let (kind, name) = (step.kind, name.clone());
            step.events.push_back(Event::Changed { kind, name, index });
        }
        if !equal || self.state != ResourceState::Acked {
            self.enter(ResourceState::Acked, step.now);
        }
        self.clear_error();
    }

    /// A bad value came.
    pub(super) fn refuse(
        &mut self,
        name: &Arc<str>,
        error: &Arc<str>,
        version: &Arc<str>,
        step: &mut Step<'_>,
    ) {
        self.stop_waiting(name, step);
        let error = bounded(error);
        let again = self.state == ResourceState::Nacked && self.error.as_ref() == Some(&error);
        self.error_version = Some(version.clone());
        if again {
            return;
        }
        let kept = self.keep_or_drop(name, !step.options.fail_on_data_errors, step);
        self.enter(ResourceState::Nacked, step.now);
        self.set_error(error.clone());
        step.events.push_back(Event::Refused { kind: step.kind, name: name.clone(), error, kept });
    }

    /// It was deleted, or the server says that it does not exist.
    pub(super) fn delete(&mut self, name: &Arc<str>, cause: Deletion, step: &mut Step<'_>) {
        self.stop_waiting(name, step);
        let known = self.state == ResourceState::DoesNotExist;
        // What only the wildcard covers was asked for by nobody, so it goes: else it would never go.
        // And what expires is to end without the server (xDS protocol: "TTL").
        let keep = match cause {
            Deletion::Omitted | Deletion::Removed => {
                !step.options.fail_on_data_errors && self.watchers > 0
            }
            Deletion::Expired => false,
        };
        let held = self.held.is_some();
        let kept = self.keep_or_drop(name, keep, step);
        if known && (kept || !held) {
            return;
        }
        self.enter(ResourceState::DoesNotExist, step.now);
        self.error = None;
        self.told_error = true;
        let (kind, name) = (step.kind, name.clone());
        step.events.push_back(match held {
            true => Event::Deleted { kind, name, cause, kept },
            false => Event::DoesNotExist { kind, name, timed_out: false },
        });
    }

    /// The server sent an error for it (xDS TP3).
    pub(super) fn fail(
        &mut self,
        name: &Arc<str>,
        code: u32,
        error: &Arc<str>,
        step: &mut Step<'_>,
    ) {
        if code == 0 {
            return self.restore(name, step);
        }
        self.stop_waiting(name, step);
        // gRFC A88: NOT_FOUND (5) and PERMISSION_DENIED (7) are data errors, all others transient.
        let drop = step.options.fail_on_data_errors && matches!(code, 5 | 7);
        let kept = self.keep_or_drop(name, !drop, step);
        let error = bounded(error);
        self.enter(ResourceState::ReceivedError, step.now);
        self.set_error(error.clone());
        self.error_version = None;
        let (kind, name) = (step.kind, name.clone());
        step.events.push_back(Event::ServerError { kind, name, code, error, kept });
    }

    /// The server takes its error back. Without a value that leaves nothing to tell.
    fn restore(&mut self, name: &Arc<str>, step: &mut Step<'_>) {
        if self.state != ResourceState::ReceivedError {
            return;
        }
        if self.held.is_some() {
            self.enter(ResourceState::Acked, step.now);
            self.clear_error();
            step.events.push_back(Event::Restored { kind: step.kind, name: name.clone() });
        } else {
            self.enter(ResourceState::Requested, step.now);
            self.error = None;
            if self.sent {
                self.handle_sent(name, step);
            }
        }
    }

    /// Its timer has fired.
    pub(super) fn handle_timeout(&mut self, name: &Arc<str>, why: Why, step: &mut Step<'_>) {
        match why {
            Why::Ttl => {
                self.expires_at = None;
                self.delete(name, Deletion::Expired, step);
            }
            Why::DoesNotExist => {
                self.absent_at = None;
                self.told_error = true;
                self.error = None;
                let (kind, name) = (step.kind, name.clone());
                if step.options.resource_timer_is_transient_error {
                    self.enter(ResourceState::Timeout, step.now);
                    step.events.push_back(Event::TimedOut { kind, name });
                } else {
                    self.enter(ResourceState::DoesNotExist, step.now);
                    step.events.push_back(Event::DoesNotExist { kind, name, timed_out: true });
                }
            }
        }
    }

    /// Nobody wants it any more: stops its timers, and tells if there was anything to tell before.
    pub(super) fn forget(mut self, name: &Arc<str>, step: &mut Step<'_>) {
        self.stop_waiting(name, step);
        self.set_ttl(name, None, step);
        if self.held.is_some() || self.told_error {
            step.events.push_back(Event::Forgotten { kind: step.kind, name: name.clone() });
        }
    }

    /// The version of what is held.
    pub(super) fn held_version(&self) -> Option<&Arc<str>> {
        self.held.as_ref().map(|held| &held.version)
    }

    /// The version to tell a server of the other variant, or a new stream: that of a good value. Any
    /// other is withheld, so that the server sends the resource again or removes it.
    pub(super) fn initial_version(&self) -> Option<Arc<str>> {
        let held = self.held.as_ref()?;
        let good = self.state == ResourceState::Acked;
        Some(if good { held.version.clone() } else { Arc::from("") })
    }

    /// The versions of the other variant mean nothing.
    pub(super) fn forget_version(&mut self) {
        if let Some(held) = &mut self.held {
            held.version = Arc::from("");
        }
    }

    /// The next value is told, even if it is equal to this one.
    pub(super) const fn tell_again(&mut self) {
        self.told_error |= self.held.is_some();
    }

    /// Whether what is held stays. If not it is dropped, and its time to live with it.
    fn keep_or_drop(&mut self, name: &Arc<str>, keep: bool, step: &mut Step<'_>) -> bool {
        if !keep {
            self.held = None;
            self.set_ttl(name, None, step);
        }
        self.held.is_some()
    }

    const fn enter(&mut self, state: ResourceState, now: Timestamp) {
        self.state = state;
        self.since = now;
    }

    fn set_error(&mut self, error: Arc<str>) {
        self.error = Some(error);
        self.told_error = true;
    }

    fn clear_error(&mut self) {
        self.error = None;
        self.error_version = None;
        self.told_error = false;
    }

    fn stop_waiting(&mut self, name: &Arc<str>, step: &mut Step<'_>) {
        step.timers.set(&mut self.absent_at, None, Why::DoesNotExist, step.kind, name);
    }

    /// How long what is held holds from now on; `None`: for ever.
    pub(super) fn set_ttl(&mut self, name: &Arc<str>, ttl: Option<Duration>, step: &mut Step<'_>) {
        let at = ttl.map(|ttl| step.now + ttl);
        step.timers.set(&mut self.expires_at, at, Why::Ttl, step.kind, name);
    }
}
