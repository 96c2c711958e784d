//! What clusters and listeners name, in virtual time.

use super::super::tests::ca::{Ca, Odd, Pair};
use super::super::{Credentials, Given, IdentityStatus, Material, NoIdentity, private_key};
use super::beside::{Beside, Told};
use super::config::Found;
use super::held::{Texts, Unread};
use super::{FRESH, Held, One, Whose, look_at, of_pair};
use crate::clock::{self, pretend};
use crate::identity::{Identities, IdentitySink, IdentitySource, certificates};
use crate::observe::registry::Registry;
use futures_core::future::BoxFuture;
use mesh_core::ConfigUpdate;
use mesh_core::model::secret::{
    Secret, SecretCertificate, SecretContent, SecretRoots, SecretSource, SecretValidation,
};
use mesh_core::model::tls::{
    DownstreamTls, SpiffeBundles, TlsIdentity, TlsPolicy, TlsRoots, UpstreamTls, ValidationSecret,
};
use mesh_core::model::{Cluster, FilterChain, Listener};
use mesh_core::update::{ClusterUpdate, SecretAnswer};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::runtime::Handle;
use tokio::time::sleep;

fn inline(text: &str) -> SecretSource {
    SecretSource::Inline(text.as_bytes().into())
}

fn file(path: &Path) -> SecretSource {
    SecretSource::File(path.into())
}

/// A cluster with the secrets `id` and `roots`, and a listener with files, which asks for no clients.
struct World {
    ca: Ca,
    directory: TempDir,
    registry: Arc<Registry>,
    credentials: Credentials,
}

impl World {
    fn new() -> Self {
        pretend(clock::wall());
        let (ca, directory, registry) = (Ca::new(), tempfile::tempdir().unwrap(), Registry::new());
        let credentials = Credentials::start(Given::default(), &Handle::current(), &registry);
        ca.issue(Odd::default()).write(directory.path());
        Self { ca, directory, registry, credentials }
    }

    fn config(&self, pair: &Pair) -> ConfigUpdate {
        let mut config = ConfigUpdate::in_code();
        let mut tls = UpstreamTls::default();
        tls.identity = TlsIdentity::Secret("id".into());
        tls.roots = TlsRoots::Secret(ValidationSecret::new("roots"));
        let mut cluster = Cluster::new("reviews");
        cluster.tls = TlsPolicy::On(Arc::new(tls));
        let cluster = ClusterUpdate::new(Arc::new(cluster), None);
        config.clusters.insert("reviews".into(), cluster);
        let [cert, key] = ["cert.pem", "key.pem"].map(|name| self.directory.path().join(name));
        let mut tls = DownstreamTls::mutual();
        let own = SecretCertificate::new(file(&cert), file(&key));
        (tls.identity, tls.roots) = (TlsIdentity::Certificate(Arc::new(own)), None);
        let mut chain = FilterChain::new("all", None);
        chain.tls = Some(Arc::new(tls));
        let mut listener = Listener::new("web");
        listener.filter_chains.push(Arc::new(chain));
        config.listeners.insert("web".into(), Arc::new(listener));
        let id = SecretCertificate::new(inline(&pair.chain), inline(&pair.key));
        let roots = SecretValidation::new(SecretRoots::Pem(inline(&self.ca.pem())));
        let contents =
            [("id", SecretContent::Certificate(id)), ("roots", SecretContent::Validation(roots))];
        let known = contents.map(|(name, content)| {
            (Arc::from(name), SecretAnswer::Known(Arc::new(Secret::new(name, content))))
        });
        config.secrets = Arc::new(known.into());
        config
    }

    /// The configuration is in force, and was looked at.
    async fn follow(&self, config: &ConfigUpdate) {
        self.credentials.follow_named(config, &self.registry);
        sleep(Duration::from_millis(100)).await;
    }

    fn find(&self, name: &str) -> Option<Identities> {
        let mut all = self.credentials.all().into_iter();
        all.find_map(|(found, identities)| (*found == *name).then_some(identities))
    }

    fn status(&self, name: &str) -> IdentityStatus {
        self.find(name).unwrap().status()
    }

    fn files(&self) -> String {
        let directory = self.directory.path().display();
        format!("files/{directory}/cert.pem,{directory}/key.pem")
    }

    fn series(&self) -> String {
        let mut text = String::new();
        self.registry.prometheus(&mut text);
        text.lines()
            .filter(|line| line.starts_with("mesh_identity_"))
            .collect::<Vec<_>>()
            .join("\n")
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_named_is_watched_over_without_a_call() {
    let world = World::new();
    let config = world.config(&world.ca.issue(Odd::default()));
    world.follow(&config).await;
    let (files, series) = (world.files(), world.series());
    for expected in [
        "mesh_identity_expiry_timestamp_seconds{identity=\"secret/id\"} ".to_owned(),
        format!("mesh_identity_expiry_timestamp_seconds{{identity=\"{files}\"}} "),
        "mesh_identity_root_expiry_timestamp_seconds{identity=\"secret/roots\",trust_domain=\"\",subject=\"CN=ca of the tests\"".to_owned(),
        "mesh_identity_last_good_timestamp_seconds{identity=\"secret/id\"} ".to_owned(),
        "mesh_identity_failures_total{identity=\"secret/id\"} 0".to_owned(),
    ] {
        assert!(series.contains(&expected), "`{expected}` is not in:\n{series}");
    }
    // Each lives for two hours, of which one is over.
    let mut told = Vec::new();
    for _ in 0..3700 {
        sleep(Duration::from_secs(1)).await;
        told.extend(world.status("secret/id").warned.filter(|now| told.last() != Some(now)));
    }
    assert_eq!(told, [50, 25, 10]);
    assert_eq!(world.status(&files).warned, Some(10));
    for name in ["secret/id", &files] {
        let refused = world.credentials.named(&name.into()).current().unwrap_err();
        assert!(matches!(refused, NoIdentity::Expired { .. }), "{name}: {refused}");
    }
    // Roots are not named by who is shown, nor the other way round.
    assert!(world.find("secret/roots").unwrap().trust().is_ok());
}

#[tokio::test(start_paused = true)]
async fn what_is_not_good_changes_nothing_and_is_counted() {
    let world = World::new();
    let (first, second) = (world.ca.issue(Odd::default()), world.ca.issue(Odd::default()));
    world.follow(&world.config(&first)).await;
    let shown = || {
        let identity = world.find("secret/id").unwrap().current().unwrap();
        Arc::clone(&identity.certificate().serial)
    };
    let good = shown();
    let crossed = Pair { chain: second.chain.clone(), key: first.key.clone() };
    world.follow(&world.config(&crossed)).await;
    // It is looked at on, and told once.
    sleep(Duration::from_secs(20)).await;
    let status = world.status("secret/id");
    assert_eq!((shown(), status.failures), (Arc::clone(&good), 1));
    assert!(status.error.unwrap().contains("not the certificate's"));
    let over = world.ca.issue(Odd { life: Some((-7200, -60)), ..Odd::default() });
    world.follow(&world.config(&over)).await;
    sleep(Duration::from_secs(5)).await;
    let status = world.status("secret/id");
    assert_eq!((shown(), status.failures), (Arc::clone(&good), 2));
    assert!(status.error.unwrap().contains("ended"));
    world.follow(&world.config(&second)).await;
    assert_ne!(shown(), good);
    assert_eq!(world.status("secret/id").error, None);

    // A file that is gone, and there again.
    let (key, files) = (world.directory.path().join("key.pem"), world.files());
    let content = std::fs::read(&key).unwrap();
    std::fs::remove_file(&key).unwrap();
    sleep(Duration::from_secs(20)).await;
    let status = world.status(&files);
    assert_eq!(status.failures, 1);
    assert!(status.error.unwrap().contains("key.pem: "));
    std::fs::write(&key, content).unwrap();
    sleep(Duration::from_secs(20)).await;
    assert_eq!(world.status(&files).error, None);
}

/// What each is called, and which chain stands beside which roots.
#[test]
fn names_say_where_something_comes_from() {
    let mut config = ConfigUpdate::in_code();
    let validation = SecretValidation::new(SecretRoots::Unsaid);
    let unsaid = Secret::new("unsaid", SecretContent::Validation(validation));
    config.secrets = Arc::new([("unsaid".into(), SecretAnswer::Known(Arc::new(unsaid)))].into());
    let [a, b] = ["/a.pem", "/b.pem"].map(|path| file(Path::new(path)));
    let certificate = |chain: &SecretSource, key: &SecretSource| {
        TlsIdentity::Certificate(Arc::new(SecretCertificate::new(chain.clone(), key.clone())))
    };
    let default = |roots| {
        let mut secret = ValidationSecret::new("unsaid");
        secret.roots = roots;
        TlsRoots::Secret(secret)
    };
    let map = SpiffeBundles::Map(file(Path::new("/map.json")));
    let each = SpiffeBundles::Each([("a.example".into(), a.clone())].into());
    let rows = [
        (certificate(&a, &b), TlsRoots::System),
        (certificate(&inline("abc"), &inline("key")), TlsRoots::Pem("abc".into())),
        (TlsIdentity::Mesh, TlsRoots::File(Path::new("/ca.pem").into())),
        (TlsIdentity::Provider("p".into()), TlsRoots::Provider("q".into())),
        (TlsIdentity::Secret("gone".into()), TlsRoots::Mesh),
        (certificate(&a, &a), TlsRoots::Mesh),
        (TlsIdentity::None, default(SecretRoots::Pem(b.clone()))),
        (TlsIdentity::None, default(SecretRoots::System)),
        (TlsIdentity::None, TlsRoots::Spiffe(Arc::new(map))),
        (TlsIdentity::None, TlsRoots::Spiffe(Arc::new(each))),
    ];
    for (at, (identity, roots)) in rows.into_iter().enumerate() {
        let mut tls = UpstreamTls::default();
        (tls.identity, tls.roots) = (identity, roots);
        let name: Arc<str> = at.to_string().into();
        let mut cluster = Cluster::new(Arc::clone(&name));
        cluster.tls = TlsPolicy::On(Arc::new(tls));
        config.clusters.insert(name, ClusterUpdate::new(Arc::new(cluster), None));
    }
    let Found { held, beside } = Found::of(&config);
    let mut held: Vec<_> = held.into_keys().map(|name| name.to_string()).collect();
    let hashed = held.remove(1);
    assert!(hashed.starts_with("bundles/") && hashed.len() == 24, "{hashed}");
    // `xxhsum -H64` of `abc`.
    let expected = [
        "bundles//map.json",
        "files//a.pem,/a.pem",
        "files//a.pem,/b.pem",
        "files/44bc2cf5ad770999",
        "roots//b.pem",
        "roots//ca.pem",
        "roots/44bc2cf5ad770999",
    ];
    assert_eq!(held, expected);
    let named = |name: &str| Whose::Named(name.into());
    let expected = [
        (Whose::Provider("p".into()), Whose::Provider("q".into())),
        (named("files//a.pem,/a.pem"), Whose::Mesh),
        (named("files/44bc2cf5ad770999"), named("roots/44bc2cf5ad770999")),
    ];
    assert_eq!(beside.into_iter().collect::<Vec<_>>(), expected);
}

/// What shares a name shares what is in force.
#[cfg(unix)]
#[test]
fn no_two_pairs_have_one_name() {
    use std::os::unix::ffi::OsStrExt as _;
    let name = |chain: &[u8], key: &[u8]| {
        let [chain, key] =
            [chain, key].map(|path| file(Path::new(std::ffi::OsStr::from_bytes(path))));
        let pair = SecretCertificate::new(chain, key);
        of_pair(&TlsIdentity::Certificate(Arc::new(pair.clone())), &pair)
    };
    let names = [
        name(b"/a", b"/b,/c"),
        name(b"/a,/b", b"/c"),
        name(b"/a", b"/\xff"),
        name(b"/a", b"/\xfe"),
        name(b"/a", b"/b"),
    ];
    assert_eq!(std::collections::BTreeSet::from(names.clone()).len(), 5, "{names:?}");
    assert!(names[1].starts_with("files//a,/b,/c#"), "{names:?}");
}

/// As Envoy and gRPC: whoever says where it is shown decides what is.
#[tokio::test(start_paused = true)]
async fn what_is_no_workloads_is_shown_where_it_is_named() {
    let world = World::new();
    use rcgen::KeyUsagePurpose::{DigitalSignature, KeyCertSign, KeyEncipherment};
    for odd in [
        Odd { is_ca: true, ..Odd::default() },
        Odd { uris: Some(&["https://mesh.example/x"]), ..Odd::default() },
        Odd { uris: Some(&[super::super::tests::ca::OURS, "spiffe://b/c"]), ..Odd::default() },
        Odd { usage: &[DigitalSignature, KeyCertSign], ..Odd::default() },
        Odd { usage: &[KeyEncipherment], ..Odd::default() },
    ] {
        let pair = world.ca.issue(odd);
        world.follow(&world.config(&pair)).await;
        let status = world.status("secret/id");
        assert_eq!((status.error, status.failures), (None, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_named_no_more_is_let_go_of() {
    let world = World::new();
    world.follow(&world.config(&world.ca.issue(Odd::default()))).await;
    let held = Arc::downgrade(&world.credentials.named(&"secret/id".into()));
    assert!(held.upgrade().is_some());
    world.follow(&ConfigUpdate::in_code()).await;
    assert!(held.upgrade().is_none(), "with its key");
    assert!(world.credentials.all().is_empty());
    assert_eq!(world.series(), "");
}

/// Counts how often it is asked.
#[derive(Debug)]
struct Counts(Arc<AtomicUsize>);

impl IdentitySource for Counts {
    fn start(self: Box<Self>, sink: IdentitySink) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            loop {
                sink.wanted().await;
                self.0.fetch_add(1, Ordering::SeqCst);
            }
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_reload_asks_providers() {
    let (asked, registry, mut given) = (Arc::default(), Registry::new(), Given::default());
    given.providers.insert("x".into(), Box::new(Counts(Arc::clone(&asked))));
    let credentials = Credentials::start(given, &Handle::current(), &registry);
    sleep(Duration::from_millis(100)).await;
    assert_eq!(asked.load(Ordering::SeqCst), 0);
    credentials.reload();
    sleep(Duration::from_millis(100)).await;
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_reload_looks_at_files_at_once() {
    let world = World::new();
    world.follow(&world.config(&world.ca.issue(Odd::default()))).await;
    let shown = || world.find(&world.files()).unwrap().current().unwrap();
    let before = shown();
    world.ca.issue(Odd::default()).write(world.directory.path());
    sleep(Duration::from_millis(100)).await;
    assert!(Arc::ptr_eq(&before, &shown()), "nobody has looked");
    world.credentials.reload();
    sleep(Duration::from_millis(100)).await;
    assert!(!Arc::ptr_eq(&before, &shown()));
}

#[test]
fn a_chain_that_leads_elsewhere_is_told_and_shown() {
    let (ours, other) = (Ca::new(), Ca::new());
    let (own, roots) = (Identities::new(None), Identities::new(None));
    let show = |ca: &Ca| {
        let pair = ca.issue(Odd::default());
        let chain = certificates(pair.chain.as_bytes()).unwrap();
        let key = private_key(pair.key.as_bytes()).unwrap();
        own.sink().publish(Material::of_pair(chain, key)).unwrap();
    };
    let believe = |ca: &Ca| {
        let all = certificates(ca.pem().as_bytes()).unwrap();
        roots.sink().publish(Material::of_roots(super::super::Roots::Any(all.into()))).unwrap();
    };
    let mut beside = Beside::new(own.clone(), roots.clone());
    assert_eq!(beside.judge(), None, "there is nothing");
    show(&other);
    believe(&ours);
    assert!(matches!(beside.judge(), Some(Told::Apart(_))));
    assert_eq!(beside.judge(), None, "it is told once");
    show(&other);
    assert_eq!(beside.judge(), None, "it was so before");
    show(&ours);
    assert_eq!(beside.judge(), None);
    show(&other);
    assert!(matches!(beside.judge(), Some(Told::Parted(_))));
    believe(&other);
    assert_eq!(beside.judge(), None);
    believe(&ours);
    assert!(matches!(beside.judge(), Some(Told::Parted(_))));
}

/// Files are replaced one after the other.
#[tokio::test(start_paused = true)]
async fn what_is_half_written_for_a_moment_is_not_told() {
    let (ca, one) = (Ca::new(), One::new(&"files/a,b".into()));
    let (first, second) = (ca.issue(Odd::default()), ca.issue(Odd::default()));
    let take = |chain: &Pair, key: &Pair| {
        let (chain, key) = (chain.chain.as_bytes().into(), key.key.as_bytes().into());
        one.take(Ok(Texts::Pair { chain, key }));
        one.identities().status().failures
    };
    assert_eq!(take(&first, &second), 1, "there is nothing else");
    assert_eq!(take(&first, &first), 1);
    assert_eq!(take(&second, &first), 1);
    assert_eq!(take(&second, &second), 1);
    assert_eq!(take(&first, &second), 1);
    tokio::time::advance(super::one::HOLD).await;
    assert_eq!(take(&first, &second), 2, "it stays so");
    assert_eq!(take(&first, &second), 2);
    assert!(one.current().is_ok());
}

/// What is told is what is wrong now, not what was wrong in between.
#[tokio::test(start_paused = true)]
async fn a_fault_that_is_back_is_told_again() {
    pretend(clock::wall());
    let (ca, one) = (Ca::new(), One::new(&"files/a,b".into()));
    let (good, other) = (ca.issue(Odd::default()), ca.issue(Odd::default()));
    let early = ca.issue(Odd { life: Some((600, 3600)), ..Odd::default() });
    let read = |chain: &Pair, key: &Pair| {
        let (chain, key) = (chain.chain.as_bytes().into(), key.key.as_bytes().into());
        Ok(Texts::Pair { chain, key })
    };
    let gone = || Err(Unread::because("key.pem: No such file"));
    one.take(read(&good, &good));
    for (read, failures, part) in [
        (read(&good, &other), 1, "not the certificate's"),
        (gone(), 2, "No such file"),
        (read(&good, &other), 3, "not the certificate's"),
        (gone(), 4, "No such file"),
        (read(&early, &early), 5, "begins in 59"),
        // Its words are other ones by now, and it is the same.
        (read(&early, &early), 5, "begins in 59"),
        (gone(), 6, "No such file"),
        (read(&early, &early), 7, "begins in 59"),
    ] {
        for _ in 0..2 {
            one.take(read.clone());
            tokio::time::advance(super::one::HOLD).await;
        }
        let status = one.identities().status();
        let error = status.error.unwrap_or_default();
        assert!(error.contains(part), "`{part}` is not in {error}");
        assert_eq!(status.failures, failures, "{error}");
    }
    assert!(one.current().is_ok());
}

#[tokio::test(start_paused = true)]
async fn one_that_panics_hides_no_other() {
    let ca = Ca::new();
    let pair = || {
        let pair = ca.issue(Odd::default());
        Held::Pair(SecretCertificate::new(inline(&pair.chain), inline(&pair.key)))
    };
    let panics = Arc::new(AtomicBool::new(false));
    let mut bad = One::new(&"secret/a".into());
    bad.hook.0 = Some(Arc::clone(&panics));
    let both = [Arc::new(bad), Arc::new(One::new(&"secret/b".into()))];
    both.iter().for_each(|one| one.follow(pair(), None));
    let status = |at: usize| both[at].identities().status();
    panics.store(true, Ordering::SeqCst);
    look_at(&both, Vec::new()).await;
    assert!(status(0).error.unwrap().contains("looking at it panicked"));
    assert!(both[1].current().is_ok());
    look_at(&both, Vec::new()).await;
    assert!(both[0].current().is_ok() && status(0).error.is_none());
    // What is in force stays, and it is told when it goes on.
    both[0].follow(pair(), None);
    for failures in [1, 2] {
        panics.store(true, Ordering::SeqCst);
        look_at(&both, Vec::new()).await;
        assert_eq!(status(0).failures, failures);
        assert!(both[0].current().is_ok());
        tokio::time::advance(super::one::HOLD).await;
    }
}

/// Whoever asks, nothing older takes the place of something newer.
#[tokio::test(start_paused = true)]
async fn who_asks_late_brings_nothing_older_back() {
    let world = World::new();
    world.follow(&world.config(&world.ca.issue(Odd::default()))).await;
    let one = world.credentials.named(&world.files().as_str().into());
    let shown = || Arc::clone(&one.current().unwrap().certificate().serial);
    let first = shown();
    tokio::time::advance(FRESH).await;
    one.look(None, FRESH).await;
    world.ca.issue(Odd::default()).write(world.directory.path());
    world.credentials.reload();
    sleep(Duration::from_millis(100)).await;
    let second = shown();
    assert_ne!(first, second);
    // A handshake that has looked less than a second ago.
    one.look(None, FRESH).await;
    assert_eq!(shown(), second);

    // A handshake that was held up with the configuration before.
    let secret = world.credentials.named(&"secret/id".into());
    let held =
        |pair: &Pair| Held::Pair(SecretCertificate::new(inline(&pair.chain), inline(&pair.key)));
    let (old, new) = (world.ca.issue(Odd::default()), world.ca.issue(Odd::default()));
    world.follow(&world.config(&old)).await;
    world.follow(&world.config(&new)).await;
    let shown = || Arc::clone(&secret.current().unwrap().certificate().serial);
    let newest = shown();
    secret.look(Some(&held(&old)), FRESH).await;
    assert_eq!(shown(), newest);
}

/// However many handshakes want it at once, and whether it is there or not.
#[tokio::test(start_paused = true)]
async fn files_are_read_once_a_second_at_most() {
    let (ca, directory) = (Ca::new(), tempfile::tempdir().unwrap());
    let [cert, key] = ["cert.pem", "key.pem"].map(|name| file(&directory.path().join(name)));
    let (one, held) =
        (Arc::new(One::new(&"files/a,b".into())), Held::Pair(SecretCertificate::new(cert, key)));
    let all = async || {
        for look in [(); 20].map(|()| one.look(Some(&held), FRESH)) {
            look.await;
        }
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..20 {
            let (one, held) = (Arc::clone(&one), held.clone());
            tasks.spawn(async move { one.look(Some(&held), FRESH).await });
        }
        tasks.join_all().await;
    };
    all().await;
    assert_eq!(one.reads(), 1);
    ca.issue(Odd::default()).write(directory.path());
    all().await;
    assert_eq!(one.reads(), 1);
    assert!(one.current().is_err(), "nobody has looked");
    tokio::time::advance(FRESH).await;
    all().await;
    assert_eq!(one.reads(), 2);
    assert!(one.current().is_ok());
}

/// Lists that are bad are counted, and when newer ones are due is known: with one that is over no peer is believed.
#[tokio::test(start_paused = true)]
async fn lists_of_revoked_certificates_are_watched_over() {
    let world = World::new();
    let path = world.directory.path().join("crl.pem");
    std::fs::write(&path, world.ca.revoke(&[])).unwrap();
    let mut config = world.config(&world.ca.issue(Odd::default()));
    let mut tls = UpstreamTls::default();
    tls.crl = Some(file(&path));
    let mut cluster = Cluster::new("ratings");
    cluster.tls = TlsPolicy::On(Arc::new(tls));
    config.clusters.insert("ratings".into(), ClusterUpdate::new(Arc::new(cluster), None));
    let lists = |text: &str| {
        let mut validation = SecretValidation::new(SecretRoots::Pem(inline(&world.ca.pem())));
        validation.crl = Some(inline(text));
        let secret = Secret::new("roots", SecretContent::Validation(validation));
        let mut secrets = (*config.secrets).clone();
        secrets.insert("roots".into(), SecretAnswer::Known(Arc::new(secret)));
        let mut next = config.clone();
        next.secrets = Arc::new(secrets);
        next
    };
    world.follow(&lists(&world.ca.revoke(&[]))).await;
    let by_file = format!("crl/{}", path.display());
    for name in ["crl/secret/roots", &by_file] {
        let expected = format!(
            "mesh_identity_crl_expiry_timestamp_seconds{{identity=\"{name}\",issuer=\"CN=ca of the tests\"}} "
        );
        assert!(world.series().contains(&expected), "{}", world.series());
        assert_eq!(world.status(name).failures, 0);
    }
    std::fs::write(&path, "none").unwrap();
    world.follow(&lists("none")).await;
    sleep(Duration::from_secs(10)).await;
    for name in ["crl/secret/roots", &by_file] {
        let expected = format!("mesh_identity_failures_total{{identity=\"{name}\"}} 1");
        assert!(world.series().contains(&expected), "{}", world.series());
        assert!(world.status(name).error.unwrap().contains("no list of revoked certificates"));
        assert!(world.credentials.named(&name.into()).signers().is_ok(), "the last good one stays");
    }
}

/// One chain in the configuration with two keys has one name; a mistake of one policy is not the other's.
#[tokio::test(start_paused = true)]
async fn who_has_another_key_asks_for_his_own() {
    let (ca, one) = (Ca::new(), Arc::new(One::new(&"files/0123456789abcdef".into())));
    let (good, other) = (ca.issue(Odd::default()), ca.issue(Odd::default()));
    let pair = |chain: &Pair, key: &Pair| {
        Held::Pair(SecretCertificate::new(inline(&chain.chain), inline(&key.key)))
    };
    one.follow(pair(&good, &other), None);
    one.look(None, FRESH).await;
    assert!(one.current().is_err());
    one.look(Some(&pair(&good, &good)), FRESH).await;
    assert!(one.current().is_ok());
}

/// Who comes while others read and verify has what they find.
#[tokio::test(start_paused = true)]
async fn nobody_goes_on_before_what_is_there_is_in_force() {
    let (ca, directory) = (Ca::new(), tempfile::tempdir().unwrap());
    let path = directory.path().join("ca.pem");
    std::fs::write(&path, ca.pem()).unwrap();
    let (one, held) = (Arc::new(One::new(&"roots/a".into())), Held::Roots(file(&path)));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (one, held) = (Arc::clone(&one), held.clone());
        tasks.spawn(async move {
            one.look(Some(&held), FRESH).await;
            one.signers().is_ok()
        });
    }
    assert_eq!(tasks.join_all().await, [true; 20]);
    assert_eq!(one.reads(), 1);
}

#[tokio::test(start_paused = true)]
async fn nothing_of_a_key_is_shown() {
    let world = World::new();
    let pair = world.ca.issue(Odd::default());
    world.follow(&world.config(&pair)).await;
    let files = world.credentials.named(&world.files().as_str().into());
    let secret = world.credentials.named(&"secret/id".into());
    assert!(files.current().is_ok() && secret.current().is_ok());
    let shown = format!("{:?} {files:?} {secret:?} {:?}", world.credentials, world.config(&pair));
    assert!(shown.contains("secret/id") && shown.contains("key.pem"), "{shown}");
    let in_file = std::fs::read_to_string(world.directory.path().join("key.pem")).unwrap();
    for key in [&pair.key, &in_file] {
        let der = private_key(key.as_bytes()).unwrap();
        let bytes = format!("{:?}", &der.secret_der()[..16]);
        let lines = key.lines().filter(|line| !line.starts_with("--") && line.len() > 16);
        for part in lines.chain([&*bytes, bytes.trim_matches(['[', ']']), "PRIVATE", "in_force"]) {
            assert!(!shown.contains(part), "`{part}` is in {shown}");
        }
    }
}
