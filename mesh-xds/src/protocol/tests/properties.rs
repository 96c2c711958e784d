//! Whatever happens, in whatever order: the server knows what is watched, every answer is one to the
//! last response, the caller holds what the machine thinks it holds, and no timer is due for ever.

use super::super::*;
use mesh_core::random::SplitMix64;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const NAMES: [&str; 4] = ["a", "b", "c", "*"];
const KINDS: [ResourceType; 3] =
    [ResourceType::Listener, ResourceType::Endpoints, ResourceType::Cluster];

#[derive(Clone, Debug)]
enum Step {
    Watch(usize, usize),
    Unwatch(usize, usize),
    Connected,
    Response {
        kind: usize,
        resources: Vec<(usize, usize, u64)>,
        removed: Vec<usize>,
        errors: Vec<(usize, u32)>,
    },
    Unknown,
    Closed(usize),
    Take,
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let of = || (0..KINDS.len(), 0..NAMES.len());
    let response = (
        0..KINDS.len(),
        prop::collection::vec((0..5usize, 0..6usize, 0..4u64), 0..4),
        prop::collection::vec(0..3usize, 0..2),
        prop::collection::vec((0..3usize, prop::sample::select(vec![0u32, 5, 7, 14])), 0..2),
    );
    prop_oneof![
        4 => of().prop_map(|(kind, name)| Step::Watch(kind, name)),
        3 => of().prop_map(|(kind, name)| Step::Unwatch(kind, name)),
        3 => Just(Step::Connected),
        6 => response.prop_map(|(kind, resources, removed, errors)| {
            Step::Response { kind, resources, removed, errors }
        }),
        1 => Just(Step::Unknown),
        1 => (0..3usize).prop_map(Step::Closed),
        4 => Just(Step::Take),
        3 => (0..30_000u64).prop_map(Step::Pass),
    ]
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
        let refused = request.error.as_ref();
        assert!(refused.is_none_or(|error| !error.is_empty() && self.owed), "{request:?}");
        self.asked = true;
        self.owed &= request.nonce.is_empty();
    }
}

struct Run {
    protocol: Protocol,
    random: SplitMix64,
    now: Timestamp,
    open: bool,
    node: bool,
    responses: u32,
    watched: BTreeMap<(ResourceType, Name), u32>,
    server: BTreeMap<ResourceType, Understood>,
    values: BTreeSet<(ResourceType, Arc<str>)>,
}

impl Run {
    fn step(&mut self, step: &Step) {
        match step {
            Step::Watch(kind, name) => {
                let (kind, name) = (KINDS[*kind], Name::from(NAMES[*name]));
                self.protocol.handle_watch(kind, &name, self.now).unwrap();
                *self.watched.entry((kind, name)).or_default() += 1;
            }
            Step::Unwatch(kind, name) => {
                let key = (KINDS[*kind], Name::from(NAMES[*name]));
                self.protocol.handle_unwatch(key.0, &key.1, self.now);
                if let Some(count) = self.watched.get_mut(&key) {
                    *count -= 1;
                }
                self.watched.retain(|_, count| *count > 0);
            }
            Step::Connected => {
                let before = self.protocol.connection.is_open();
                self.protocol.handle_connected(self.now);
                if !before && self.protocol.connection.is_open() {
                    (self.open, self.node) = (true, false);
                    self.server.clear();
                }
            }
            Step::Response { kind, resources, removed, errors } => {
                self.respond(KINDS[*kind], resources, removed, errors);
            }
            Step::Unknown => self.protocol.handle_unknown_response(),
            Step::Closed(reason) => {
                let reason = match reason {
                    0 => CloseReason::Ended,
                    1 => CloseReason::Failed("x".into()),
                    _ => CloseReason::Unimplemented("x".into()),
                };
                self.protocol.handle_closed(reason, self.now, &mut self.random);
                self.open = false;
            }
            Step::Take => self.take(),
            Step::Pass(millis) => self.pass(Duration::from_millis(*millis)),
        }
        self.listen();
    }

    fn respond(
        &mut self,
        kind: ResourceType,
        resources: &[(usize, usize, u64)],
        removed: &[usize],
        errors: &[(usize, u32)],
    ) {
        self.responses += 1;
        let nonce: Arc<str> = format!("n{}", self.responses).into();
        let mut response = Response::new(kind, format!("v{}", self.responses), nonce.clone());
        for (name, content, ttl) in resources {
            let name = ["a", "b", "c", "x", ""][*name];
            let content = match content {
                0 => Content::Bad("wrong".into()),
                1 => Content::Heartbeat,
                hash => Content::Good { hash: *hash as u64 },
            };
            let name = Some(name.into()).filter(|name: &Arc<str>| !name.is_empty());
            let mut received = Received::new(name, content);
            received.ttl = Some(Duration::from_secs(*ttl)).filter(|ttl| !ttl.is_zero());
            response.resources.push(received);
        }
        response.removed.extend(removed.iter().map(|name| NAMES[*name].into()));
        let errors = errors.iter().map(|(name, code)| ResourceError::new(NAMES[*name], *code, "x"));
        response.errors.extend(errors);
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
        for kind in KINDS {
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
            if action == Action::Close {
                self.open = false;
            }
        }
        while let Some(event) = self.protocol.poll_event() {
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
        let held = self.protocol.resources().filter(|resource| resource.version.is_some());
        let held: BTreeSet<_> =
            held.map(|resource| (resource.kind, resource.name.clone())).collect();
        assert_eq!(held, self.values);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]
    #[test]
    fn the_server_knows_what_is_watched_and_the_caller_what_is_held(
        (delta, fail, transient, mute) in any::<(bool, bool, bool, bool)>(),
        seed: u64,
        steps in prop::collection::vec(step(), 0..80),
    ) {
        let variant = if delta { Variant::Delta } else { Variant::StateOfTheWorld };
        let mut options = Options::new(variant);
        options.fail_on_data_errors = fail;
        options.resource_timer_is_transient_error = transient;
        if mute {
            options.mute_timeout = Duration::from_secs(2);
        }
        let mut run = Run {
            protocol: Protocol::new(options),
            random: SplitMix64::new(seed),
            now: Timestamp::ZERO,
            open: false,
            node: false,
            responses: 0,
            watched: BTreeMap::new(),
            server: BTreeMap::new(),
            values: BTreeSet::new(),
        };
        for step in &steps {
            run.step(step);
        }
        // However it stands: once there is a stream, the server learns all of it.
        for _ in 0..100 {
            run.step(&Step::Connected);
            if run.open {
                break;
            }
            if let Some((at, _)) = run.protocol.poll_timeout() {
                run.pass(at.saturating_duration_since(run.now));
            }
        }
        run.step(&Step::Take);
        prop_assert!(run.open || run.watched.is_empty());
    }
}
