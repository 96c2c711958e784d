//! A server and a caller beside the machine, that know what they may expect of it.
//!
//! Driven by bytes, for the property here and for the fuzz target `xds_protocol`, which includes this file: the
//! first byte chooses the options; each step that follows is a byte for its kind and the bytes
//! that it takes, zeros at the end.

use super::{
    Action, Body, CloseReason, Content, Event, MAX_NACK_TEXT, Name, Options, Protocol, Received,
    Request, ResourceError, ResourceType, Response, Variant,
};
use mesh_core::Timestamp;
use mesh_core::random::SplitMix64;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

const NAMES: [&str; 6] = ["a", "b", "c", "*", "x", ""];
/// gRPC's codes of an error that no longer stands, and of NOT_FOUND, PERMISSION_DENIED, UNAVAILABLE.
const CODES: [u32; 4] = [0, 5, 7, 14];

/// Runs what `bytes` say, and then ends well.
pub(crate) fn run(bytes: &[u8]) {
    let mut bytes = Bytes(bytes);
    let first = bytes.next();
    let variant = if first & 1 == 0 { Variant::StateOfTheWorld } else { Variant::Delta };
    let mut options = Options::new(variant);
    options.fail_on_data_errors = first & 2 != 0;
    options.resource_timer_is_transient_error = first & 4 != 0;
    if first & 8 != 0 {
        options.mute_timeout = Duration::from_secs(2);
    }
    let mut run = Run {
        protocol: Protocol::new(options),
        random: SplitMix64::new(first.into()),
        now: Timestamp::ZERO,
        opening: false,
        open: false,
        node: false,
        responses: 0,
        watched: BTreeMap::new(),
        server: BTreeMap::new(),
        values: BTreeSet::new(),
    };
    while !bytes.0.is_empty() {
        run.step(&mut bytes);
    }
    // However it stands: once there is a stream, the server learns all of it.
    for _ in 0..100 {
        run.connect();
        run.listen();
        if run.open {
            break;
        }
        if let Some((at, _)) = run.protocol.poll_timeout() {
            run.pass(at.saturating_duration_since(run.now));
        }
    }
    run.take();
    run.listen();
    assert!(run.open || run.watched.is_empty());
}

/// What is left of the input.
struct Bytes<'b>(&'b [u8]);

impl Bytes<'_> {
    fn next(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn below(&mut self, end: usize) -> usize {
        usize::from(self.next()) % end
    }

    fn kind(&mut self) -> ResourceType {
        ResourceType::ALL[self.below(ResourceType::ALL.len())]
    }
}

/// What the server understands of one type.
#[derive(Debug, Default)]
struct Understood {
    asked: bool,
    named: bool,
    names: BTreeSet<Arc<str>>,
    nonce: Arc<str>,
    owed: bool,
}

impl Understood {
    fn take(&mut self, request: &Request) {
        let everything = |first: bool, names: &[Arc<str>]| {
            first && names.is_empty() && request.kind.is_full_state()
        };
        match &request.body {
            Body::StateOfTheWorld { names, .. } => {
                assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
                self.names = match everything(!self.named, names) {
                    true => BTreeSet::from(["*".into()]),
                    false => names.iter().cloned().collect(),
                };
                self.named |= !names.is_empty();
                assert_eq!(request.nonce, self.nonce);
            }
            Body::Delta { subscribe, unsubscribe, initial_versions } => {
                if everything(!self.asked, subscribe) {
                    self.names.insert("*".into());
                }
                assert!(initial_versions.is_empty() || !self.asked);
                self.names.extend(subscribe.iter().cloned());
                self.names.retain(|name| !unsubscribe.contains(name));
                assert!(request.nonce.is_empty() || request.nonce == self.nonce);
                assert_eq!(!request.nonce.is_empty(), self.owed, "an answer has a nonce");
            }
        }
        if let Some(error) = &request.error {
            assert!(self.owed && !error.is_empty() && error.len() <= MAX_NACK_TEXT, "{request:?}");
        }
        self.asked = true;
        self.owed &= request.nonce.is_empty();
    }
}

struct Run {
    protocol: Protocol,
    random: SplitMix64,
    now: Timestamp,
    /// A stream is being opened, and is open.
    opening: bool,
    open: bool,
    node: bool,
    responses: u32,
    watched: BTreeMap<(ResourceType, Name), u32>,
    server: BTreeMap<ResourceType, Understood>,
    values: BTreeSet<(ResourceType, Arc<str>)>,
}

impl Run {
    fn step(&mut self, bytes: &mut Bytes<'_>) {
        match bytes.next() % 8 {
            0 => self.watch(bytes),
            1 => {
                let key = (bytes.kind(), Name::from(NAMES[bytes.below(4)]));
                self.protocol.handle_unwatch(key.0, &key.1, self.now);
                if let Some(count) = self.watched.get_mut(&key) {
                    *count -= 1;
                }
                self.watched.retain(|_, count| *count > 0);
            }
            2 => self.connect(),
            3 => self.respond(bytes),
            4 => self.protocol.handle_unknown_response(),
            5 => {
                let reason = match bytes.below(3) {
                    0 => CloseReason::Ended,
                    1 => CloseReason::Failed("x".into()),
                    _ => CloseReason::Unimplemented("x".into()),
                };
                (self.open, self.opening) = (false, false);
                self.protocol.handle_closed(reason, self.now, &mut self.random);
            }
            6 => self.take(),
            _ => {
                let millis = u64::from(bytes.next()) * 256 + u64::from(bytes.next());
                self.pass(Duration::from_millis(millis));
            }
        }
        self.listen();
    }

    fn watch(&mut self, bytes: &mut Bytes<'_>) {
        let (kind, text) = (bytes.kind(), NAMES[bytes.below(NAMES.len())]);
        let name = Name::from(text);
        let watched = self.protocol.handle_watch(kind, &name, self.now);
        assert_eq!(watched.is_ok(), !text.is_empty());
        if watched.is_ok() {
            *self.watched.entry((kind, name)).or_default() += 1;
        }
    }

    fn connect(&mut self) {
        self.protocol.handle_connected(self.now);
        if std::mem::take(&mut self.opening) {
            (self.open, self.node) = (true, false);
            self.server.clear();
        }
    }

    fn respond(&mut self, bytes: &mut Bytes<'_>) {
        self.responses += 1;
        let (kind, nonce): (_, Arc<str>) = (bytes.kind(), format!("n{}", self.responses).into());
        let mut response = Response::new(kind, format!("v{}", self.responses), nonce.clone());
        let counts = bytes.next();
        for _ in 0..counts % 4 {
            let name =
                Some(NAMES[bytes.below(6)].into()).filter(|name: &Arc<str>| !name.is_empty());
            let content = match bytes.next() % 6 {
                0 => Content::Bad("wrong".into()),
                1 => Content::Heartbeat,
                hash => Content::Good { hash: hash.into() },
            };
            let mut received = Received::new(name, content);
            let ttl = Duration::from_secs(u64::from(bytes.next() % 4));
            received.ttl = Some(ttl).filter(|ttl| !ttl.is_zero());
            response.resources.push(received);
        }
        response.removed.extend((0..counts / 4 % 3).map(|_| NAMES[bytes.below(4)].into()));
        for _ in 0..counts / 16 % 3 {
            let (name, code) = (NAMES[bytes.below(4)], CODES[bytes.below(4)]);
            response.errors.push(ResourceError::new(name, code, "x"));
        }
        self.protocol.handle_response(&response, self.now);
        if self.open {
            let understood = self.server.entry(kind).or_default();
            (understood.nonce, understood.owed) = (nonce, true);
        }
    }

    /// Takes all requests; the server then knows all that is watched, and has all its answers.
    fn take(&mut self) {
        for taken in 0.. {
            assert!(taken < 20, "requests without end");
            let Some(request) = self.protocol.poll_request(self.now) else { break };
            assert!(self.open);
            assert_eq!(request.node, !self.node);
            self.node = true;
            self.server.entry(request.kind).or_default().take(&request);
        }
        if !self.open {
            return;
        }
        for kind in ResourceType::ALL {
            let understood = self.server.entry(kind).or_default();
            let watched = self.watched.keys().filter(|(of, _)| *of == kind);
            let watched: BTreeSet<Arc<str>> = watched
                .map(|(_, name)| match name {
                    Name::Wildcard => "*".into(),
                    Name::Of(name) => name.clone(),
                })
                .collect();
            assert_eq!(understood.names, watched, "{kind}");
            // The one answer that is not given is one that would ask for everything.
            assert!(!understood.owed || (!understood.asked && kind.is_full_state()), "{kind}");
            understood.owed = false;
        }
    }

    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        for fired in 0.. {
            assert!(fired < 1_000, "a timer that is due for ever");
            let Some((at, _)) = self.protocol.poll_timeout().filter(|(at, _)| *at <= until) else {
                break;
            };
            self.now = self.now.max(at);
            self.protocol.handle_timeout(self.now, &mut self.random);
            self.listen();
        }
        self.now = until;
    }

    /// Takes actions and events, and drops and keeps values as told.
    fn listen(&mut self) {
        while let Some(action) = self.protocol.poll_action() {
            match action {
                Action::Connect(_) => {
                    assert!(!self.open && !self.opening, "one stream at a time");
                    self.opening = true;
                }
                Action::Close => (self.open, self.opening) = (false, false),
            }
        }
        while let Some(event) = self.protocol.poll_event() {
            self.hear(event);
        }
        let held = self.protocol.resources().filter(|resource| resource.version.is_some());
        let held: BTreeSet<_> =
            held.map(|resource| (resource.kind, resource.name.clone())).collect();
        assert_eq!(held, self.values);
    }

    fn hear(&mut self, event: Event) {
        match event {
            Event::Changed { kind, name, .. } => {
                self.values.insert((kind, name));
            }
            Event::Deleted { kind, name, kept, .. }
            | Event::Refused { kind, name, kept, .. }
            | Event::ServerError { kind, name, kept, .. } => {
                let held = self.values.remove(&(kind, name.clone()));
                assert!(held || !kept, "{kind} {name} can't be kept");
                if kept {
                    self.values.insert((kind, name));
                }
            }
            Event::Forgotten { kind, name } => {
                self.values.remove(&(kind, name));
            }
            Event::Restored { kind, name } => assert!(self.values.contains(&(kind, name))),
            Event::DoesNotExist { kind, name, .. } | Event::TimedOut { kind, name } => {
                assert!(!self.values.contains(&(kind, name)));
            }
            _ => {}
        }
    }
}
