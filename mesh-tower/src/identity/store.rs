//! [`Identities`]: the identity in force, and what became of its renewals.
//!
//! ```text
//!  source ── Material ──> IdentitySink ── verify ──┬─ good ──> in force ──> new handshakes
//!    ^                                             └─ bad ───> the old one stays; told, counted
//!    └──────────── wanted ──── Rotation (mesh-core) <── its life, failures, the clock
//! ```
//!
//! - What is not good is never published, not even in part: what was in force stays, until its own end.
//! - Whoever asks for the identity after its end gets [`NoIdentity::Expired`]: it fails closed. The next
//!   good one is served at once.
//! - A source is told when a renewal is due, and again after failures; [`Identities::reload`] asks at once.
//! - One source has its turn at a time. From when on another has, what the one before still says is nobody's: it may be in
//!   the middle of saying it.
//! - A source that ends, or panics, renews nothing more: that is told, and what it gave is watched over on.
//! - What is given again is no news: nothing is swapped, and when a renewal was due, it has failed.

mod sink;

pub use sink::IdentitySink;

use super::IdentitySource;
use super::error::{NoIdentity, between};
use super::material::Trust;
use super::status::{self, IdentityStatus, ListEnds, RootEnd};
use super::verify::Identity;
use crate::clock;
use crate::net::Draw;
use crate::unwind;
use arc_swap::ArcSwapOption;
use futures_core::future::BoxFuture;
use mesh_core::WallTime;
use mesh_core::identity::rotation::{FirstTry, Standing};
use mesh_core::identity::{Rotation, RotationEvent, RotationOptions, SpiffeId, Validity};
use parking_lot::Mutex;
use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use tokio::sync::{Notify, watch};

/// The identity in force, for all who need one. Clones are the same.
#[derive(Clone)]
pub struct Identities(Arc<Shared>);

struct Shared {
    /// What it is called in metrics and logs.
    name: Arc<str>,
    current: ArcSwapOption<Identity>,
    /// That of `current`, or of material without an identity.
    trust: ArcSwapOption<Trust>,
    expected: ArcSwapOption<SpiffeId>,
    state: Mutex<State>,
    /// Whose turn it is, of the sources that there were. It is held while one of them says something, and taken before the
    /// state.
    turn: Mutex<u64>,
    /// For the task that watches over it.
    happened: Notify,
    /// For the source: a renewal is wanted.
    wanted: Notify,
    /// Whether anything was good so far.
    good: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    events: Vec<Happened>,
    last_good: Option<WallTime>,
    failures: u64,
    error: Option<Arc<str>>,
    warned: Option<u8>,
    /// When the certificate in force is to be renewed, as the task knows that watches over it.
    due: Option<WallTime>,
    roots: Arc<[RootEnd]>,
    lists: ListEnds,
}

enum Happened {
    Certificate(Validity),
    /// Whom we believe, without a certificate.
    Trust,
    Failure,
    Unchanged,
    Forced,
}

/// What [`Identities::run`] tells of a source that panics; what it gave is watched over on.
const PANICKED: &str = "the source panicked: nothing is renewed until the process starts anew";

struct Panicked;

/// A source that was started, and what it says of itself.
struct Begun {
    options: RotationOptions,
    may_end: bool,
    /// `None`: it panicked before it ran.
    future: Option<BoxFuture<'static, ()>>,
}

impl Begun {
    fn of(source: Box<dyn IdentitySource>, sink: IdentitySink) -> Self {
        let begun = unwind::call(|| {
            let (options, may_end) = (source.rotation(), source.may_end());
            Self { options, may_end, future: Some(source.start(sink)) }
        });
        let options = RotationOptions::default();
        begun.unwrap_or(Self { options, may_end: false, future: None })
    }
}

async fn ran(source: Option<BoxFuture<'static, ()>>) -> Result<(), Panicked> {
    unwind::caught(source.ok_or(Panicked)?).await.ok_or(Panicked)
}

impl Identities {
    /// Nobody yet. `expected`: who we are; `None`: whoever the first certificate says.
    #[must_use]
    pub fn new(expected: Option<SpiffeId>) -> Self {
        Self::called(Arc::default(), expected)
    }

    /// The same, by what it is called in metrics and logs.
    pub(super) fn called(name: Arc<str>, expected: Option<SpiffeId>) -> Self {
        Self(Arc::new(Shared {
            name,
            current: ArcSwapOption::empty(),
            trust: ArcSwapOption::empty(),
            expected: ArcSwapOption::from(expected.map(Arc::new)),
            state: Mutex::default(),
            turn: Mutex::default(),
            happened: Notify::new(),
            wanted: Notify::new(),
            good: watch::Sender::new(false),
        }))
    }

    /// The identity in force, if it is valid now. Its roots and lists are those that it came with; those in
    /// force, which may be newer, are [`trust`](Self::trust)'s.
    ///
    /// # Errors
    /// [`NoIdentity`]: there was none that is good, it is over, or it has not begun.
    pub fn current(&self) -> Result<Arc<Identity>, NoIdentity> {
        let why = || self.0.state.lock().error.clone();
        let Some(current) = self.0.current.load_full() else {
            return Err(NoIdentity::NotYet { why: why() });
        };
        let (now, validity) = (clock::wall(), current.validity());
        let (start, end) = (validity.not_before, validity.not_after);
        match validity.standing(now) {
            Standing::Valid => Ok(current),
            Standing::Expired => Err(NoIdentity::Expired { ago: between(end, now), why: why() }),
            Standing::NotYetValid => {
                Err(NoIdentity::NotYetValid { starts_in: between(now, start) })
            }
        }
    }

    /// What it is called in metrics and logs.
    pub(super) fn name(&self) -> &Arc<str> {
        &self.0.name
    }

    /// Whether they are the same.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The identity in force, though it may be over.
    pub(crate) fn in_force(&self) -> Option<Arc<Identity>> {
        self.0.current.load_full()
    }

    /// Whom we believe now. It does not end with our own certificate: what only has to verify peers goes on,
    /// and who has to show something asks for [`current`](Self::current).
    ///
    /// # Errors
    /// [`NoIdentity::NotYet`]: there was nothing that is good.
    pub fn trust(&self) -> Result<Arc<Trust>, NoIdentity> {
        let why = || self.0.state.lock().error.clone();
        self.0.trust.load_full().ok_or_else(|| NoIdentity::NotYet { why: why() })
    }

    /// Waits until the first material was good, and is in force.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn good(&self) {
        let mut good = self.0.good.subscribe();
        // The sender is here.
        drop(good.wait_for(|good| *good).await);
    }

    /// Asks the source for a new identity at once.
    pub fn reload(&self) {
        self.happens(Happened::Forced);
    }

    /// What became of renewals.
    #[must_use]
    pub fn status(&self) -> IdentityStatus {
        let current = self.0.current.load_full();
        let roots = self.root_ends();
        let state = self.0.state.lock();
        IdentityStatus {
            not_after: current.map(|current| current.validity().not_after),
            roots: roots.iter().map(|root| (Arc::clone(&root.subject), root.end)).collect(),
            bundles: status::bundles(&roots),
            last_good: state.last_good,
            failures: state.failures,
            error: state.error.clone(),
            warned: state.warned,
        }
    }

    /// When each root in force ends.
    pub(super) fn root_ends(&self) -> Arc<[RootEnd]> {
        Arc::clone(&self.0.state.lock().roots)
    }

    /// When newer lists of revoked certificates are due.
    pub(super) fn list_ends(&self) -> ListEnds {
        Arc::clone(&self.0.state.lock().lists)
    }

    /// Runs `source`, and watches over what it gives, for as long as it is polled.
    ///
    /// # Cancel safety
    /// Dropping it ends the source; what is in force stays.
    pub async fn run(&self, source: Box<dyn IdentitySource>) {
        self.run_in(self.turn(), source).await;
    }

    /// Whose turn it is now.
    pub(super) fn turn(&self) -> u64 {
        *self.0.turn.lock()
    }

    /// The same, until it is another's turn.
    pub(super) async fn run_in(&self, turn: u64, source: Box<dyn IdentitySource>) {
        let Begun { options, may_end, future } = Begun::of(source, self.sink_of(turn));
        let mut source = pin!(ran(future));
        let mut ended = false;
        let mut rotation: Option<Rotation> = None;
        let mut first = FirstTry::default();
        loop {
            let due =
                rotation.as_ref().map(Rotation::poll_timeout).or_else(|| first.poll_timeout());
            let due = due.map(clock::instant);
            let timer = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                has_ended = &mut source, if !ended => {
                    ended = true;
                    let why = match has_ended {
                        Ok(()) if may_end => None,
                        Ok(()) => Some("the source has ended"),
                        Err(Panicked) => Some(PANICKED),
                    };
                    if let Some(why) = why.filter(|_| self.turn() == turn) {
                        self.tell(&why);
                    }
                }
                () = self.0.happened.notified() => {
                    let Some(happened) = self.take(turn) else {
                        // It is for whoever has the turn.
                        return self.0.happened.notify_one();
                    };
                    self.settle((&mut rotation, &mut first), options, happened);
                }
                () = timer => {
                    if self.turn() != turn {
                        return;
                    }
                    let events = match &mut rotation {
                        Some(rotation) => rotation.handle_timeout(clock::now(), clock::wall()),
                        None => {
                            let reason = first.handle_timeout(clock::now());
                            reason.map(RotationEvent::Renew).into_iter().collect()
                        }
                    };
                    self.act(events, rotation.as_ref().and_then(Rotation::warning));
                }
            }
        }
    }

    /// Who we have to be from now on; what is in force stays. Another source takes over, and is told of the
    /// certificate that it has to renew. Gives its turn.
    pub(super) fn expect(&self, expected: Option<SpiffeId>) -> u64 {
        let mut turn = self.0.turn.lock();
        *turn += 1;
        self.0.expected.store(expected.map(Arc::new));
        // Of the source before.
        self.0.state.lock().events.clear();
        if let Some(current) = self.0.current.load_full() {
            self.happens(Happened::Certificate(current.validity()));
        }
        *turn
    }

    /// Where identities are put into force, by whoever has the turn now.
    pub(super) fn sink(&self) -> IdentitySink {
        self.sink_of(self.turn())
    }

    fn sink_of(&self, turn: u64) -> IdentitySink {
        IdentitySink::new(self.clone(), turn)
    }

    /// What happened; `None`: it is another's turn.
    fn take(&self, turn: u64) -> Option<Vec<Happened>> {
        let now = self.0.turn.lock();
        (*now == turn).then(|| std::mem::take(&mut self.0.state.lock().events))
    }

    fn happens(&self, event: Happened) {
        self.0.state.lock().events.push(event);
        self.0.happened.notify_one();
    }

    fn settle(
        &self,
        (rotation, first): (&mut Option<Rotation>, &mut FirstTry),
        options: RotationOptions,
        happened: Vec<Happened>,
    ) {
        let (now, wall) = (clock::now(), clock::wall());
        for event in happened {
            let event = match (event, self.in_force()) {
                // A source that begins with what is in force: that has to be watched over, too.
                (Happened::Unchanged, Some(own)) if rotation.is_none() => {
                    Happened::Certificate(own.validity())
                }
                (event, _) => event,
            };
            match (event, rotation.as_mut()) {
                (Happened::Certificate(validity), Some(rotation)) => {
                    let events = rotation.handle_certificate(validity, now, wall, &mut Draw);
                    self.act(events, rotation.warning());
                }
                (Happened::Certificate(validity), None) => {
                    let mut made = Rotation::new(options, validity, now, wall, &mut Draw);
                    let events = made.handle_timeout(now, wall);
                    self.act(events, made.warning());
                    *rotation = Some(made);
                }
                (Happened::Failure, Some(rotation)) => {
                    rotation.handle_failure(now, wall, &mut Draw);
                }
                (Happened::Unchanged, Some(rotation)) => {
                    rotation.handle_unchanged(now, wall, &mut Draw);
                }
                (Happened::Forced, Some(rotation)) => {
                    let event = rotation.handle_forced();
                    self.act([event], rotation.warning());
                }
                (Happened::Forced, None) => self.0.wanted.notify_one(),
                // A clock that was wrong may be right by then, or what was said be something else.
                (Happened::Failure, None) => first.handle_failure(now, &mut Draw),
                // What is in force has no certificate: none is to be renewed.
                (Happened::Trust, _) => (*rotation, *first) = (None, FirstTry::default()),
                (Happened::Unchanged, None) => *first = FirstTry::default(),
            }
        }
        self.0.state.lock().due = rotation.as_ref().and_then(Rotation::due);
    }

    /// Counts and tells why there is nothing new.
    fn tell(&self, error: &dyn fmt::Display) {
        let error: Arc<str> = error.to_string().into();
        let is_new = {
            let mut state = self.0.state.lock();
            state.failures += 1;
            state.error.replace(Arc::clone(&error)).as_ref() != Some(&error)
        };
        if is_new {
            tracing::warn!(target: "mesh::identity", identity = %self.0.name, "what is in force stays: {error}");
        }
    }

    /// `warning`: the last one that holds after all of `events`.
    fn act(&self, events: impl IntoIterator<Item = RotationEvent>, warning: Option<u8>) {
        let name = &self.0.name;
        for event in events {
            match event {
                RotationEvent::Renew(reason) => {
                    tracing::debug!(target: "mesh::identity", identity = %name, ?reason, "a new identity is wanted");
                    self.0.wanted.notify_one();
                }
                RotationEvent::Warning { percent, left } => {
                    self.0.state.lock().warned = Some(percent);
                    let error = self.0.state.lock().error.clone().unwrap_or_default();
                    tracing::warn!(
                        target: "mesh::identity", identity = %name, left_seconds = left.as_secs(), %error,
                        "our certificate was not renewed: less than {percent} % of its life is left"
                    );
                }
                RotationEvent::Expired => {
                    let error = self.0.state.lock().error.clone().unwrap_or_default();
                    tracing::error!(
                        target: "mesh::identity", identity = %name, %error,
                        "our certificate is over: connections that need it are refused"
                    );
                }
                RotationEvent::NotYetValid { starts_in } => tracing::error!(
                    target: "mesh::identity", identity = %name, in_seconds = starts_in.as_secs(),
                    "our certificate is not valid yet: look at the clock"
                ),
                RotationEvent::Valid => {
                    tracing::info!(target: "mesh::identity", identity = %name, "our certificate is valid");
                }
                RotationEvent::ClockJumped { forward, by } => {
                    if !forward {
                        self.0.state.lock().warned = warning;
                    }
                    tracing::warn!(
                        target: "mesh::identity", identity = %name, forward, seconds = by.as_secs(), "the clock jumped"
                    );
                }
            }
        }
    }
}

impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identities")
            .field("expected", &self.0.expected)
            .field("current", &self.0.current.load())
            .finish_non_exhaustive()
    }
}
