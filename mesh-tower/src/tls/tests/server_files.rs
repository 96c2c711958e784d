//! A listener's certificates in files, which are replaced one after the other.

use super::ca::{Ca, Pair};
use crate::identity::named::of_pair;
use crate::identity::{Credentials, FixedIdentity, Given, Material, NoIdentity};
use crate::observe::registry::Registry;
use crate::tls::server::{Around, ChainTls, ServerTls};
use crate::tls::server_material::ServerTlsError;
use mesh_core::model::matcher::{RegexPattern, StringMatcher, StringPattern};
use mesh_core::model::san::SanMatcher;
use mesh_core::model::secret::{SecretCertificate, SecretSource};
use mesh_core::model::tls::{DownstreamTls, SpiffeBundles, TlsIdentity, TlsRoots};
use mesh_core::update::Secrets;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::runtime::Handle;

struct World {
    directory: TempDir,
    tls: ServerTls,
    policy: Arc<DownstreamTls>,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| SecretSource::File(directory.path().join(name).into());
        let certificate = SecretCertificate::new(file("cert.pem"), file("key.pem"));
        let mut policy = DownstreamTls::mutual();
        policy.identity = TlsIdentity::Certificate(Arc::new(certificate));
        policy.roots = Some(TlsRoots::File(directory.path().join("ca.pem").into()));
        Self { directory, tls: ServerTls::default(), policy: Arc::new(policy) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// What is offered a moment later; files are looked at once a second.
    async fn offered(&self, policy: &Arc<DownstreamTls>) -> Result<Arc<ChainTls>, ServerTlsError> {
        tokio::time::advance(Duration::from_secs(2)).await;
        self.offered_now(policy).await
    }

    async fn offered_now(
        &self,
        policy: &Arc<DownstreamTls>,
    ) -> Result<Arc<ChainTls>, ServerTlsError> {
        let (secrets, credentials) = (Secrets::default(), Credentials::default());
        let around = Around { secrets: &secrets, credentials: &credentials };
        self.tls.of(&"c".into(), policy, around).await
    }
}

#[tokio::test(start_paused = true)]
async fn what_does_not_fit_together_changes_nothing() {
    let (world, ca) = (World::new(), Ca::new("ours"));
    let (first, second) = (ca.issue("shop.example", 1), ca.issue("shop.example", 2));
    let put = |name: &str, text: &str| fs::write(world.path(name), text).unwrap();
    let write = |Pair { chain, key }: &Pair| [put("cert.pem", chain), put("key.pem", key)];
    put("ca.pem", &ca.pem());
    put("cert.pem", &second.chain);
    put("key.pem", &first.key);
    // Nothing was good before.
    let error = world.offered(&world.policy).await.err().unwrap().to_string();
    assert!(error.contains("not the certificate's"), "{error}");
    put("key.pem", "none");
    let error = world.offered(&world.policy).await.err().unwrap().to_string();
    for part in ["cert.pem, its key in ", "key.pem: ", "no private key in it"] {
        assert!(error.contains(part), "`{part}` is not in {error}");
    }

    write(&first);
    let good = world.offered(&world.policy).await.unwrap();
    put("cert.pem", &format!("{}\n", second.chain));
    for _ in 0..2 {
        let offered = world.offered(&world.policy).await.unwrap();
        assert!(Arc::ptr_eq(&offered, &good), "the key is still that of the first");
    }
    put("key.pem", &format!("{}\n", second.key));
    let renewed = world.offered(&world.policy).await.unwrap();
    assert!(!Arc::ptr_eq(&renewed, &good));

    // Whom to believe does not wait for a key: another root is in force under the certificate before.
    let other = Ca::new("theirs");
    put("cert.pem", &first.chain);
    put("ca.pem", &other.pem());
    let narrowed = world.offered(&world.policy).await.unwrap();
    assert!(!Arc::ptr_eq(&narrowed, &renewed));
    let again = world.offered(&world.policy).await.unwrap();
    assert!(Arc::ptr_eq(&again, &narrowed), "it is made once");
    put("cert.pem", &format!("{}\n\n", second.chain));
    let renewed = world.offered(&world.policy).await.unwrap();

    put("ca.pem", &ca.pem()[..100]);
    let offered = world.offered(&world.policy).await.unwrap();
    assert!(Arc::ptr_eq(&offered, &renewed), "half of the roots is written");

    // What is over, or has not begun, takes the place of nothing.
    put("ca.pem", &ca.pem());
    world.offered(&world.policy).await.unwrap();
    write(&ca.issue_for("shop.example", 3, (-60, -30)));
    let stays = world.offered(&world.policy).await.unwrap();
    write(&ca.issue_for("shop.example", 4, (60, 600)));
    let stays_too = world.offered(&world.policy).await.unwrap();
    assert!(Arc::ptr_eq(&stays, &stays_too) && stays.own_end() == renewed.own_end());

    // Another policy that names the same shows and believes what stays of it.
    let mut other = DownstreamTls::clone(&world.policy);
    other.require_client_certificate = false;
    let other = Arc::new(other);
    let stays = world.offered(&other).await.unwrap();
    assert_eq!(stays.own_end(), renewed.own_end());
    put("ca.pem", &ca.pem()[..100]);
    assert!(world.offered(&other).await.is_ok());
    assert!(world.offered(&world.policy).await.is_ok());
    put("ca.pem", &ca.pem());
    assert!(world.offered(&world.policy).await.is_ok());
    // What is gone may have been withdrawn.
    fs::remove_file(world.path("ca.pem")).unwrap();
    assert!(world.offered(&world.policy).await.is_ok(), "it may be there again in a moment");
    let error = world.offered(&world.policy).await.err().unwrap().to_string();
    assert!(error.contains("ca.pem: No such file"), "{error}");
    put("ca.pem", &ca.pem());
    assert!(world.offered(&world.policy).await.is_ok());
    fs::remove_file(world.path("key.pem")).unwrap();
    assert!(world.offered(&world.policy).await.is_ok(), "it may be there again in a moment");
    let error = world.offered(&world.policy).await.err().unwrap().to_string();
    assert!(error.contains("key.pem: No such file"), "{error}");
    // Whatever else is wrong with it says nothing of that.
    write(&first);
    assert!(world.offered(&world.policy).await.is_ok());
    fs::remove_file(world.path("key.pem")).unwrap();
    fs::create_dir(world.path("key.pem")).unwrap();
    for _ in 0..3 {
        assert!(world.offered(&world.policy).await.is_ok());
    }
}

/// A bundle without a root would believe nobody, and end the connections of all that are there.
#[tokio::test(start_paused = true)]
async fn a_bundle_that_nobody_can_read_changes_nothing() {
    let (world, ca) = (World::new(), Ca::new("ours"));
    let put = |name: &str, text: &str| fs::write(world.path(name), text).unwrap();
    let Pair { chain, key } = ca.issue("shop.example", 1);
    for (name, text) in [("ca.pem", &ca.pem()), ("cert.pem", &chain), ("key.pem", &key)] {
        put(name, text);
    }
    let mut policy = DownstreamTls::clone(&world.policy);
    let bundle = SecretSource::File(world.path("ca.pem").into());
    let bundles = SpiffeBundles::Each([("mesh.example".into(), bundle)].into());
    policy.roots = Some(TlsRoots::Spiffe(Arc::new(bundles)));
    let policy = Arc::new(policy);
    let before = world.offered(&policy).await.unwrap();
    put("ca.pem", "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n");
    assert!(Arc::ptr_eq(&before, &world.offered(&policy).await.unwrap()));
    put("ca.pem", &Ca::new("theirs").pem());
    assert!(!Arc::ptr_eq(&before, &world.offered(&policy).await.unwrap()));
}

/// As much as anywhere else: the roots of the world with what was written between them.
#[tokio::test(start_paused = true)]
async fn a_file_may_have_16_mib() {
    for (bytes, is_taken) in [(3 << 19, true), (16 << 20, false)] {
        let (world, ca) = (World::new(), Ca::new("ours"));
        let put = |name: &str, text: &str| fs::write(world.path(name), text).unwrap();
        let Pair { chain, key } = ca.issue("shop.example", 1);
        put("cert.pem", &chain);
        put("key.pem", &key);
        put("ca.pem", &(ca.pem() + &"between them\n".repeat(bytes / 13)));
        match world.offered(&world.policy).await {
            Ok(_) => assert!(is_taken),
            Err(error) => {
                let error = error.to_string();
                assert!(!is_taken && error.contains("larger than 16 MiB"), "{error}");
            }
        }
    }
}

/// Of a certificate that a listener names as of an identity.
#[tokio::test(start_paused = true)]
async fn what_is_over_fails_closed() {
    crate::clock::pretend(crate::clock::wall());
    let (world, ca) = (World::new(), Ca::new("ours"));
    let put = |name: &str, text: &str| fs::write(world.path(name), text).unwrap();
    let Pair { chain, key } = ca.issue_for("shop.example", 1, (-60, 60));
    for (name, text) in [("ca.pem", &ca.pem()), ("cert.pem", &chain), ("key.pem", &key)] {
        put(name, text);
    }
    assert!(world.offered(&world.policy).await.is_ok());
    tokio::time::advance(Duration::from_secs(70)).await;
    let error = world.offered(&world.policy).await.err().unwrap();
    let ServerTlsError::NoIdentity { error: NoIdentity::Expired { .. }, whose } = error else {
        panic!("{error}")
    };
    assert!(whose.contains("cert.pem"), "{whose}");
    // The next good one is in force at once.
    let Pair { chain, key } = ca.issue_for("shop.example", 2, (-60, 600));
    put("cert.pem", &chain);
    put("key.pem", &key);
    assert!(world.offered(&world.policy).await.is_ok());
}

/// An identity that was renewed is shown, although the roots beside it are half written.
#[tokio::test(start_paused = true)]
async fn a_renewed_identity_does_not_wait_for_roots() {
    let (world, ca) = (World::new(), Ca::new("ours"));
    let put = |name: &str, text: &str| fs::write(world.path(name), text).unwrap();
    let (source, updates) = FixedIdentity::new(None);
    let given = Given { own: Some((None, Box::new(source))), ..Given::default() };
    let credentials = Credentials::start(given, &Handle::current(), &Registry::default());
    let mut policy = DownstreamTls::clone(&world.policy);
    policy.identity = TlsIdentity::Mesh;
    let policy = Arc::new(policy);
    let offered = async |life| {
        let Pair { chain, key } = ca.issue_for("spiffe://mesh.example/shop", 1, life);
        let roots = ca.pem();
        let material = Material::from_pem(chain.as_bytes(), key.as_bytes(), roots.as_bytes());
        updates.publish(material.unwrap()).await.unwrap();
        tokio::time::advance(Duration::from_secs(2)).await;
        let around = Around { secrets: &Secrets::default(), credentials: &credentials };
        let offered = world.tls.of(&"c".into(), &policy, around).await?;
        Ok::<_, ServerTlsError>(offered.own_end())
    };
    put("ca.pem", &ca.pem());
    let first = offered((-60, 600)).await.unwrap();
    put("ca.pem", &ca.pem()[..100]);
    let second = offered((-60, 1200)).await.unwrap();
    let third = offered((-60, 1800)).await.unwrap();
    // The same where the list beside them is none.
    let list = "-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n";
    put("ca.pem", &format!("{}{list}", ca.pem()));
    let fourth = offered((-60, 2000)).await.unwrap();
    assert!(first < second && second < third && third < fourth);
    fs::remove_file(world.path("ca.pem")).unwrap();
    assert!(offered((-60, 2200)).await.is_ok(), "it may be there again in a moment");
    assert!(offered((-60, 2400)).await.is_err(), "what is gone may have been withdrawn");
}

/// A control plane that rotates by new names of files leaves none of the old ones behind, and no key of them.
#[tokio::test(start_paused = true)]
async fn files_that_are_not_named_any_more_are_let_go_of() {
    let (world, ca) = (World::new(), Ca::new("ours"));
    let put = |name: &str, text: &str| fs::write(world.path(name), text).unwrap();
    put("ca.pem", &ca.pem());
    let credentials = Credentials::default();
    let offered = async |policy: &Arc<DownstreamTls>| {
        let around = Around { secrets: &Secrets::default(), credentials: &credentials };
        world.tls.of(&"c".into(), policy, around).await
    };
    let one = |policy: &DownstreamTls| {
        let TlsIdentity::Certificate(pair) = &policy.identity else { panic!() };
        Arc::downgrade(&credentials.named(&of_pair(&policy.identity, pair)))
    };
    let file = |name: String| SecretSource::File(world.path(&name).into());
    let named = |round: u64| {
        let [cert, key] = ["cert", "key"].map(|name| file(format!("{name}-{round}.pem")));
        let mut policy = DownstreamTls::clone(&world.policy);
        policy.identity = TlsIdentity::Certificate(Arc::new(SecretCertificate::new(cert, key)));
        Arc::new(policy)
    };
    for round in 1..6 {
        let pair = ca.issue("shop.example", round);
        put(&format!("cert-{round}.pem"), &pair.chain);
        put(&format!("key-{round}.pem"), &pair.key);
        let before = one(&named(round - 1));
        let policy = named(round);
        offered(&policy).await.unwrap();
        assert!(one(&policy).upgrade().is_some() && before.upgrade().is_none());
        assert!(!format!("{:?}", world.tls).contains(".pem"));
    }
    let policy = named(5);
    let held = one(&policy);
    world.tls.keep(|_| Some(Arc::clone(&policy)));
    assert!(held.upgrade().is_some());
    // The listener names another one, and nobody has called since.
    world.tls.keep(|_| Some(named(4)));
    assert!(held.upgrade().is_none());
    // It shows the mesh's own, which there is none of.
    offered(&policy).await.unwrap();
    let held = one(&policy);
    assert!(held.upgrade().is_some());
    let mut own = DownstreamTls::clone(&policy);
    own.identity = TlsIdentity::Mesh;
    assert!(offered(&Arc::new(own)).await.is_err());
    assert!(held.upgrade().is_none());
    // It is not secured any more.
    offered(&policy).await.unwrap();
    let held = one(&policy);
    world.tls.keep(|_| None);
    assert!(held.upgrade().is_none());
    assert_eq!(format!("{:?}", world.tls), "{}");
}

/// Handshakes may come as fast as clients like.
#[tokio::test(start_paused = true)]
async fn what_cannot_be_made_is_tried_again_a_second_later() {
    let (world, ca) = (World::new(), Ca::new("ours"));
    let Pair { chain, key } = ca.issue("shop.example", 1);
    for (name, text) in [("ca.pem", &ca.pem()), ("cert.pem", &chain), ("key.pem", &key)] {
        fs::write(world.path(name), text).unwrap();
    }
    let mut wrong = DownstreamTls::clone(&world.policy);
    wrong.san =
        vec![SanMatcher::any(StringMatcher::new(StringPattern::Regex(RegexPattern::new("("))))];
    let wrong = Arc::new(wrong);
    let mut tried = None;
    for _ in 0..3 {
        // Within a second of each other.
        for wait in [0, 400, 500] {
            tokio::time::advance(Duration::from_millis(wait)).await;
            let error = world.offered_now(&wrong).await.err().unwrap().to_string();
            assert!(error.starts_with("san[0]: "), "{error}");
            let until = world.tls.failed_until("c");
            assert!(until.is_some() && (wait == 0 || until == tried), "{wait}");
            assert!(wait > 0 || until > tried);
            tried = until;
        }
        tokio::time::advance(Duration::from_millis(100)).await;
    }
    // Whatever changes is looked at at once.
    assert!(world.offered_now(&world.policy).await.is_ok());
    assert_eq!(world.tls.failed_until("c"), None);
}
