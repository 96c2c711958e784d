//! The world: hops of clients and servers on one clock, and the loop that moves it.

use super::check::{self, Graves, Learnt};
use super::client::{ActiveCall, CallKey, Gate, Out, with_outcome};
use super::clock::Clock;
use super::network::{Answer, Network};
use http::{HeaderMap, Method};
use mesh_core::breaker::Resource;
use mesh_core::call::{Action, AttemptId, Call, RequestFacts};
use mesh_core::model::Address;
use mesh_core::outcome::{Failure, Outcome};
use mesh_core::random::{Random, SplitMix64};
use mesh_core::state::{InFlight, Mesh, PickRequest, Picked, Routing, Updater};
use mesh_core::{ConfigUpdate, RequestHead, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// What happens at an instant.
#[derive(Debug)]
pub(super) enum Happening {
    /// A client calls this host on the first hop.
    Call(Arc<str>),
    Answer(CallKey, AttemptId, Answer),
    /// A response body has ended.
    BodyEnd(u64),
    Timer(CallKey),
    /// An endpoint crossed a threshold.
    Attention(usize),
    Maintenance(usize),
    /// The script's next step.
    Step,
}

/// Callers of one level, with their mesh, and the servers they call.
#[derive(Debug)]
pub(super) struct Hop {
    pub(super) updater: Updater<()>,
    pub(super) mesh: Mesh<()>,
    pub(super) network: Network,
    pub(super) graves: Graves,
    pub(super) tally: BTreeMap<Arc<str>, Tally>,
}

/// Counts of one cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) calls: u64,
    pub(super) attempts: u64,
    pub(super) retries: u64,
    pub(super) succeeded: u64,
    /// Calls that ended without success, or were given up.
    pub(super) failed: u64,
}

impl Tally {
    pub(super) const fn and(self, other: &Self) -> Self {
        Self {
            calls: self.calls + other.calls,
            attempts: self.attempts + other.attempts,
            retries: self.retries + other.retries,
            succeeded: self.succeeded + other.succeeded,
            failed: self.failed + other.failed,
        }
    }
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) clock: Clock<Happening>,
    pub(super) random: SplitMix64,
    pub(super) hops: Vec<Hop>,
    /// Servers say `x-mesh-retry: no` when the call they made was exhausted.
    pub(super) announces: bool,
    /// Calls of the first hop that ended: when, and whether well.
    pub(super) ended: Vec<(Timestamp, bool)>,
    /// Every pick of the first hop.
    pub(super) picks: Vec<(Timestamp, Address)>,
    /// Ejections on all hops.
    pub(super) ejections: u64,
    calls: BTreeMap<CallKey, ActiveCall>,
    bodies: BTreeMap<u64, InFlight<()>>,
    next_key: u64,
}

impl Hop {
    fn new() -> Self {
        let (updater, mesh) = Updater::new(());
        let (network, graves, tally) = (Network::default(), Graves::default(), BTreeMap::new());
        Self { updater, mesh, network, graves, tally }
    }

    pub(super) fn total(&self) -> Tally {
        self.tally.values().fold(Tally::default(), Tally::and)
    }
}

// === What others do to it ===

impl World {
    pub(super) fn new(hops: usize, random: SplitMix64) -> Self {
        Self {
            clock: Clock::new(),
            random,
            hops: (0..hops).map(|_| Hop::new()).collect(),
            announces: false,
            ended: Vec::new(),
            picks: Vec::new(),
            ejections: 0,
            calls: BTreeMap::new(),
            bodies: BTreeMap::new(),
            next_key: 0,
        }
    }

    /// Applies a configuration to a hop, and checks that nothing is lost.
    pub(super) fn apply(&mut self, hop: usize, update: ConfigUpdate) {
        let now = self.clock.now();
        let Hop { updater, mesh, graves, .. } = &mut self.hops[hop];
        let before = Learnt::of(mesh);
        updater.apply(update, now).unwrap();
        before.is_kept_by(mesh);
        graves.remember(mesh);
        self.pickers_changed(hop);
    }

    /// Lets everything happen until the script's next step, or until nothing is planned any more:
    /// `false`.
    pub(super) fn run_to_step(&mut self) -> bool {
        while let Some(happening) = self.clock.next() {
            if let Happening::Step = happening {
                return true;
            }
            self.happen(happening);
        }
        false
    }

    fn happen(&mut self, happening: Happening) {
        let now = self.clock.now();
        match happening {
            Happening::Call(host) => {
                self.call(0, &host, None, None);
            }
            Happening::Answer(key, id, answer) => self.answered(key, id, &answer),
            Happening::BodyEnd(key) => drop(self.bodies.remove(&key)),
            Happening::Timer(key) => {
                if let Some(call) = self.calls.remove(&key) {
                    self.run(key, call, Action::Wait);
                }
            }
            Happening::Attention(hop) => {
                let turn = self.hops[hop].updater.handle_attention(now, &mut self.random);
                self.maintained(hop, &turn.events);
            }
            Happening::Maintenance(hop) => {
                let due = self.hops[hop].updater.poll_timeout();
                if due.is_some_and(|(at, _)| at <= now) {
                    let turn = self.hops[hop].updater.handle_timeout(now, &mut self.random);
                    self.maintained(hop, &turn.events);
                }
            }
            Happening::Step => {}
        }
    }

    /// Nothing is in progress any more, and nothing was left behind.
    pub(super) fn is_quiet(&mut self) {
        assert!(self.calls.is_empty() && self.bodies.is_empty(), "{} calls", self.calls.len());
        for hop in &mut self.hops {
            hop.updater.free_retired();
            hop.graves.are_quiet(&hop.mesh);
        }
    }
}

// === The writer ===

impl World {
    fn maintained(&mut self, hop: usize, events: &[(Arc<str>, mesh_core::event::Event)]) {
        let snapshot = self.hops[hop].mesh.snapshot();
        for (name, event) in events {
            let ejected = check::ejected(snapshot.cluster(name).unwrap(), event);
            self.ejections += u64::from(ejected);
        }
        drop(snapshot);
        self.pickers_changed(hop);
    }

    /// Plans the next maintenance, and lets those that wait for an endpoint look again.
    fn pickers_changed(&mut self, hop: usize) {
        if let Some((at, _)) = self.hops[hop].updater.poll_timeout() {
            self.clock.plan(at, Happening::Maintenance(hop));
        }
        let waits =
            |(_, call): &(&CallKey, &ActiveCall)| call.hop == hop && !call.waiting.is_empty();
        let waiting: Vec<CallKey> = self.calls.iter().filter(waits).map(|(key, _)| *key).collect();
        for key in waiting {
            let Some(mut call) = self.calls.remove(&key) else { continue };
            let mut action = Action::Wait;
            for id in call.stop_waiting() {
                // What the first ones led to is done first; a call that is over has no others.
                match self.attempt(key, &mut call, id) {
                    Action::Wait => {}
                    decided => action = decided,
                }
            }
            self.run(key, call, action);
        }
    }

    fn attention(&mut self, hop: usize) {
        // The writer is another task: it comes a little later.
        let at = self.clock.now() + Duration::from_micros(50);
        self.clock.plan(at, Happening::Attention(hop));
    }
}

// === A call ===

impl World {
    /// Begins a call on `hop` for a client, or for an attempt of another call.
    fn call(
        &mut self,
        hop: usize,
        host: &Arc<str>,
        parent: Option<(CallKey, AttemptId)>,
        deadline: Option<Timestamp>,
    ) -> Option<CallKey> {
        let now = self.clock.now();
        let headers = HeaderMap::new();
        let head = RequestHead::new(&Method::GET, host, "/", &headers);
        let routing = self.hops[hop].mesh.snapshot().route(&head, &mut self.random);
        let Ok(Routing::Forward(target, _)) = routing else {
            self.end(hop, parent, false, false);
            return None;
        };
        let mut facts = RequestFacts::default();
        facts.incoming_deadline = deadline;
        let mut machine = Call::new(&target.call_policy(), facts, now);
        target.cluster().budget().deposit();
        let action = machine.start(now);
        let gate = Gate::new(Arc::clone(&target));
        let call = ActiveCall {
            hop,
            machine,
            target,
            parent,
            previous: Vec::new(),
            out: BTreeMap::new(),
            waiting: BTreeSet::new(),
            gate,
            is_well: false,
            told_exhausted: false,
        };
        self.next_key += 1;
        let key = self.next_key;
        self.run(key, call, action);
        Some(key)
    }

    /// Does as the machine says until it has to wait, or the call is over.
    fn run(&mut self, key: CallKey, mut call: ActiveCall, mut action: Action) {
        let now = self.clock.now();
        for _ in 0..1_000 {
            action = match action {
                Action::Start(id) => self.attempt(key, &mut call, id),
                Action::Cancel(id) => {
                    let answer = Answer::Failed(Failure::PerTryTimeout);
                    self.settle(&mut call, id, &answer)
                }
                Action::Commit(_) => return self.over(call, true),
                Action::Finish(_) => return self.over(call, false),
                Action::Wait => match call.machine.poll_timeout() {
                    Some((at, _)) if at <= now => call.machine.handle_timeout(&mut call.gate, now),
                    due => {
                        if let Some((at, _)) = due {
                            self.clock.plan(at, Happening::Timer(key));
                        }
                        self.calls.insert(key, call);
                        return;
                    }
                },
            }
        }
        panic!("a call that never waits: {call:?}");
    }

    /// Places an attempt: a place in the breaker, an endpoint, and off it goes.
    fn attempt(&mut self, key: CallKey, call: &mut ActiveCall, id: AttemptId) -> Action {
        let now = self.clock.now();
        let (target, priority) = (Arc::clone(&call.target), call.target.priority());
        let breaker = target.cluster().breaker();
        if let Err(overflow) = breaker.try_acquire(priority, Resource::Requests) {
            return self.unplaced(call, id, Failure::Overflow(overflow));
        }
        let reselect = target.max_reselect();
        let previous = if reselect.is_some() { &*call.previous } else { &[] };
        let max_reselect = reselect.unwrap_or(0);
        // Every other call is hashed, all its attempts alike.
        let hash = key.is_multiple_of(2).then(|| SplitMix64::new(key).next_u64());
        let request = PickRequest { now, hash, previous, max_reselect };
        let picker = Arc::clone(&target.cluster().picker());
        let failure = match picker.pick(target.cluster(), request, &mut self.random) {
            Picked::Endpoint(index, endpoint) => {
                check::picked(&picker, index, previous);
                let endpoint = Arc::clone(endpoint);
                let in_flight = InFlight::begin(target, endpoint, priority);
                self.send(key, call, id, in_flight);
                return Action::Wait;
            }
            Picked::Wait => match breaker.try_acquire(priority, Resource::Pending) {
                Ok(()) => None,
                Err(overflow) => Some(Failure::Overflow(overflow)),
            },
            Picked::Fail(counts) | Picked::Gone(counts) => Some(Failure::NoEndpoint(counts)),
        };
        breaker.release(priority, Resource::Requests);
        match failure {
            None => {
                call.waiting.insert(id);
                Action::Wait
            }
            Some(failure) => self.unplaced(call, id, failure),
        }
    }

    fn unplaced(&mut self, call: &mut ActiveCall, id: AttemptId, failure: Failure) -> Action {
        let (now, outcome) = (self.clock.now(), Outcome::Failed(failure));
        call.machine.handle_outcome(id, &outcome, &mut call.gate, now, &mut self.random)
    }

    /// Sends an attempt to its server, which answers by itself or by a call on the next hop.
    fn send(
        &mut self,
        key: CallKey,
        call: &mut ActiveCall,
        id: AttemptId,
        in_flight: InFlight<()>,
    ) {
        let now = self.clock.now();
        let address = in_flight.endpoint().address().clone();
        let deadline = call.machine.attempt_deadline(id);
        if call.hop == 0 {
            self.picks.push((now, address.clone()));
        }
        let mut child = None;
        if call.hop + 1 < self.hops.len() {
            self.hops[call.hop].network.arrived += 1;
            let host = call.target.cluster().name().clone();
            child = self.call(call.hop + 1, &host, Some((key, id)), deadline);
        } else {
            let network = &mut self.hops[call.hop].network;
            if let Some((after, answer)) = network.answer(&address, now, &mut self.random) {
                self.clock.plan(now + after, Happening::Answer(key, id, answer));
            }
        }
        call.machine.handle_connected(id, now);
        call.out.insert(id, Out { in_flight, began: now, deadline, child });
    }

    fn answered(&mut self, key: CallKey, id: AttemptId, answer: &Answer) {
        let Some(mut call) = self.calls.remove(&key) else { return };
        let action = if call.out.contains_key(&id) {
            self.settle(&mut call, id, answer)
        } else {
            Action::Wait // It was given up before.
        };
        self.run(key, call, action);
    }

    /// Tells the endpoint and the machine what an attempt ended in.
    fn settle(&mut self, call: &mut ActiveCall, id: AttemptId, answer: &Answer) -> Action {
        let now = self.clock.now();
        let Some(out) = call.out.remove(&id) else {
            // It still waited for an endpoint.
            if call.waiting.remove(&id) {
                call.target.cluster().breaker().release(call.target.priority(), Resource::Pending);
            }
            return self.unplaced(call, id, Failure::PerTryTimeout);
        };
        call.previous.push(out.in_flight.endpoint().id());
        call.is_well = matches!(answer, Answer::Head { status: 200, .. });
        call.told_exhausted = matches!(answer, Answer::Head { exhausted: true, .. });
        let (woken, action) = with_outcome(answer, |outcome| {
            let woken = call.record(&out, outcome, now);
            let (gate, random) = (&mut call.gate, &mut self.random);
            (woken, call.machine.handle_outcome(id, outcome, gate, now, random))
        });
        if woken {
            self.attention(call.hop);
        }
        if let Some(child) = out.child {
            self.give_up(child);
        }
        if let (Action::Commit(_), Answer::Head { body, .. }) = (&action, answer) {
            // The deadline moves on to the body.
            let limit = call.machine.deadline().map_or(Timestamp::MAX, |deadline| deadline.at);
            self.next_key += 1;
            self.bodies.insert(self.next_key, out.in_flight);
            self.clock.plan((now + *body).min(limit), Happening::BodyEnd(self.next_key));
        }
        action
    }

    /// The call is decided.
    fn over(&mut self, mut call: ActiveCall, committed: bool) {
        let now = self.clock.now();
        if let Some(deadline) = call.machine.deadline() {
            assert!(now <= deadline.at, "{:?} after its deadline", now);
        }
        let succeeded = committed && call.is_well;
        let exhausted = call.is_exhausted();
        self.drop_attempts(&mut call);
        assert_eq!(call.gate.held, 0, "retry slots that are not given back");
        self.count(&call, succeeded);
        self.end(call.hop, call.parent, succeeded, exhausted);
    }

    /// The caller of a call goes away.
    fn give_up(&mut self, key: CallKey) {
        if let Some(mut call) = self.calls.remove(&key) {
            self.drop_attempts(&mut call);
            self.count(&call, false);
        }
    }

    fn drop_attempts(&mut self, call: &mut ActiveCall) {
        let now = self.clock.now();
        call.stop_waiting();
        for out in std::mem::take(&mut call.out).into_values() {
            if call.record_dropped(&out, now) {
                self.attention(call.hop);
            }
            if let Some(child) = out.child {
                self.give_up(child);
            }
        }
    }

    fn count(&mut self, call: &ActiveCall, succeeded: bool) {
        let counts = call.machine.counts();
        let name = call.target.cluster().name().clone();
        let tally = self.hops[call.hop].tally.entry(name).or_default();
        tally.calls += 1;
        tally.attempts += u64::from(counts.attempt);
        tally.retries += u64::from(counts.retries);
        tally.succeeded += u64::from(succeeded);
        tally.failed += u64::from(!succeeded);
    }

    /// Tells whoever made the call.
    fn end(
        &mut self,
        hop: usize,
        parent: Option<(CallKey, AttemptId)>,
        succeeded: bool,
        exhausted: bool,
    ) {
        let now = self.clock.now();
        if hop == 0 {
            self.ended.push((now, succeeded));
        }
        let Some((key, id)) = parent else { return };
        let status = if succeeded { 200 } else { 503 };
        let exhausted = exhausted && self.announces && !succeeded;
        let answer = Answer::Head { status, exhausted, body: Duration::ZERO };
        self.clock.plan(now, Happening::Answer(key, id, answer));
    }
}
