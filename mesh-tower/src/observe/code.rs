//! [`Code`]: how a call or an attempt ended, and [`CodeTable`]: the codes that were seen.
//!
//! Servers choose status codes, so their number must not be theirs to choose: a table holds the first
//! [`CODES`] distinct codes, all that come later share one cell whose labels say `other`. The table
//! is append-only and lock-free, and the usual code is found by the first comparison.

use super::cell::{Sharded, zeroes};
use super::span::ThinSpan;
use http::StatusCode;
use mesh_core::ResponseFlag;
use mesh_core::outcome::Outcome;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// The most distinct codes that one owner tells apart.
pub(super) const CODES: usize = 32;

/// How a call or an attempt ended, as metrics tell it apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Code {
    /// The HTTP status; `None`: there was no response head.
    pub(crate) status: Option<StatusCode>,
    /// The gRPC status of a gRPC call; `None`: not gRPC, or it never came.
    pub(crate) grpc_status: Option<u32>,
    /// Why the mesh answered or gave up by itself.
    pub(crate) flag: Option<ResponseFlag>,
}

impl Code {
    /// The code of an attempt that ended in `outcome`.
    pub(crate) fn of(outcome: &Outcome<'_>) -> Self {
        match outcome {
            Outcome::Response(response) => Self {
                status: Some(response.status),
                grpc_status: response.grpc_status,
                flag: None,
            },
            Outcome::Failed(failure) => Self { flag: Some(failure.flag()), ..Self::default() },
        }
    }
}

impl Code {
    /// Tells a span.
    pub(crate) fn record(&self, span: &ThinSpan) {
        if !span.is_wanted() {
            return;
        }
        if let Some(status) = self.status {
            span.record("status", status.as_u16());
        }
        if let Some(status) = self.grpc_status {
            span.record("grpc_status", status);
        }
        if let Some(flag) = self.flag {
            span.record("response_flag", flag.as_str());
        }
    }
}

/// One counter per code, and one for the rest. Lives in a shard's block.
pub(super) struct CodeCounters([AtomicU64; CODES + 1]);

impl Default for CodeCounters {
    fn default() -> Self {
        Self(zeroes())
    }
}

/// Which counter belongs to which code; shared by all shards.
pub(super) struct CodeTable([AtomicU32; CODES]);

impl Default for CodeTable {
    fn default() -> Self {
        Self([const { AtomicU32::new(EMPTY) }; CODES])
    }
}

impl CodeTable {
    /// The counter of `code` among `counters`.
    pub(super) fn counter<'a>(&self, counters: &'a CodeCounters, code: Code) -> &'a AtomicU64 {
        &counters.0[self.slot(code.pack())]
    }

    /// The place of `key`, taken now if it has none and there is room.
    fn slot(&self, key: u32) -> usize {
        for (slot, cell) in self.0.iter().enumerate() {
            let seen = match cell.load(Ordering::Relaxed) {
                // Relaxed suffices: the counters exist, at zero, before any key does.
                EMPTY => {
                    let claim =
                        cell.compare_exchange(EMPTY, key, Ordering::Relaxed, Ordering::Relaxed);
                    claim.map_or_else(|other| other, |_| key)
                }
                seen => seen,
            };
            if seen == key {
                return slot;
            }
        }
        CODES
    }

    /// Calls `visit` with the labels status, gRPC status and flag and the count of each code seen, in
    /// a stable order.
    pub(super) fn visit<T: Default>(
        &self,
        shards: &Sharded<T>,
        counters: impl Fn(&T) -> &CodeCounters,
        mut visit: impl FnMut([&str; 3], u64),
    ) {
        let keys = self.0.iter().map(|cell| cell.load(Ordering::Relaxed));
        let mut seen: Vec<_> = keys.take_while(|key| *key != EMPTY).zip(0..).collect();
        seen.sort_unstable();
        for (key, slot) in seen {
            let count = shards.sum(|block| &counters(block).0[slot]);
            // A key is there an instant before its first count.
            if count > 0 {
                Labels::unpack(key, |labels| visit(labels, count));
            }
        }
        let rest = shards.sum(|block| &counters(block).0[CODES]);
        if rest > 0 {
            visit(["other"; 3], rest);
        }
    }
}

// A key: | 1 | flag: 8 | gRPC status: 5 | HTTP status: 10 |, so that the order of keys is the order
// of flag, then gRPC status, then HTTP status.
const EMPTY: u32 = 0;
const SEEN: u32 = 1 << 31;
const FLAG_SHIFT: u32 = 15;
const GRPC_SHIFT: u32 = 10;
const STATUS_MASK: u32 = (1 << 10) - 1;
const GRPC_MASK: u32 = (1 << 5) - 1;
const FLAG_MASK: u32 = (1 << 8) - 1;
/// Stands for every HTTP status outside 100..=599; 0 stands for none.
const STATUS_OTHER: u32 = 1;
/// Stands for every gRPC status above 16; 0 stands for none, n + 1 for n.
const GRPC_OTHER: u32 = 18;

impl Code {
    fn pack(self) -> u32 {
        let status = match self.status.map(|status| u32::from(status.as_u16())) {
            None => 0,
            Some(status @ 100..=599) => status,
            Some(_) => STATUS_OTHER,
        };
        let grpc_status = self.grpc_status.map_or(0, |status| status.min(GRPC_OTHER - 1) + 1);
        let flag = self.flag.map_or(0, |flag| flag as u32 + 1);
        SEEN | flag << FLAG_SHIFT | grpc_status << GRPC_SHIFT | status
    }
}

/// The text of the three labels.
struct Labels;

impl Labels {
    fn unpack(key: u32, with: impl FnOnce([&str; 3])) {
        let number = |value: u32| value.to_string();
        let status = match key & STATUS_MASK {
            0 => String::new(),
            STATUS_OTHER => "other".to_owned(),
            status => number(status),
        };
        let grpc_status = match key >> GRPC_SHIFT & GRPC_MASK {
            0 => String::new(),
            GRPC_OTHER => "other".to_owned(),
            status => number(status - 1),
        };
        let flag = (key >> FLAG_SHIFT & FLAG_MASK) as usize;
        let flag = flag.checked_sub(1).and_then(|index| ResponseFlag::ALL.get(index));
        with([&status, &grpc_status, flag.map_or("", |flag| flag.as_str())]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderMap, HeaderValue};
    use mesh_core::outcome::{Failure, ResponseOutcome};
    use std::thread;

    #[derive(Default)]
    struct Block(CodeCounters);

    #[derive(Default)]
    struct Owner {
        table: CodeTable,
        shards: Sharded<Block>,
    }

    impl Owner {
        fn count(&self, code: Code) {
            let block = self.shards.block();
            block.count(self.table.counter(&block.0, code));
        }

        fn seen(&self) -> Vec<(String, u64)> {
            let mut seen = Vec::new();
            self.table.visit(
                &self.shards,
                |block| &block.0,
                |labels, count| seen.push((labels.join("/"), count)),
            );
            seen
        }
    }

    fn code(status: u16, grpc_status: Option<u32>, flag: Option<ResponseFlag>) -> Code {
        Code { status: StatusCode::from_u16(status).ok(), grpc_status, flag }
    }

    #[test]
    fn labels_say_what_was_counted() {
        #[track_caller]
        fn check(code: Code, expected: &str) {
            let owner = Owner::default();
            owner.count(code);
            assert_eq!(owner.seen(), [(expected.to_owned(), 1)]);
        }
        check(code(200, None, None), "200//");
        check(code(200, Some(0), None), "200/0/");
        check(code(200, Some(16), None), "200/16/");
        check(code(200, Some(17), None), "200/other/");
        check(code(200, Some(u32::MAX), None), "200/other/");
        check(code(599, None, None), "599//");
        check(code(600, None, None), "other//");
        check(code(999, None, None), "other//");
        check(code(0, None, Some(ResponseFlag::UpstreamOverflow)), "//UO");
        for flag in ResponseFlag::ALL {
            check(code(503, Some(14), Some(*flag)), &format!("503/14/{flag}"));
        }
    }

    #[test]
    fn an_outcome_is_its_status_or_its_flag() {
        let failed = Outcome::Failed(Failure::PerTryTimeout);
        assert_eq!(Code::of(&failed), code(0, None, Some(ResponseFlag::UpstreamRequestTimeout)));
        let mut headers = HeaderMap::new();
        headers.insert("grpc-status", HeaderValue::from_static("5"));
        let status = StatusCode::OK;
        let (trailers, class) = (None, None);
        let response = ResponseOutcome::new(status, &headers, trailers, true).with_class(class);
        assert_eq!(Code::of(&Outcome::Response(response)), code(200, Some(5), None));
    }

    #[test]
    fn later_codes_share_one_cell() {
        let owner = Owner::default();
        for round in 0..3 {
            for status in 100..600 {
                owner.count(code(status, None, None));
            }
            let seen = owner.seen();
            assert_eq!(seen.len(), CODES + 1);
            assert_eq!(seen[0], ("100//".to_owned(), round + 1));
            assert_eq!(seen[CODES], ("other/other/other".to_owned(), (500 - 32) * (round + 1)));
        }
    }

    #[test]
    fn threads_that_meet_a_code_at_once_agree_on_its_place() {
        let owner = Owner::default();
        thread::scope(|scope| {
            for start in 0..8 {
                let owner = &owner;
                scope.spawn(move || {
                    for step in 0..32 * 100 {
                        owner.count(code(200 + (start * 4 + step) % 32, None, None));
                    }
                });
            }
        });
        let seen = owner.seen();
        assert_eq!(seen.len(), 32);
        assert!(seen.iter().all(|(_, count)| *count == 800), "{seen:?}");
    }
}
