//! Which connections outlive what they were made with. No handshake, and the time is an argument.

use super::ca::Ca;
use super::der;
use crate::clock;
use crate::identity::Credentials;
use crate::observe::events::CloseReason;
use crate::tls::client::ClientTls;
use crate::tls::client_watch::{Evidence, Retire};
use arc_swap::ArcSwap;
use mesh_core::WallTime;
use mesh_core::model::secret::{
    Secret, SecretContent, SecretRoots, SecretSource, SecretValidation,
};
use mesh_core::model::tls::{SpiffeBundles, TlsIdentity, TlsRoots, UpstreamTls, ValidationSecret};
use mesh_core::model::{Address, SanMatcher};
use mesh_core::update::{SecretAnswer, Secrets};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const SHOP: &str = "spiffe://mesh.example/shop";

/// Why it was retired.
#[derive(Clone, Default)]
struct Connection(Arc<Mutex<Option<CloseReason>>>);

impl Retire for Connection {
    fn is_there(&self) -> bool {
        true
    }

    fn hostname(&self) -> Option<Arc<str>> {
        None
    }

    fn retire(&self, why: CloseReason) {
        *self.0.lock() = Some(why);
    }
}

/// By bundles of trust domains.
fn by_bundles(bundles: SpiffeBundles) -> Arc<Secrets> {
    known(SecretValidation::new(SecretRoots::Spiffe(Arc::new(bundles))))
}

fn inline(text: &str) -> SecretSource {
    SecretSource::Inline(text.as_bytes().into())
}

/// What is believed: roots, lists and a name.
fn believes(roots: &[&Ca], crl: Option<String>, san: &str) -> Arc<Secrets> {
    let roots: String = roots.iter().map(|ca| ca.pem()).collect();
    let mut validation = SecretValidation::new(SecretRoots::Pem(inline(&roots)));
    validation.san = vec![SanMatcher::uri(san)];
    validation.crl = crl.map(|text| inline(&text));
    known(validation)
}

fn known(validation: SecretValidation) -> Arc<Secrets> {
    let secret = Secret::new("roots", SecretContent::Validation(validation));
    Arc::new([("roots".into(), SecretAnswer::Known(Arc::new(secret)))].into())
}

/// The TLS of a cluster that believes what the secret `roots` says, and a connection that was made by it.
struct World {
    tls: ClientTls,
    secrets: Arc<ArcSwap<Secrets>>,
    connection: Connection,
    all: Vec<(Evidence, Box<dyn Retire>)>,
}

impl World {
    async fn new(
        identity: TlsIdentity,
        first: Arc<Secrets>,
        (chain, until): (&str, WallTime),
    ) -> Self {
        let mut policy = UpstreamTls::default();
        (policy.identity, policy.roots) =
            (identity, TlsRoots::Secret(ValidationSecret::new("roots")));
        let secrets = Arc::new(ArcSwap::new(first));
        let tls = ClientTls::new(policy.into(), Arc::clone(&secrets), Credentials::default());
        let evidence = Evidence {
            verifier: tls.verifier(clock::wall()).await.unwrap(),
            chain: der(chain).into(),
            address: Address::Unix(std::path::Path::new("shop").into()),
            hostname: None,
            until,
        };
        let connection = Connection::default();
        let all: Vec<(Evidence, Box<dyn Retire>)> = vec![(evidence, Box::new(connection.clone()))];
        Self { tls, secrets, connection, all }
    }

    /// These are in force from now on.
    fn becomes(&self, next: Arc<Secrets>) {
        self.secrets.store(next);
    }

    /// Why it was retired, if it was by now.
    async fn look(&mut self, at: WallTime) -> Option<CloseReason> {
        self.tls.look(&mut self.all, at).await;
        let why = *self.connection.0.lock();
        assert_eq!(self.all.is_empty(), why.is_some());
        why
    }
}

#[tokio::test]
async fn what_ends_a_connection_and_what_does_not() {
    let (ours, theirs, now) = (Ca::new("ours"), Ca::new("theirs"), clock::wall());
    let later = |by: u64| WallTime::from_unix_seconds(now.as_unix_seconds() + by);
    let past = WallTime::from_unix_seconds(now.as_unix_seconds() - 3600);
    let chain = ours.issue_for(SHOP, 7, (-60, 600)).chain;
    let first = || Some(ours.revoke_pem(8));
    let by = |crl| believes(&[&ours], crl, SHOP);
    let with = |list: String| inline(&(ours.pem() + &list));
    let beside = |list| {
        let mut validation = SecretValidation::new(SecretRoots::Pem(with(list)));
        validation.san = vec![SanMatcher::uri(SHOP)];
        known(validation)
    };
    let bundle =
        |list| by_bundles(SpiffeBundles::Each([("mesh.example".into(), with(list))].into()));
    let empty = SpiffeBundles::Map(inline(r#"{"trust_domains": {}}"#));
    let rows = [
        ("the same", by(first()), now, None),
        ("another root", believes(&[&theirs, &ours], first(), SHOP), now, None),
        ("no list is asked for", by(None), now, None),
        ("withdrawn", believes(&[&theirs], None, SHOP), now, Some(CloseReason::Untrusted)),
        (
            "another name",
            believes(&[&ours], first(), "spiffe://mesh.example/x"),
            now,
            Some(CloseReason::Untrusted),
        ),
        ("revoked", by(Some(ours.revoke_pem(7))), now, Some(CloseReason::Untrusted)),
        ("revoked beside roots", beside(ours.revoke_pem(7)), now, Some(CloseReason::Untrusted)),
        ("another is", beside(ours.revoke_pem(8)), now, None),
        ("revoked beside a bundle", bundle(ours.revoke_pem(7)), now, Some(CloseReason::Untrusted)),
        ("another is", bundle(ours.revoke_pem(8)), now, None),
        ("nobody is believed (gRFC A87)", by_bundles(empty), now, Some(CloseReason::Untrusted)),
        ("over", by(None), later(601), Some(CloseReason::CertificateEnded)),
        // What says nothing about the peer.
        ("a list that is over", by(Some(ours.revoke_long_ago_pem(8))), now, None),
        ("a list of another issuer", by(Some(theirs.revoke_pem(8))), now, None),
        ("a clock that went back", by(None), past, None),
        ("no answer", Arc::default(), now, None),
        // Time takes no revocation back.
        (
            "revoked by a list that is over",
            by(Some(ours.revoke_long_ago_pem(7))),
            now,
            Some(CloseReason::Untrusted),
        ),
    ];
    for (what, next, at, expected) in rows {
        let mut world = World::new(TlsIdentity::None, by(first()), (&chain, later(600))).await;
        world.becomes(next);
        // Twice: what was seen once is seen once.
        for _ in 0..2 {
            assert_eq!(world.look(at).await, expected, "{what}");
        }
    }
}

/// That nothing says whether it was revoked hides nothing else.
#[tokio::test]
async fn lists_that_say_nothing_hide_neither_names_nor_other_lists() {
    let (ours, theirs, now) = (Ca::new("ours"), Ca::new("theirs"), clock::wall());
    let chain = ours.issue_for(SHOP, 7, (-60, 600)).chain;
    let until = WallTime::from_unix_seconds(now.as_unix_seconds() + 600);
    let named = |crl| believes(&[&ours], Some(crl), "spiffe://mesh.example/x");
    let beside = |list: String, crl: String| {
        let each = [("mesh.example".into(), inline(&(ours.pem() + &list)))];
        let roots = SecretRoots::Spiffe(Arc::new(SpiffeBundles::Each(each.into())));
        let mut validation = SecretValidation::new(roots);
        validation.crl = Some(inline(&crl));
        known(validation)
    };
    let untrusted = Some(CloseReason::Untrusted);
    let (over, of_others) = (|| ours.revoke_long_ago_pem(8), || theirs.revoke_pem(8));
    for (what, next, expected) in [
        ("another name, over", named(over()), untrusted),
        ("another name, of others", named(of_others()), untrusted),
        ("revoked beside a bundle, over", beside(ours.revoke_pem(7), over()), untrusted),
        ("revoked beside a bundle, of others", beside(ours.revoke_pem(7), of_others()), untrusted),
        ("another is", beside(ours.revoke_pem(8), of_others()), None),
    ] {
        let first = believes(&[&theirs, &ours], None, SHOP);
        let mut world = World::new(TlsIdentity::None, first, (&chain, until)).await;
        world.becomes(next);
        assert_eq!(world.look(now).await, expected, "{what}");
    }
}

/// The first look at it panics.
struct Panics(Connection, AtomicBool);

impl Retire for Panics {
    fn is_there(&self) -> bool {
        true
    }

    fn hostname(&self) -> Option<Arc<str>> {
        assert!(self.1.swap(true, Ordering::SeqCst), "the test wants it");
        None
    }

    fn retire(&self, why: CloseReason) {
        self.0.retire(why);
    }
}

#[tokio::test]
async fn connections_are_looked_after_on_when_a_look_panics() {
    let (ours, theirs, now) = (Ca::new("ours"), Ca::new("theirs"), clock::wall());
    let chain = ours.issue_for(SHOP, 7, (-60, 600)).chain;
    let until = WallTime::from_unix_seconds(now.as_unix_seconds() + 600);
    let first = believes(&[&ours], None, SHOP);
    let mut world = World::new(TlsIdentity::None, first, (&chain, until)).await;
    let panics = Connection::default();
    let (evidence, connection) = world.all.remove(0);
    let again = Evidence {
        verifier: Arc::clone(&evidence.verifier),
        chain: Arc::clone(&evidence.chain),
        address: evidence.address.clone(),
        hostname: None,
        until,
    };
    world.all.push((again, Box::new(Panics(panics.clone(), AtomicBool::default()))));
    world.all.push((evidence, connection));
    world.becomes(believes(&[&theirs], None, SHOP));
    world.tls.look(&mut world.all, now).await;
    assert_eq!((*panics.0.lock(), world.all.len()), (None, 1), "it is looked at again");
    assert_eq!(*world.connection.0.lock(), Some(CloseReason::Untrusted), "so are those behind it");
    world.tls.look(&mut world.all, now).await;
    assert_eq!((*panics.0.lock(), world.all.len()), (Some(CloseReason::Untrusted), 0));
}

/// What a clock that went back hides is asked again when it is right.
#[tokio::test]
async fn a_root_that_is_withdrawn_while_the_clock_is_wrong_is_withdrawn_after() {
    let (ours, theirs, now) = (Ca::new("ours"), Ca::new("theirs"), clock::wall());
    let chain = ours.issue_for(SHOP, 7, (-60, 600)).chain;
    let at =
        |seconds| WallTime::from_unix_seconds(now.as_unix_seconds().wrapping_add_signed(seconds));
    let first = believes(&[&theirs, &ours], None, SHOP);
    let mut world = World::new(TlsIdentity::None, first, (&chain, at(600))).await;
    world.becomes(believes(&[&theirs], None, SHOP));
    assert_eq!(world.look(at(-3600)).await, None);
    assert_eq!(world.look(at(1)).await, Some(CloseReason::Untrusted));
}

#[tokio::test]
async fn nobody_is_believed_on_because_something_else_is_bad() {
    let (ours, theirs, now) = (Ca::new("ours"), Ca::new("theirs"), clock::wall());
    let chain = ours.issue_for(SHOP, 7, (-60, 600)).chain;
    let until = WallTime::from_unix_seconds(now.as_unix_seconds() + 600);
    let junk = || Some("-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n".to_owned());
    let other = "spiffe://mesh.example/x";
    for (what, next, expected) in [
        ("no identity", believes(&[&ours], None, SHOP), None),
        ("and withdrawn", believes(&[&theirs], None, SHOP), Some(CloseReason::Untrusted)),
        ("and another name", believes(&[&ours], None, other), Some(CloseReason::Untrusted)),
        (
            "and revoked",
            believes(&[&ours], Some(ours.revoke_pem(7)), SHOP),
            Some(CloseReason::Untrusted),
        ),
        ("lists that can't be used", believes(&[&ours], junk(), SHOP), None),
        ("and withdrawn", believes(&[&theirs], junk(), SHOP), Some(CloseReason::Untrusted)),
    ] {
        let first = believes(&[&theirs, &ours], None, SHOP);
        // There is none of this name, or not any more.
        let identity = TlsIdentity::Secret("id".into());
        let mut world = World::new(identity, first, (&chain, until)).await;
        world.becomes(next);
        for _ in 0..2 {
            assert_eq!(world.look(now).await, expected, "{what}");
        }
        assert!(world.tls.check().await.is_err(), "{what}");
    }
}

/// The file of a secret that named another one meanwhile is read as if it never had been.
#[tokio::test(start_paused = true)]
async fn files_that_are_not_named_any_more_are_not_kept() {
    let (ours, theirs, now) = (Ca::new("ours"), Ca::new("theirs"), clock::wall());
    let chain = ours.issue_for(SHOP, 7, (-60, 600)).chain;
    let until = WallTime::from_unix_seconds(now.as_unix_seconds() + 600);
    let directory = tempfile::tempdir().unwrap();
    let by = |name: &str| {
        let path = directory.path().join(name);
        let mut validation =
            SecretValidation::new(SecretRoots::Pem(SecretSource::File(path.into())));
        validation.san = vec![SanMatcher::uri(SHOP)];
        known(validation)
    };
    let put = |name: &str, ca: &Ca| std::fs::write(directory.path().join(name), ca.pem()).unwrap();
    put("one", &ours);
    put("two", &ours);
    let mut world = World::new(TlsIdentity::None, by("one"), (&chain, until)).await;
    world.becomes(by("two"));
    world.tls.check().await.unwrap();
    put("one", &theirs);
    world.becomes(by("one"));
    world.tls.check().await.unwrap();
    assert_eq!(world.look(now).await, Some(CloseReason::Untrusted));
}
