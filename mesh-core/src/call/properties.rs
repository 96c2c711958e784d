//! Whatever happens, in whatever order: a call ends, in bounds, and gives back what it took.

use super::script::{Event, Slots};
use super::*;
use crate::random::SplitMix64;
use proptest::prelude::*;
use std::collections::BTreeSet;

const OUTCOMES: [&str; 14] = [
    "200",
    "404",
    "503",
    "503 retryable",
    "503 x-mesh-retry=no",
    "200 | grpc-status=14",
    "200 | grpc-status=14 grpc-retry-pushback-ms=40",
    "connect",
    "refused",
    "closed",
    "lost",
    "reset",
    "per-try",
    "overflow",
];

#[derive(Clone, Debug)]
struct Given {
    timeout: u64,
    incoming: Option<u64>,
    per_try: Option<u64>,
    retries: u32,
    hedge: bool,
    grpc: bool,
    transparent: bool,
    slots: u32,
}

prop_compose! {
    fn given()(
        timeout in prop_oneof![Just(0u64), 1..2000u64],
        incoming in prop::option::of(0..2000u64),
        per_try in prop::option::of(1..500u64),
        retries in 0..8u32,
        (hedge, grpc, transparent) in any::<(bool, bool, bool)>(),
        slots in 0..8u32,
    ) -> Given {
        Given { timeout, incoming, per_try, retries, hedge, grpc, transparent, slots }
    }
}

/// What happens next: time passes and an attempt ends, or the timer comes first.
#[derive(Clone, Copy, Debug)]
struct Step {
    /// Milliseconds until then.
    after: u64,
    /// Which of the attempts that are out, and in what.
    outcome: Option<(usize, usize)>,
}

fn step() -> impl Strategy<Value = Step> {
    let outcome = prop::option::weighted(0.7, (0..4usize, 0..OUTCOMES.len()));
    (0..300u64, outcome).prop_map(|(after, outcome)| Step { after, outcome })
}

struct Run {
    call: Call,
    gate: Slots,
    random: SplitMix64,
    grpc: bool,
    now: Timestamp,
    out: BTreeSet<AttemptId>,
    ended: bool,
}

impl Run {
    fn new(given: &Given) -> Self {
        let mut retry =
            RetryPolicy::new(RetryOn::SERVER_ERROR | RetryOn::UNAVAILABLE | RetryOn::RESET);
        retry.num_retries = given.retries;
        retry.per_try_timeout = given.per_try.map(Duration::from_millis);
        let retry = Arc::new(retry);
        let mut policy = CallPolicy::new(Duration::from_millis(given.timeout));
        policy.retry = Some(&retry);
        policy.hedge.hedge_on_per_try_timeout = given.hedge;
        policy.transparent_retry = given.transparent;
        let request = RequestFacts {
            grpc: given.grpc,
            incoming_deadline: given.incoming.map(Timestamp::from_millis),
            ..RequestFacts::default()
        };
        Self {
            call: Call::new(&policy, request, Timestamp::ZERO),
            gate: Slots { free: given.slots, held: 0, body: true, refusal: RetryRefused::Budget },
            random: SplitMix64::new(u64::from(given.retries)),
            grpc: given.grpc,
            now: Timestamp::ZERO,
            out: BTreeSet::new(),
            ended: false,
        }
    }

    /// Acts as the adapter does, and checks what must hold of every action.
    fn act(&mut self, action: &Action) {
        match *action {
            Action::Start(id) => {
                let deadline = self.call.deadline();
                assert!(
                    deadline.is_none_or(|deadline| self.now < deadline.at),
                    "after the deadline"
                );
                assert!(self.out.insert(id), "an id is given once");
                assert!(self.out.len() <= hedge::MAX_IN_FLIGHT);
            }
            Action::Cancel(id) => {
                assert!(self.out.contains(&id), "only what is out is cancelled");
                self.outcome(id, "per-try");
            }
            Action::Commit(_) | Action::Finish(_) => {
                self.ended = true;
                self.out.clear();
                assert_eq!(self.gate.held, 0, "every slot is given back");
                assert_eq!(self.call.poll_timeout(), None);
            }
            Action::Wait => {
                let waits_for_something =
                    !self.out.is_empty() || self.call.poll_timeout().is_some() || self.ended;
                assert!(waits_for_something, "a call that can't end");
            }
        }
    }

    fn outcome(&mut self, id: AttemptId, text: &str) {
        let was_out = self.out.remove(&id);
        let event = Event::parse(text);
        let outcome = event.outcome(self.grpc);
        let action =
            self.call.handle_outcome(id, &outcome, &mut self.gate, self.now, &mut self.random);
        if let Action::Commit(committed) = action {
            assert!(was_out && committed == id, "only the response in hand is committed");
        }
        self.act(&action);
    }

    /// Lets time pass to `until`, firing the timer whenever it is due.
    fn advance(&mut self, until: Timestamp) {
        while let Some((at, _)) = self.call.poll_timeout().filter(|(at, _)| *at <= until) {
            self.now = self.now.max(at);
            let action = self.call.handle_timeout(&mut self.gate, self.now);
            assert!(
                action != Action::Wait
                    || self.call.poll_timeout().is_none_or(|(next, _)| next > at)
                    || !self.out.is_empty(),
                "a timer that is due forever"
            );
            self.act(&action);
        }
        self.now = until;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]
    #[test]
    fn every_call_ends_in_bounds(given in given(), steps in prop::collection::vec(step(), 0..40)) {
        let mut run = Run::new(&given);
        let first = run.call.start(run.now);
        run.act(&first);
        for step in steps {
            run.advance(run.now + Duration::from_millis(step.after));
            if let Some((which, what)) = step.outcome
                && let Some(id) = run.out.iter().nth(which % run.out.len().max(1)).copied()
            {
                run.outcome(id, OUTCOMES[what]);
            }
        }
        // Whatever is still out fails now; what follows fails too. So every call ends.
        for _ in 0..100 {
            run.advance(run.now + Duration::from_secs(10));
            let Some(id) = run.out.first().copied() else { break };
            run.outcome(id, "lost");
        }
        prop_assert!(run.ended);
        let transparent = [MAX_UNSENT, MAX_REFUSED, MAX_GOAWAY].into_iter().map(u32::from).sum::<u32>();
        prop_assert!(run.call.attempts() <= 1 + given.retries + transparent);
        prop_assert!(run.call.counts().retries <= given.retries);
        prop_assert_eq!(run.gate.free, given.slots);
    }
}
