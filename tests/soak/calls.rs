//! What became of each call, and what explains it.

use crate::lines::{CALLED_FROM, Lines};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// What a call is made over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Http1,
    Http2,
    Grpc,
    Upgrade,
    Bytes,
}

impl Kind {
    pub(crate) const ALL: [Self; 5] =
        [Self::Http1, Self::Http2, Self::Grpc, Self::Upgrade, Self::Bytes];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Http1 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
            Self::Grpc => "gRPC",
            Self::Upgrade => "upgrades",
            Self::Bytes => "bytes",
        }
    }
}

/// A call that did not end well.
#[derive(Clone, Debug)]
pub(crate) struct Failed {
    pub(crate) kind: Kind,
    /// Its `x-request-id`, or the address of a byte stream.
    pub(crate) id: String,
    /// What the caller saw.
    pub(crate) how: String,
    /// `x-mesh-response-flag`.
    pub(crate) flag: Option<String>,
    /// Whether the answer is a backend's own.
    pub(crate) own: bool,
    /// Whether a stream of bytes ended in order before all had come.
    pub(crate) ended_early: bool,
    /// The faults that there were when it began, and when it ended.
    pub(crate) during: [String; 2],
    /// Whether nothing that may cost a call was broken, from its beginning to its end, or shortly before.
    pub(crate) quiet: bool,
    pub(crate) at: Duration,
    pub(crate) took: Duration,
}

/// What explains a failed call.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Explained {
    /// A flag in the answer.
    Header(String),
    /// A flag in the line of the proxy that was called.
    Near(String),
    /// A flag in a line of the proxy before the backend.
    Far(String),
    /// It is the backend's own answer, or end of a stream, passed on as it came: nothing of ours failed.
    Backend,
    Not,
}

/// How many calls of a kind there were.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) all: AtomicU64,
    pub(crate) failed: AtomicU64,
    /// The longest, in milliseconds.
    pub(crate) longest: AtomicU64,
}

/// What is broken.
#[derive(Clone, Debug)]
pub(crate) struct Now {
    pub(crate) fault: String,
    pub(crate) quiet: bool,
}

/// What became of all calls.
pub(crate) struct Calls {
    begun: Instant,
    counts: BTreeMap<Kind, Counts>,
    failed: Mutex<Vec<Failed>>,
    during: Mutex<Now>,
    next: AtomicU64,
}

impl Calls {
    pub(crate) fn new() -> Self {
        Self {
            begun: Instant::now(),
            counts: Kind::ALL.map(|kind| (kind, Counts::default())).into(),
            failed: Mutex::default(),
            during: Mutex::new(Now { fault: "none".to_owned(), quiet: true }),
            next: AtomicU64::new(0),
        }
    }

    /// A new `x-request-id`, or an address for a byte stream.
    pub(crate) fn id(&self, kind: Kind) -> String {
        let next = self.next.fetch_add(1, Relaxed);
        let [.., a, b, c] = next.to_be_bytes();
        match kind {
            Kind::Bytes => format!("{CALLED_FROM}{a}.{b}.{c}:{}", 1 + (next >> 24)),
            _ => format!("soak-{next}"),
        }
    }

    /// From now on there is this fault; `quiet` where neither this one nor the one before may cost a call.
    pub(crate) fn during(&self, fault: &str, quiet: bool) {
        *self.during.lock() = Now { fault: fault.to_owned(), quiet };
    }

    /// From now on there is this fault no longer.
    pub(crate) fn mended(&self, fault: &str) {
        self.during.lock().fault = format!("after {fault}");
    }

    pub(crate) fn now(&self) -> Now {
        self.during.lock().clone()
    }

    pub(crate) fn ended(&self, kind: Kind, took: Duration, failed: Option<Failed>) {
        let counts = &self.counts[&kind];
        counts.all.fetch_add(1, Relaxed);
        counts.longest.fetch_max(took.as_millis() as u64, Relaxed);
        if let Some(mut failed) = failed {
            counts.failed.fetch_add(1, Relaxed);
            failed.at = self.begun.elapsed();
            let now = self.now();
            failed.quiet &= now.quiet;
            failed.during[1] = now.fault;
            failed.took = took;
            self.failed.lock().push(failed);
        }
    }

    pub(crate) fn of(&self, kind: Kind) -> &Counts {
        &self.counts[&kind]
    }

    pub(crate) fn count(&self) -> u64 {
        self.counts.values().map(|counts| counts.all.load(Relaxed)).sum()
    }

    /// Every failed call, with what explains it.
    pub(crate) fn explained(&self, near: &Lines, far: &Lines) -> Vec<(Failed, Explained)> {
        let failed = self.failed.lock();
        failed.iter().map(|failed| (failed.clone(), explain(failed, near, far))).collect()
    }
}

fn explain(failed: &Failed, near: &Lines, far: &Lines) -> Explained {
    if let Some(flag) = &failed.flag {
        return Explained::Header(flag.clone());
    }
    if let Some(flag) = near.flag(&failed.id) {
        return Explained::Near(flag);
    }
    if let Some(flag) = far.flag(&failed.id) {
        return Explained::Far(flag);
    }
    let of_backends = failed.during.iter().any(|fault| fault.contains("backend-"));
    match failed.kind {
        _ if failed.own => Explained::Backend,
        // What ends in order, too early, ends so for everybody on the way.
        Kind::Bytes | Kind::Upgrade if failed.ended_early && of_backends => Explained::Backend,
        _ => Explained::Not,
    }
}
