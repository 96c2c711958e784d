//! Nothing is lost or counted twice, whatever happens to streams, clusters and the server's wishes.

use super::tests::{Half, Sim};
use super::*;
use proptest::prelude::*;

/// Something that happens.
#[derive(Clone, Debug)]
enum Op {
    Begin(u8, u8),
    Succeed(u8, u8),
    Fail(u8, u8),
    Drop(u8),
    Refuse(u8),
    Watch(u8),
    Cut,
    Answer(u8),
    Pass(u16),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let (c, p) = (0u8..3, 0u8..2);
    let op = prop_oneof![
        4 => (c.clone(), p.clone()).prop_map(|(c, p)| Op::Begin(c, p)),
        3 => (c.clone(), p.clone()).prop_map(|(c, p)| Op::Succeed(c, p)),
        2 => (c.clone(), p).prop_map(|(c, p)| Op::Fail(c, p)),
        1 => c.clone().prop_map(Op::Drop),
        1 => c.prop_map(Op::Refuse),
        1 => (0u8..8).prop_map(Op::Watch),
        1 => Just(Op::Cut),
        1 => (0u8..8).prop_map(Op::Answer),
        4 => (0u16..3000).prop_map(Op::Pass),
    ];
    prop::collection::vec(op, 0..120)
}

/// The sums of all reports.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sums {
    localities: BTreeMap<(String, String), [u64; 3]>,
    drops: BTreeMap<String, u64>,
    totals: BTreeMap<String, u64>,
}

/// Three clusters with two localities each; every end follows a beginning.
struct World {
    sim: Sim,
    millis: u64,
    /// The clusters that are watched, a bit each.
    watched: u8,
    /// Those that the server asks for.
    asked: u8,
    /// What was counted of clusters until they were forgotten.
    past: Vec<(LoadKey, ClusterLoad)>,
    sums: Sums,
}

impl World {
    fn load(&mut self, c: u8, p: u8) -> &mut LocalityLoad {
        self.sim.locality(&format!("c{c}"), &format!("p{p}"))
    }

    fn step(&mut self, op: &Op) {
        let now = Timestamp::from_millis(self.millis);
        match *op {
            // Nothing begins on a cluster that is gone.
            Op::Begin(c, _) | Op::Drop(c) | Op::Refuse(c) if self.watched & (1 << c) == 0 => {}
            Op::Begin(c, p) => {
                let load = self.load(c, p);
                load.issued += 1;
                load.in_progress += 1;
            }
            Op::Succeed(c, p) | Op::Fail(c, p) => {
                let succeeds = matches!(op, Op::Succeed(..));
                let load = self.load(c, p);
                if load.in_progress > 0 {
                    load.in_progress -= 1;
                    *(if succeeds { &mut load.succeeded } else { &mut load.failed }) += 1;
                }
            }
            Op::Drop(c) => {
                *self.sim.cluster(&format!("c{c}")).drops.entry("d".into()).or_default() += 1;
            }
            Op::Refuse(c) => self.sim.cluster(&format!("c{c}")).refused += 1,
            Op::Watch(bits) => self.watch(bits, now),
            Op::Cut => {
                self.asked = 7;
                self.sim.machine.handle_closed(CloseReason::Ended, now, &mut Half);
            }
            Op::Answer(bits) => self.answer(bits, now),
            Op::Pass(millis) => self.millis += u64::from(millis),
        }
        self.settle();
    }

    /// A cluster that the server does not ask for stays: what it counted would be lost, and rightly so.
    fn watch(&mut self, bits: u8, now: Timestamp) {
        self.watched = bits | (self.watched & !self.asked);
        let keys = (0..3).filter(|c| self.watched & (1 << c) != 0).map(at).collect();
        self.sim.machine.handle_watch(&keys, now);
    }

    /// What is gone is asked for until it was told.
    fn answer(&mut self, bits: u8, now: Timestamp) {
        let owed = (0..3u8).filter(|c| self.sim.counted.contains_key(&at(*c))).map(|c| 1 << c);
        self.asked = bits | (owed.sum::<u8>() & !self.watched);
        let named = (0..3u8).filter(|c| self.asked & (1 << c) != 0);
        let response = LoadStatsResponse {
            clusters: named.map(|c| format!("c{c}")).collect(),
            send_all_clusters: self.asked == 7,
            ..LoadStatsResponse::default()
        };
        self.sim.machine.handle_response(&response, now);
    }

    fn settle(&mut self) {
        let now = Timestamp::from_millis(self.millis);
        self.sim.machine.handle_timeout(now, &mut Half);
        while let Some(action) = self.sim.machine.poll_action() {
            if let Action::Connect(_) = action {
                self.sim.machine.handle_connected();
            }
        }
        let counted = &self.sim.counted;
        let read = |key: &LoadKey| counted.get(key).cloned().unwrap_or_default();
        while let Some(request) = self.sim.machine.poll_request(now, read) {
            self.sums.add(&request);
        }
        while let Some(key) = self.sim.machine.poll_forgotten() {
            let load = self.sim.counted.remove(&key);
            self.past.extend(load.map(|load| (key, load)));
        }
    }

    /// All that was counted, as the reports should have it.
    fn counted(&self) -> Sums {
        let mut sums = Sums::default();
        let now = self.sim.counted.iter();
        for (key, load) in self.past.iter().map(|(key, load)| (key, load)).chain(now) {
            let name = key.cluster.to_string();
            for (place, load) in &load.localities {
                let sum =
                    sums.localities.entry((name.clone(), place.zone.to_string())).or_default();
                let numbers = [load.issued, load.succeeded, load.failed];
                sum.iter_mut().zip(numbers).for_each(|(sum, number)| *sum += number);
            }
            let dropped: u64 = load.drops.values().sum();
            *sums.drops.entry(name.clone()).or_default() += dropped;
            *sums.totals.entry(name).or_default() += dropped + load.refused;
        }
        sums.without_zeroes()
    }
}

fn at(c: u8) -> LoadKey {
    LoadKey::new(format!("c{c}"))
}

impl Sums {
    fn without_zeroes(mut self) -> Self {
        self.localities.retain(|_, sum| *sum != [0; 3]);
        self.drops.retain(|_, sum| *sum > 0);
        self.totals.retain(|_, sum| *sum > 0);
        self
    }

    fn add(&mut self, request: &LoadStatsRequest) {
        for stats in &request.cluster_stats {
            for one in &stats.upstream_locality_stats {
                let place = one.locality.as_ref().unwrap().zone.clone();
                let sum = self.localities.entry((stats.cluster_name.clone(), place)).or_default();
                sum[0] += one.total_issued_requests;
                sum[1] += one.total_successful_requests;
                sum[2] += one.total_error_requests;
                // Nothing has ended that has not begun.
                assert!(sum[0] >= sum[1] + sum[2], "{stats:?}");
                assert_eq!(sum[0] - sum[1] - sum[2], one.total_requests_in_progress, "{stats:?}");
            }
            let categories: u64 = stats.dropped_requests.iter().map(|d| d.dropped_count).sum();
            assert!(stats.total_dropped_requests >= categories, "{stats:?}");
            *self.drops.entry(stats.cluster_name.clone()).or_default() += categories;
            *self.totals.entry(stats.cluster_name.clone()).or_default() +=
                stats.total_dropped_requests;
        }
    }
}

proptest! {
    #[test]
    fn all_reports_together_are_what_was_counted(ops in ops()) {
        let (sim, sums, past) = (Sim::new(), Sums::default(), Vec::new());
        let mut world = World { sim, millis: 0, watched: 0, asked: 7, past, sums };
        world.watch(7, Timestamp::ZERO);
        ops.iter().for_each(|op| world.step(op));
        // Everything that is still owed: all clusters are asked for, on a stream that lives.
        world.step(&Op::Watch(7));
        for _ in 0..3 {
            // The longest back-off is 120 s.
            world.step(&Op::Pass(60_000));
            world.step(&Op::Answer(7));
        }
        world.step(&Op::Pass(5_000));
        prop_assert_eq!(world.counted(), world.sums.without_zeroes());
    }
}
