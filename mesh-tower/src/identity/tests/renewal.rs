//! Renewals in virtual time: an issuer that works, one that is away, and clocks that jump.

use super::super::{
    FixedIdentity, Identities, IdentitySink, IdentitySource, InvalidIdentity, Material, NoIdentity,
    Roots, certificates,
};
use super::ca::{Ca, Odd, Pair};
use crate::clock::{self, pretend};
use futures_core::future::BoxFuture;
use mesh_core::WallTime;
use mesh_core::identity::RotationOptions;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::{Instant, sleep};

/// How long each certificate is valid, in seconds; it is ten seconds old when it comes.
const LIFE: i64 = 1000;

/// Issues when it is asked, if it is not away.
#[derive(Clone)]
struct Issuer {
    ca: Arc<Ca>,
    is_away: Arc<AtomicBool>,
    /// It gives again what it gave last.
    repeats: Arc<AtomicBool>,
    last: Arc<Mutex<Option<Pair>>>,
    issued: Arc<AtomicUsize>,
    renew_at: Option<u16>,
}

struct Test {
    issuer: Issuer,
    identities: Identities,
    task: tokio::task::JoinHandle<()>,
}

impl Issuer {
    fn give(&self, sink: &IdentitySink) {
        if self.is_away.load(Ordering::SeqCst) {
            return sink.failed(&"the issuer is away");
        }
        if let Some(last) =
            self.last.lock().as_ref().filter(|_| self.repeats.load(Ordering::SeqCst))
        {
            return sink.publish(self.ca.material(last)).unwrap();
        }
        let real = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let ahead = clock::wall().as_unix_seconds().cast_signed() - real.cast_signed();
        let life = Some((ahead - 10, ahead + LIFE - 10));
        let pair = self.ca.issue(Odd { life, ..Odd::default() });
        sink.publish(self.ca.material(&pair)).unwrap();
        *self.last.lock() = Some(pair);
        self.issued.fetch_add(1, Ordering::SeqCst);
    }
}

impl std::fmt::Debug for Issuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Issuer")
    }
}

impl IdentitySource for Issuer {
    fn start(self: Box<Self>, sink: IdentitySink) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            loop {
                self.give(&sink);
                sink.wanted().await;
            }
        })
    }

    fn rotation(&self) -> RotationOptions {
        let mut options = RotationOptions::default();
        (options.renew_at, options.jitter) = (self.renew_at, 0);
        options
    }
}

impl Test {
    /// With a first identity in force.
    async fn new(renew_at: Option<u16>) -> Self {
        pretend(clock::wall());
        let (is_away, repeats, issued) = (Arc::default(), Arc::default(), Arc::default());
        let (ca, last) = (Arc::new(Ca::new()), Arc::default());
        let issuer = Issuer { ca, is_away, repeats, last, issued, renew_at };
        let identities = Identities::new(None);
        let (running, source) = (identities.clone(), Box::new(issuer.clone()));
        let task = tokio::spawn(async move { running.run(source).await });
        sleep(Duration::from_millis(10)).await;
        assert!(identities.current().is_ok());
        Self { issuer, identities, task }
    }

    fn issued(&self) -> usize {
        self.issuer.issued.load(Ordering::SeqCst)
    }

    fn away(&self, is_away: bool) {
        self.issuer.is_away.store(is_away, Ordering::SeqCst);
    }
}

impl Drop for Test {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Moves the wall clock, and not the time.
fn jump(seconds: i64) {
    let now = clock::wall().as_unix_seconds();
    pretend(WallTime::from_unix_seconds(now.saturating_add_signed(seconds)));
}

#[tokio::test(start_paused = true)]
async fn each_certificate_is_renewed_at_its_time() {
    let test = Test::new(Some(500)).await;
    for _ in 0..1000 {
        sleep(Duration::from_secs(10)).await;
        assert!(test.identities.current().is_ok(), "{:?}", test.identities.status());
    }
    // One each 490 s: at half of its life, and it was ten seconds old.
    assert_eq!(test.issued(), 1 + 10_000 / 490);
    let status = test.identities.status();
    assert_eq!((status.warned, status.error, status.failures), (None, None, 0));
}

/// `renew_at` of `None`: somebody else renews, as with files.
#[tokio::test(start_paused = true)]
async fn what_is_not_renewed_is_told_and_fails_closed() {
    for renew_at in [Some(400), None] {
        let test = Test::new(renew_at).await;
        test.away(true);
        let (began, mut told) = (Instant::now(), Vec::new());
        while test.identities.current().is_ok() {
            let status = test.identities.status();
            if let Some(percent) = status.warned.filter(|percent| told.last() != Some(percent)) {
                told.push(percent);
                let passed = began.elapsed().as_secs().cast_signed() + 10;
                let expected = LIFE - LIFE * i64::from(percent) / 100;
                assert!((expected..expected + 3).contains(&passed), "{percent} % at {passed} s");
            }
            sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(told, [50, 25, 10]);
        let end = i64::try_from(began.elapsed().as_secs()).unwrap() + 10;
        assert!((LIFE..LIFE + 3).contains(&end), "{end}");
        let refused = test.identities.current().unwrap_err();
        assert!(matches!(refused, NoIdentity::Expired { .. }), "{refused}");
        assert!(test.identities.trust().is_ok(), "peers can still be verified");
        let (failures, asked) = (test.identities.status().failures, renew_at.is_some());
        assert_eq!(asked, refused.to_string().contains("the issuer is away"), "{refused}");
        // Asked 1, 2, 4, … 60 s after each other, and more often towards the end.
        assert_eq!(asked, (12..100).contains(&failures), "{failures}");

        test.away(false);
        test.identities.reload();
        sleep(Duration::from_secs(1)).await;
        assert!(test.identities.current().is_ok(), "a forced reload takes a second at most");
        let status = test.identities.status();
        assert_eq!((status.warned, status.error), (None, None));
    }
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_is_back_is_found_without_being_told() {
    let test = Test::new(Some(500)).await;
    test.away(true);
    sleep(Duration::from_secs(3000)).await;
    assert!(test.identities.current().is_err());
    test.away(false);
    sleep(Duration::from_secs(61)).await;
    assert!(test.identities.current().is_ok());
}

#[tokio::test(start_paused = true)]
async fn clocks_jump() {
    let test = Test::new(Some(500)).await;
    sleep(Duration::from_secs(100)).await;
    jump(5000);
    let refused = test.identities.current().unwrap_err();
    assert!(refused.to_string().contains("ended 41"), "{refused}");
    sleep(Duration::from_secs(60)).await;
    assert!(test.identities.current().is_ok(), "it was seen and renewed within a minute");
    assert_eq!(test.issued(), 2);

    jump(-5000);
    let refused = test.identities.current().unwrap_err();
    assert!(matches!(refused, NoIdentity::NotYetValid { .. }), "{refused}");
    assert!(refused.to_string().contains("look at the clock"), "{refused}");
    test.identities.reload();
    sleep(Duration::from_secs(1)).await;
    assert!(test.identities.current().is_ok());

    // Forward and back before anybody looked: nothing has happened.
    jump(5000);
    assert!(test.identities.current().is_err());
    jump(-5000);
    assert!(test.identities.current().is_ok());
    assert_eq!(test.issued(), 3);
}

/// A clock that was wrong for a while silences no warning.
#[tokio::test(start_paused = true)]
async fn a_clock_that_comes_back_warns_again() {
    let test = Test::new(None).await;
    let warned = || test.identities.status().warned;
    jump(900);
    sleep(Duration::from_secs(61)).await;
    assert_eq!(warned(), Some(10));
    jump(-900);
    sleep(Duration::from_secs(61)).await;
    assert_eq!(warned(), None);
    sleep(Duration::from_secs(400)).await;
    assert_eq!(warned(), Some(50));
}

/// An agent whose own server is away gives what it has: that is no renewal.
#[tokio::test(start_paused = true)]
async fn the_old_one_again_is_no_renewal() {
    let test = Test::new(Some(500)).await;
    let (own, trust) = (test.identities.current().unwrap(), test.identities.trust().unwrap());
    let before = test.identities.status();
    test.issuer.repeats.store(true, Ordering::SeqCst);
    sleep(Duration::from_secs(100)).await;
    test.identities.reload();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(test.identities.status(), before, "nothing was due, so nothing has failed");

    sleep(Duration::from_secs(500)).await;
    let status = test.identities.status();
    assert_eq!(status.error.as_deref(), Some("the source gave the old one again"));
    // 1, 2, 4, … s after each other.
    assert!((4..20).contains(&status.failures), "{}", status.failures);
    assert_eq!(status.last_good, before.last_good);
    assert!(Arc::ptr_eq(&own, &test.identities.current().unwrap()));
    assert!(Arc::ptr_eq(&trust, &test.identities.trust().unwrap()), "servers would begin anew");

    test.issuer.repeats.store(false, Ordering::SeqCst);
    sleep(Duration::from_secs(61)).await;
    let renewed = test.identities.status();
    assert_eq!((renewed.error, renewed.failures), (None, status.failures));
    assert!(renewed.last_good > before.last_good && test.issued() == 2);
    assert!(Arc::ptr_eq(&trust, &test.identities.trust().unwrap()), "that is what it was");
}

#[tokio::test(start_paused = true)]
async fn only_what_is_new_is_swapped() {
    pretend(clock::wall());
    let (ca, other, identities) = (Ca::new(), Ca::new(), Identities::new(None));
    let pair = ca.issue(Odd::default());
    let (source, updates) = FixedIdentity::new(Some(ca.material(&pair)));
    let running = identities.clone();
    let task = tokio::spawn(async move { running.run(Box::new(source)).await });
    sleep(Duration::from_secs(10)).await;
    let (own, trust) = (identities.current().unwrap(), identities.trust().unwrap());
    let last_good = identities.status().last_good;
    assert!(last_good.is_some());

    let crossed = Pair { key: ca.issue(Odd::default()).key, ..pair.clone() };
    assert_eq!(updates.publish(ca.material(&crossed)).await, Err(InvalidIdentity::KeyMismatch));
    assert_eq!(updates.publish(ca.material(&pair)).await, Ok(()));
    let status = identities.status();
    assert_eq!((status.last_good, status.error, status.failures), (last_good, None, 1));
    assert!(Arc::ptr_eq(&trust, &identities.trust().unwrap()));

    let (chain, key, roots) = (pair.chain.as_bytes(), pair.key.as_bytes(), ca.pem() + &other.pem());
    let both = Material::from_pem(chain, key, roots.as_bytes()).unwrap();
    assert_eq!(updates.publish(both).await, Ok(()));
    let status = identities.status();
    assert_eq!((status.last_good, status.roots.len()), (last_good, 2));
    assert!(Arc::ptr_eq(&own, &identities.current().unwrap()));
    assert_eq!(identities.trust().unwrap().roots().len(), 2);
    task.abort();
}

/// Gives what the test puts there, when it is asked.
#[derive(Debug)]
struct Asked(Arc<Mutex<Vec<Material>>>, tokio::sync::mpsc::UnboundedSender<IdentitySink>);

impl IdentitySource for Asked {
    fn start(self: Box<Self>, sink: IdentitySink) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            self.1.send(sink.clone()).unwrap();
            loop {
                if let Some(next) = self.0.lock().pop() {
                    sink.publish(next).unwrap();
                }
                sink.wanted().await;
            }
        })
    }
}

/// A pair that was given up is not to be renewed, nor is it warned of.
#[tokio::test(start_paused = true)]
async fn roots_alone_after_a_pair_have_no_renewal() {
    pretend(clock::wall());
    let (ca, identities) = (Ca::new(), Identities::new(None));
    let pair = ca.issue(Odd { life: Some((0, 100)), ..Odd::default() });
    let given = Arc::new(Mutex::new(vec![ca.material(&pair)]));
    let (sender, mut sinks) = tokio::sync::mpsc::unbounded_channel();
    let (running, source) = (identities.clone(), Box::new(Asked(given, sender)));
    let task = tokio::spawn(async move { running.run(source).await });
    let sink = sinks.recv().await.unwrap();
    sleep(Duration::from_secs(10)).await;
    assert!(identities.current().is_ok());
    let roots = || {
        let roots = certificates(ca.pem().as_bytes()).unwrap();
        sink.publish(Material::of_roots(Roots::Any(roots.into()))).unwrap();
    };
    roots();
    sleep(Duration::from_secs(200)).await;
    roots();
    sleep(Duration::from_secs(200)).await;
    assert!(identities.current().is_err() && identities.trust().is_ok());
    let status = identities.status();
    assert_eq!((status.warned, status.failures, status.error), (None, 0, None));
    task.abort();
}

/// Publishes once, and that is all.
#[derive(Debug)]
struct Brief(Option<Material>);

impl IdentitySource for Brief {
    fn start(self: Box<Self>, sink: IdentitySink) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            if let Some(material) = self.0 {
                sink.publish(material).unwrap();
            }
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_that_ends_is_told_of() {
    pretend(clock::wall());
    let ca = Ca::new();
    let material = || ca.material(&ca.issue(Odd::default()));
    let (fixed, updates) = FixedIdentity::new(Some(material()));
    drop(updates);
    type Row = (Box<dyn IdentitySource>, Option<&'static str>);
    let rows: [Row; 3] = [
        (Box::new(Brief(Some(material()))), Some("the source has ended")),
        (Box::new(Brief(None)), Some("the source has ended")),
        (Box::new(fixed), None),
    ];
    for (source, error) in rows {
        let identities = Identities::new(None);
        let running = identities.clone();
        let task = tokio::spawn(async move { running.run(source).await });
        sleep(Duration::from_secs(10)).await;
        let status = identities.status();
        assert_eq!((status.error.as_deref(), status.failures), (error, error.is_some().into()));
        task.abort();
    }
}

/// Where it panics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    Asked,
    Started,
    Polled,
    /// When it is asked for a renewal.
    Wanted,
}

/// Whoever wrote it has made a mistake.
#[derive(Debug)]
struct Broken(When, Option<Material>);

impl IdentitySource for Broken {
    fn start(self: Box<Self>, sink: IdentitySink) -> BoxFuture<'static, ()> {
        let Self(when, material) = *self;
        assert_ne!(when, When::Started, "the test wants it");
        Box::pin(async move {
            if let Some(material) = material {
                sink.publish(material).unwrap();
            }
            assert_ne!(when, When::Polled, "the test wants it");
            sink.wanted().await;
            panic!("the test wants it");
        })
    }

    fn rotation(&self) -> RotationOptions {
        assert_ne!(self.0, When::Asked, "the test wants it");
        let mut options = RotationOptions::default();
        (options.renew_at, options.jitter) = (Some(400), 0);
        options
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_that_panics_is_told_of_and_what_it_gave_is_watched_over() {
    let start = clock::wall();
    for (when, warned) in [
        (When::Asked, None),
        (When::Started, None),
        (When::Polled, Some(50)),
        (When::Wanted, Some(50)),
    ] {
        pretend(start);
        let (ca, identities) = (Ca::new(), Identities::new(None));
        let material = ca.material(&ca.issue(Odd { life: Some((0, 100)), ..Odd::default() }));
        let (running, source) = (identities.clone(), Box::new(Broken(when, Some(material))));
        let task = tokio::spawn(async move { running.run(source).await });
        sleep(Duration::from_secs(55)).await;
        let status = identities.status();
        assert!(status.error.as_ref().is_some_and(|why| why.contains("panicked")), "{status:?}");
        assert_eq!((status.failures, status.warned), (1, warned), "{when:?}");
        sleep(Duration::from_secs(50)).await;
        let refused = identities.current().unwrap_err().to_string();
        assert!(refused.contains("the source panicked: nothing is renewed"), "{refused}");
        assert_eq!(refused.contains("ended"), warned.is_some(), "{refused}");
        task.abort();
    }
}
