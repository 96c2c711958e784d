//! [`Recorder`]: the end of a [`Status`] that the client of one server writes to.
//!
//! Each method is called after the thing that it is named for was handed to the protocol, and asks the
//! protocol what is known since. One lock each, and no work but for the names that are concerned.

use super::Status;
use crate::ResourceType;
use crate::protocol::{Content, Event, Protocol, Request, Response, canonical};
use bytes::Bytes;
use mesh_core::{Timestamp, WallTime};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What came of a resource, if anything did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Came {
    Nothing,
    /// A value that is good, as it was received.
    Good(Bytes),
    /// One that was refused.
    Bad,
}

/// Writes down what becomes of the resources of one server. What it wrote goes with it, but for the counts.
#[derive(Debug)]
pub(crate) struct Recorder {
    status: Status,
    server: usize,
}

impl Recorder {
    pub(super) const fn new(status: Status, server: usize) -> Self {
        Self { status, server }
    }

    /// A name is watched, or not any more.
    pub(crate) fn watched(
        &self,
        protocol: &Protocol,
        kind: ResourceType,
        name: &Arc<str>,
        now: WallTime,
    ) {
        self.look(protocol, kind, &canonical(name), Came::Nothing, now);
    }

    /// The stream is open. One that follows a failure has to give an answer first (gRFC A78).
    pub(crate) fn connected(&self, protocol: &Protocol) {
        if protocol.unreachable().is_none() {
            self.status.0.table.lock().server_mut(self.server).connected = Some(true);
        }
    }

    /// The stream has ended, by whichever end or by itself, or another one begins: what it owed ended with it.
    pub(crate) fn closed(&self, protocol: &Protocol, now: WallTime) {
        let names = {
            let mut table = self.status.0.table.lock();
            table.server_mut(self.server).owe_nothing();
            table.of_server(self.server)
        };
        // What was absent by silence may be unknown again, and the variant, with its versions, another.
        for (kind, name) in names {
            self.look(protocol, kind, &name, Came::Nothing, now);
        }
    }

    /// A response came; `body` gives what is good in it, as it was received, by index.
    pub(crate) fn responded(
        &self,
        protocol: &Protocol,
        response: &Response,
        body: impl Fn(usize) -> Option<Bytes>,
        (at, now): (Timestamp, WallTime),
    ) {
        let kind = response.kind;
        let (mut valid, mut invalid) = (0, 0);
        let mut seen = BTreeSet::new();
        for (index, received) in response.resources.iter().enumerate() {
            let name = received.name.as_ref().map(canonical);
            // Of those with one name the first counts, the others are wrong.
            let again = name.as_ref().is_some_and(|name| !seen.insert(Arc::clone(name)));
            let came = match &received.content {
                // Counted as nothing, but it may have been refused for being one.
                Content::Heartbeat => Came::Nothing,
                Content::Good { .. } if !again && name.is_some() => {
                    valid += 1;
                    body(index).map_or(Came::Nothing, Came::Good)
                }
                Content::Good { .. } | Content::Bad(_) => {
                    invalid += 1;
                    Came::Bad
                }
            };
            if let Some(name) = name.filter(|_| !again) {
                self.look(protocol, kind, &name, came, now);
            }
        }
        for error in &response.errors {
            self.look(protocol, kind, &canonical(&error.name), Came::Bad, now);
        }
        let mut table = self.status.0.table.lock();
        let of = table.server_mut(self.server).of(kind);
        of.valid += valid;
        of.invalid += invalid;
        of.owed.get_or_insert(at);
        if !protocol.is_refusing(kind)
            && let Some(version) = protocol.version(kind)
        {
            of.last_good = Some((Arc::clone(version), now));
        }
    }

    /// Watchers are told something.
    pub(crate) fn told(
        &self,
        protocol: &Protocol,
        event: &Event,
        (at, now): (Timestamp, WallTime),
    ) {
        match event {
            Event::Changed { kind, .. } => self.status.0.table.lock().waits(*kind, at),
            Event::Deleted { kind, name, .. }
            | Event::DoesNotExist { kind, name, .. }
            | Event::TimedOut { kind, name }
            | Event::Refused { kind, name, .. }
            | Event::ServerError { kind, name, .. }
            | Event::Restored { kind, name }
            | Event::Forgotten { kind, name } => {
                self.look(protocol, *kind, name, Came::Nothing, now);
            }
            Event::Unreachable { .. } => self.reachable(false),
            Event::Reachable => self.reachable(true),
            Event::VariantChanged { .. } => {}
        }
    }

    /// A request is sent.
    pub(crate) fn sent(&self, request: &Request, at: Timestamp) {
        if request.nonce.is_empty() {
            return;
        }
        let kind = request.kind;
        let owed = self.status.0.table.lock().server_mut(self.server).of(kind).owed.take();
        if let (Some(since), None, Some(tell)) = (owed, &request.error, self.status.0.on_ack.get())
        {
            tell(kind, at.saturating_duration_since(since));
        }
    }

    fn reachable(&self, reachable: bool) {
        let mut table = self.status.0.table.lock();
        let server = table.server_mut(self.server);
        if !reachable && server.connected != Some(false) {
            server.failures += 1;
        }
        server.connected = Some(reachable);
    }

    /// Notes what the protocol says of a name, which is canonical.
    fn look(
        &self,
        protocol: &Protocol,
        kind: ResourceType,
        name: &Arc<str>,
        came: Came,
        now: WallTime,
    ) {
        let found = protocol.resource(kind, name);
        // What nobody watches and nothing is held of is forgotten without a word.
        let found = found.filter(|found| found.watched || found.version.is_some());
        let mut table = self.status.0.table.lock();
        match found {
            Some(found) => table.put(self.server, &found, came, now),
            None => table.remove(self.server, kind, name),
        }
    }
}

/// Nothing is asked of the server any more.
impl Drop for Recorder {
    fn drop(&mut self) {
        let mut table = self.status.0.table.lock();
        table.forget_copies();
        for (kind, name) in table.of_server(self.server) {
            table.remove(self.server, kind, &name);
        }
        table.server_mut(self.server).connected = None;
    }
}
