//! The simulation: many calls, servers that misbehave, and a configuration that changes under them,
//! on a virtual clock.
//!
//! Unit tests show that each decider is right by itself; here they meet. Everything is driven through
//! the public interface as an adapter would drive it, without tasks, sockets or real time, and every
//! run of a seed is the same. What must hold whatever happens is checked at every step:
//!
//! - no call outlives its deadline (`world`);
//! - nobody is picked who is ejected or configured away, except in panic; no call goes to the same
//!   endpoint twice while there is another (`check::picked`);
//! - after an ejection at most the configured share is out, and somebody is left (`check::ejected`);
//! - a new configuration loses nothing of what stays (`check::Learnt`);
//! - a cluster's retries stay within its budget (`script`);
//! - when all calls have ended, every count is zero and all that is gone was freed
//!   (`check::Graves`);
//! - when all servers are well again, all calls succeed (`script`).
//!
//! `chain` puts hops behind each other and bounds how an outage grows from hop to hop; `balance`
//! looks at shares.
//!
//! A failure prints its seed; `MESH_SIM_SEED=17 cargo test -p mesh-core --test it sim` runs that one
//! alone.

mod balance;
mod chain;
mod check;
mod client;
mod clock;
mod network;
mod script;
mod setting;
mod world;

use script::Script;

const SEEDS: u64 = 50;

/// Says which seed failed.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {0}: run it alone with MESH_SIM_SEED={0}", self.0);
        }
    }
}

/// The seeds to run: the one in `MESH_SIM_SEED`, or all.
fn seeds() -> Vec<u64> {
    #[expect(clippy::disallowed_methods, reason = "the test is told which run to repeat")]
    match std::env::var("MESH_SIM_SEED") {
        Ok(seed) => vec![seed.parse().expect("MESH_SIM_SEED is a number")],
        Err(_) => (0..SEEDS).collect(),
    }
}

#[test]
fn whatever_happens() {
    let mut seen = script::Seen::default();
    for seed in seeds() {
        let running = Seed(seed);
        seen = seen.and(&Script::new(running.0).run());
    }
    if seeds().len() as u64 == SEEDS {
        seen.is_enough();
    }
}

#[test]
fn a_seed_always_gives_the_same_run() {
    let run = || Script::new(7).run();
    assert_eq!(run(), run());
}
