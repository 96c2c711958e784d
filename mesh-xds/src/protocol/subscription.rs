//! What is watched of one type, what the server has been asked for, and what it is owed.
//!
//! Watches are counted: however many there are for a name, the server is asked once. A name that is not
//! watched any more is kept until the request that says so is taken. So a watch that comes back before
//! is served from what is held, and no server has to guess that it must send the resource again
//! (grpc-go#8125: in the state of the world it would not).

use super::error_text::Errors;
use super::message::Request;
use super::name::{Name, WatchRefused};
use super::options::{MAX_NAMES, Variant};
use super::record::{Record, Step};
use super::{delta, sotw};
use crate::ResourceType;
use mesh_core::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::sync::Arc;

/// One type.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) kind: ResourceType,
    pub(super) records: BTreeMap<Arc<str>, Record>,
    /// How many names are watched.
    pub(super) named: usize,
    /// Watchers of everything.
    pub(super) wildcard: u32,
    /// The server has been asked for everything.
    pub(super) wildcard_sent: bool,
    /// The names for which what is watched and what was sent differ.
    pub(super) changed: BTreeSet<Arc<str>>,
    /// State of the world: the last version that was accepted. It survives the stream.
    pub(super) version: Option<Arc<str>>,
    /// There was a response of this type, on whatever stream.
    pub(super) answered: bool,
    pub(super) stream: OfStream,
}

/// What ends with the stream.
#[derive(Debug, Default)]
pub(super) struct OfStream {
    /// A request of this type was sent.
    pub(super) asked: bool,
    /// A request with a name was sent.
    pub(super) named: bool,
    /// The nonce of the last response.
    pub(super) nonce: Option<Arc<str>>,
    /// A response was not answered yet; with errors it will be refused.
    pub(super) answer: Option<Errors>,
}

impl Subscription {
    pub(super) fn new(kind: ResourceType) -> Self {
        Self {
            kind,
            records: BTreeMap::new(),
            named: 0,
            wildcard: 0,
            wildcard_sent: false,
            changed: BTreeSet::new(),
            version: None,
            answered: false,
            stream: OfStream::default(),
        }
    }

    /// Whether anything is watched.
    pub(super) const fn is_watched(&self) -> bool {
        self.named > 0 || self.wildcard > 0
    }

    /// Whether every resource of the type is of interest. Until the server is told otherwise: it would
    /// not send again what is not taken in.
    const fn covers_all(&self) -> bool {
        self.wildcard > 0 || self.wildcard_sent
    }

    /// One watcher more.
    pub(super) fn watch(&mut self, name: &Name, now: Timestamp) -> Result<(), WatchRefused> {
        let Name::Of(name) = name else {
            self.wildcard = self.wildcard.saturating_add(1);
            return Ok(());
        };
        if name.is_empty() {
            return Err(WatchRefused::EmptyName(self.kind));
        }
        if self.records.len() >= MAX_NAMES && !self.records.contains_key(name) {
            return Err(WatchRefused::TooMany { kind: self.kind, name: name.clone() });
        }
        let record = self.records.entry(name.clone()).or_insert_with(|| Record::new(now));
        record.watchers = record.watchers.saturating_add(1);
        if record.watchers == 1 {
            self.named += 1;
            note(&mut self.changed, name, record);
        }
        Ok(())
    }

    /// One watcher less; one that never was is ignored.
    pub(super) fn unwatch(&mut self, name: &Name, step: &mut Step<'_>) {
        let Name::Of(name) = name else {
            self.wildcard = self.wildcard.saturating_sub(1);
            if !self.covers_all() {
                self.forget_unwatched(step);
            }
            return;
        };
        let Some(record) = self.records.get_mut(name).filter(|record| record.watchers > 0) else {
            return;
        };
        record.watchers -= 1;
        if record.watchers == 0 {
            self.named -= 1;
            note(&mut self.changed, name, record);
            self.forget_if_unwatched(name, step);
        }
    }

    /// The record of a name that is of interest; an error when it would be one too many.
    pub(super) fn record(
        &mut self,
        name: &Arc<str>,
        now: Timestamp,
    ) -> Result<Option<&mut Record>, Arc<str>> {
        if self.records.contains_key(name) || !self.covers_all() {
            return Ok(self.records.get_mut(name));
        }
        if self.records.len() >= MAX_NAMES {
            return Err(format!(
                "not taken in: there are {MAX_NAMES} of this type already, which is the most that one \
                 stream learns"
            )
            .into());
        }
        Ok(Some(self.records.entry(name.clone()).or_insert_with(|| Record::new(now))))
    }

    /// The request to send now, if any, and whether it asks for what is not known yet.
    pub(super) fn take_request(
        &mut self,
        variant: Variant,
        step: &mut Step<'_>,
    ) -> Option<(Request, bool)> {
        let wildcard_changed = (self.wildcard > 0) != self.wildcard_sent;
        if self.changed.is_empty() && !wildcard_changed && self.stream.answer.is_none() {
            return None;
        }
        if !self.is_watched() && !self.stream.asked && self.kind.is_full_state() {
            // A response that nothing asked for. To answer it would be the first request of the type,
            // and without names, which asks for everything (xDS protocol: the wildcard).
            self.stream.answer = None;
            return None;
        }
        let answer = self.stream.answer.take();
        let nonce = match variant {
            Variant::StateOfTheWorld => self.stream.nonce.clone(),
            // xDS protocol: of delta requests only an ACK or NACK has a nonce.
            Variant::Delta => answer.as_ref().and_then(|_| self.stream.nonce.clone()),
        };
        let (body, unknown) = match variant {
            Variant::StateOfTheWorld => sotw::request(self, step),
            Variant::Delta => delta::request(self, step),
        };
        self.stream.asked = true;
        let request = Request {
            kind: self.kind,
            node: false,
            nonce: nonce.unwrap_or_default(),
            error: answer.and_then(|errors| errors.text()),
            body,
        };
        Some((request, unknown))
    }

    /// The server is asked for what is watched, all of it; `true`: for something that is not known yet.
    pub(super) fn handle_sent(&mut self, step: &mut Step<'_>) -> bool {
        let all = self.wildcard > 0;
        let mut unknown = all && !self.wildcard_sent && !self.answered;
        let no_longer_all = self.wildcard_sent && !all;
        self.wildcard_sent = all;
        for name in mem::take(&mut self.changed) {
            match self.records.get_mut(&name) {
                Some(record) if record.watchers > 0 => {
                    record.handle_sent(&name, step);
                    unknown |= record.is_unknown();
                }
                Some(record) => {
                    record.sent = false;
                    self.forget_if_unwatched(&name, step);
                }
                None => {}
            }
        }
        if no_longer_all {
            self.forget_unwatched(step);
        }
        unknown
    }

    /// The stream has ended; with `silent_since`: which was opened then and had no response.
    pub(super) fn handle_stream_end(
        &mut self,
        silent_since: Option<Timestamp>,
        step: &mut Step<'_>,
    ) {
        self.stream = OfStream::default();
        self.wildcard_sent = false;
        for (name, record) in &mut self.records {
            record.handle_stream_end(name, silent_since, step);
        }
        self.forget_unwatched(step);
        let watched = self.records.iter().filter(|(_, record)| record.watchers > 0);
        self.changed = watched.map(|(name, _)| name.clone()).collect();
    }

    /// The other variant is spoken from now on: its versions are others.
    pub(super) fn handle_variant_changed(&mut self) {
        self.version = None;
        self.answered = false;
        for record in self.records.values_mut() {
            record.forget_version();
        }
    }

    /// What is held is another server's: no version counts, and what comes is told, equal or not.
    pub(super) fn handle_replaced(&mut self) {
        self.handle_variant_changed();
        self.records.values_mut().for_each(Record::tell_again);
    }

    /// Whether anything that was asked for is still not held.
    pub(super) fn is_waiting(&self) -> bool {
        let lacks = |record: &Record| record.watchers > 0 && record.sent && record.held.is_none();
        (self.wildcard > 0 && !self.answered) || self.records.values().any(lacks)
    }

    /// A response was looked at. `full`: whatever was wrong with those before is out of date.
    pub(super) fn owe_answer(
        &mut self,
        version: &Arc<str>,
        errors: Errors,
        seen: &BTreeSet<Arc<str>>,
        full: bool,
    ) {
        let mut owed = self.stream.answer.take().unwrap_or_default();
        match full {
            true => owed = errors,
            false => owed.extend(errors, |name| seen.contains(name)),
        }
        // xDS protocol: the version of a NACK is the last one that was accepted.
        if owed.is_empty() {
            self.version = Some(version.clone());
        }
        self.stream.answer = Some(owed);
        self.answered = true;
    }

    /// Drops the record if it is of no interest: nobody watches it, and the server knows.
    pub(super) fn forget_if_unwatched(&mut self, name: &Arc<str>, step: &mut Step<'_>) {
        let all = self.covers_all();
        let idle = |record: &&mut Record| is_idle(record, all);
        if self.records.get_mut(name).filter(idle).is_some()
            && let Some(record) = self.records.remove(name)
        {
            record.forget(name, step);
        }
    }

    fn forget_unwatched(&mut self, step: &mut Step<'_>) {
        let all = self.covers_all();
        let idle = self.records.iter().filter(|(_, record)| is_idle(record, all));
        let idle: Vec<Arc<str>> = idle.map(|(name, _)| name.clone()).collect();
        for name in idle {
            if let Some(record) = self.records.remove(&name) {
                record.forget(&name, step);
            }
        }
    }
}

/// Nobody asked for it by name, the server knows that, and it is not there by wildcard.
const fn is_idle(record: &Record, all: bool) -> bool {
    record.watchers == 0 && !record.sent && !(all && record.held.is_some())
}

/// Notes whether the server has to be told something of this name.
fn note(changed: &mut BTreeSet<Arc<str>>, name: &Arc<str>, record: &Record) {
    match (record.watchers > 0) == record.sent {
        true => changed.remove(name),
        false => changed.insert(name.clone()),
    };
}
