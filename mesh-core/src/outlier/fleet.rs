//! A cluster under test: monitors, a detector, virtual time, and a log of what it said.

use super::{Detector, Endpoints, Monitor, Rules, Turn};
use crate::Timestamp;
use crate::model::{Address, OutlierDetection};
use crate::outcome::Observation;
use crate::random::SplitMix64;
use std::net::SocketAddr;
use std::time::Duration;

#[derive(Debug, Default)]
pub(super) struct Members {
    monitors: Vec<Monitor>,
    addresses: Vec<Address>,
    pub(super) unavailable: Vec<u32>,
}

impl Members {
    pub(super) fn new(count: u16) -> Self {
        let address = |port| SocketAddr::from(([10, 0, 0, 1], port)).into();
        Self {
            monitors: (0..count).map(|_| Monitor::default()).collect(),
            addresses: (0..count).map(address).collect(),
            unavailable: Vec::new(),
        }
    }

    pub(super) fn remove(&mut self, index: u32) {
        self.monitors.remove(index as usize);
        self.addresses.remove(index as usize);
    }

    pub(super) fn ejected(&self) -> Vec<u32> {
        (0..self.count()).filter(|index| self.monitor(*index).is_ejected()).collect()
    }
}

impl Endpoints for Members {
    fn count(&self) -> u32 {
        self.monitors.len() as u32
    }

    fn monitor(&self, index: u32) -> &Monitor {
        &self.monitors[index as usize]
    }

    fn address(&self, index: u32) -> &Address {
        &self.addresses[index as usize]
    }

    fn is_available(&self, index: u32) -> bool {
        !self.unavailable.contains(&index)
    }
}

/// Members with their detector, driven as the writer would.
#[derive(Debug)]
pub(super) struct Fleet {
    pub(super) members: Members,
    pub(super) detector: Detector,
    pub(super) now: Timestamp,
    pub(super) random: SplitMix64,
    /// Codes of the events since they were last asked for.
    codes: Vec<&'static str>,
}

impl Fleet {
    pub(super) fn new(count: u16, config: &OutlierDetection) -> Self {
        // An origin that is not zero: nothing may depend on it.
        let now = Timestamp::from_millis(5_000);
        Self {
            members: Members::new(count),
            detector: Detector::new(Some(config), now),
            now,
            random: SplitMix64::new(1),
            codes: Vec::new(),
        }
    }

    pub(super) fn rules(&self) -> Rules {
        self.detector.rules()
    }

    /// `times` attempts that end so; the writer is woken when a streak is full.
    pub(super) fn observe(&mut self, index: u32, observation: Observation, times: u32) {
        let rules = self.rules();
        for _ in 0..times {
            if self.members.monitor(index).record(&rules, observation) {
                let now = self.now;
                let turn = self.detector.handle_attention(&self.members, now, &mut self.random);
                self.log(&turn);
            }
        }
    }

    pub(super) fn answer(&mut self, index: u32, code: u16, times: u32) {
        self.observe(index, Observation::Code(code), times);
    }

    /// Lets time pass, with a turn at each timeout on the way, as late as the timeout says.
    pub(super) fn advance(&mut self, millis: u64) {
        let end = self.now + Duration::from_millis(millis);
        while let Some((due, _)) = self.detector.poll_timeout().filter(|(due, _)| *due <= end) {
            self.now = due.max(self.now);
            let turn = self.detector.handle_timeout(&self.members, self.now, &mut self.random);
            self.log(&turn);
        }
        self.now = end;
    }

    pub(super) fn set_config(&mut self, config: Option<&OutlierDetection>) {
        let turn = self.detector.set_config(config, &self.members, self.now);
        self.log(&turn);
    }

    /// Codes of the events since the last time.
    pub(super) fn codes(&mut self) -> Vec<&'static str> {
        std::mem::take(&mut self.codes)
    }

    pub(super) fn ejected(&self) -> Vec<u32> {
        self.members.ejected()
    }

    fn log(&mut self, turn: &Turn) {
        assert!(turn.changed.is_sorted_by(|a, b| a < b), "ascending, each once: {turn:?}");
        self.codes.extend(turn.events.iter().map(crate::event::Event::code));
    }
}
