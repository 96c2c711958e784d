//! Sources and their renewals, by the clock of the machine: files have no other.

use super::super::{
    FileIdentity, FixedIdentity, Identities, IdentitySource, InvalidIdentity, Material, NoIdentity,
    Roots, certificates, private_key, revocation_lists,
};
use super::ca::{Ca, Odd, Pair};
use mesh_core::identity::TrustDomain;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::{sleep, timeout};

const PATIENCE: Duration = Duration::from_secs(10);

fn run(identities: &Identities, source: impl IdentitySource) -> tokio::task::JoinHandle<()> {
    let identities = identities.clone();
    tokio::spawn(async move { identities.run(Box::new(source)).await })
}

/// Waits until `holds`.
pub(super) async fn until(
    identities: &Identities,
    what: &str,
    holds: impl Fn(&Identities) -> bool,
) {
    let waited = timeout(PATIENCE, async {
        while !holds(identities) {
            sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(waited.await.is_ok(), "{what}: {:?}", identities.status());
}

fn serial(identities: &Identities) -> Option<String> {
    identities.current().ok().map(|current| current.certificate().serial.to_string())
}

#[tokio::test]
async fn what_the_program_hands_over() {
    let ca = Ca::new();
    let identities = Identities::new(None);
    assert_eq!(identities.current().unwrap_err(), NoIdentity::NotYet { why: None });
    let (source, updates) = FixedIdentity::new(None);
    let task = run(&identities, source);
    let first = ca.issue(Odd::default());
    assert_eq!(updates.publish(ca.material(&first)).await, Ok(()));
    let good = serial(&identities).unwrap();

    let crossed = Pair { key: ca.issue(Odd::default()).key, ..first };
    let refused = updates.publish(ca.material(&crossed)).await;
    assert_eq!(refused, Err(InvalidIdentity::KeyMismatch));
    assert_eq!(serial(&identities).as_ref(), Some(&good), "what was good stays");
    let status = identities.status();
    assert_eq!(status.failures, 1);
    assert!(status.error.unwrap().contains("not the certificate's"));
    assert_eq!(*status.roots[0].0, *"CN=ca of the tests");

    assert_eq!(updates.publish(ca.material(&ca.issue(Odd::default()))).await, Ok(()));
    assert_ne!(serial(&identities), Some(good));
    assert_eq!(identities.status().error, None);
    task.abort();
}

#[tokio::test]
async fn what_is_over_is_not_shown_and_its_successor_is_at_once() {
    let ca = Ca::new();
    let identities = Identities::new(None);
    let brief = ca.issue(Odd { life: Some((-10, 1)), ..Odd::default() });
    let (source, updates) = FixedIdentity::new(Some(ca.material(&brief)));
    let task = run(&identities, source);
    until(&identities, "in force", |identities| serial(identities).is_some()).await;
    // Less than a tenth of its life is left, and nobody renewed it.
    until(&identities, "warned", |identities| identities.status().warned == Some(10)).await;
    // The same with other roots: that is no renewal.
    let other = Ca::new();
    let (chain, key) = (brief.chain.as_bytes(), brief.key.as_bytes());
    let roots = ca.pem() + &other.pem();
    let material = Material::from_pem(chain, key, roots.as_bytes()).unwrap();
    assert_eq!(updates.publish(material).await, Ok(()));
    assert_eq!((identities.status().warned, identities.status().roots.len()), (Some(10), 2));
    until(&identities, "over", |identities| {
        matches!(identities.current(), Err(NoIdentity::Expired { .. }))
    })
    .await;
    let fresh = ca.issue(Odd { life: Some((-10, 3600)), ..Odd::default() });
    assert_eq!(updates.publish(ca.material(&fresh)).await, Ok(()));
    assert!(identities.current().is_ok());
    assert_eq!(identities.status().warned, None);
    task.abort();
}

#[tokio::test]
async fn files_are_followed_and_half_of_a_rotation_changes_nothing() {
    let ca = Ca::new();
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let identities = Identities::new(None);
    let source = FileIdentity::new(path("cert.pem"), path("key.pem"), path("ca.pem"));
    let task = run(&identities, source.poll_interval(Duration::from_millis(50)));
    until(&identities, "missing", |identities| identities.status().error.is_some()).await;
    assert!(identities.current().unwrap_err().to_string().contains("cert.pem"));

    std::fs::write(path("ca.pem"), ca.pem()).unwrap();
    ca.issue(Odd::default()).write(directory.path());
    until(&identities, "there", |identities| serial(identities).is_some()).await;
    let first = serial(&identities).unwrap();
    assert_eq!(identities.status().error, None);

    // The certificate alone, and the key so late that it is told.
    let second = ca.issue(Odd::default());
    std::fs::write(path("cert.pem"), &second.chain).unwrap();
    until(&identities, "told", |identities| identities.status().error.is_some()).await;
    let error = identities.status().error.unwrap();
    assert!(error.contains("key.pem") && error.contains("not the certificate's"), "{error}");
    assert_eq!(serial(&identities), Some(first.clone()));
    std::fs::write(path("key.pem"), &second.key).unwrap();
    until(&identities, "whole", |identities| {
        identities.status().error.is_none() && serial(identities) != Some(first.clone())
    })
    .await;

    // Files that vanish change nothing.
    std::fs::remove_file(path("key.pem")).unwrap();
    until(&identities, "gone", |identities| identities.status().error.is_some()).await;
    assert!(identities.current().is_ok());
    task.abort();
}

/// What a directory holds is none of the files that were named: the key's text would be read as roots.
#[tokio::test]
async fn a_directory_in_the_place_of_a_file_is_a_fault() {
    let (ca, directory) = (Ca::new(), tempfile::tempdir().unwrap());
    let path = |name: &str| directory.path().join(name);
    std::fs::write(path("ca.pem"), ca.pem()).unwrap();
    let pair = ca.issue(Odd::default());
    std::fs::write(path("key.pem"), &pair.key).unwrap();
    std::fs::create_dir(path("cert.pem")).unwrap();
    for name in ["a.yaml", "b.yaml"] {
        std::fs::write(path("cert.pem").join(name), &pair.chain).unwrap();
    }
    let identities = Identities::new(None);
    let source = FileIdentity::new(path("cert.pem"), path("key.pem"), path("ca.pem"));
    let task = run(&identities, source);
    until(&identities, "told", |identities| identities.status().error.is_some()).await;
    let error = identities.status().error.unwrap();
    assert!(error.contains("cert.pem: not a regular file, but a directory"), "{error}");
    assert!(!error.contains("yaml") && !error.contains("key.pem"), "{error}");
    task.abort();
}

/// In PEM, and no certificate.
const JUNK: &str = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";

/// Where our own chain need not lead to them, nothing else asks whether they can be used.
#[tokio::test]
async fn roots_that_nobody_can_read_change_nothing() {
    let (ca, directory) = (Ca::new(), tempfile::tempdir().unwrap());
    let path = directory.path().join("ca.pem");
    std::fs::write(&path, ca.pem()).unwrap();
    let by_files = Identities::new(None);
    let task = run(&by_files, FileIdentity::roots(&path).poll_interval(Duration::from_millis(50)));
    until(&by_files, "there", |identities| identities.trust().is_ok()).await;
    let trust = by_files.trust().unwrap();
    std::fs::write(&path, JUNK).unwrap();
    until(&by_files, "told", |identities| identities.status().error.is_some()).await;
    assert!(by_files.status().error.unwrap().contains("ca.pem: roots: no X.509 certificate"));
    assert!(Arc::ptr_eq(&trust, &by_files.trust().unwrap()));
    assert_eq!(by_files.status().failures, 1);
    task.abort();

    let (source, updates) = FixedIdentity::new(None);
    let by_program = Identities::new(None);
    let task = run(&by_program, source);
    let roots = |text: &str| Roots::Any(certificates(text.as_bytes()).unwrap().into());
    assert_eq!(updates.publish(Material::of_roots(roots(&ca.pem()))).await, Ok(()));
    let trust = by_program.trust().unwrap();
    let pair = || {
        let pair = ca.issue(Odd::default());
        let key = private_key(pair.key.as_bytes()).unwrap();
        (certificates(pair.chain.as_bytes()).unwrap(), key)
    };
    let foreign = {
        let (chain, key) = pair();
        Material::from_der(chain, key, roots(JUNK)).with_foreign_roots()
    };
    // Our own trust domain is good, and one that it is federated with is not.
    let federated = {
        let of = |domain: &str, text: &str| {
            (TrustDomain::parse(domain).unwrap(), certificates(text.as_bytes()).unwrap())
        };
        let bundles = [of("mesh.example", &ca.pem()), of("b.example", JUNK)];
        let (chain, key) = pair();
        Material::from_der(chain, key, Roots::ByTrustDomain(Arc::new(bundles.into())))
    };
    for material in [Material::of_roots(roots(JUNK)), foreign, federated] {
        let refused = updates.publish(material).await.unwrap_err().to_string();
        assert!(refused.contains("roots: no X.509 certificate"), "{refused}");
        assert!(Arc::ptr_eq(&trust, &by_program.trust().unwrap()));
    }
    // One that can be read among others that can't is enough.
    let some = Material::of_roots(roots(&(JUNK.to_owned() + &ca.pem())));
    assert_eq!(updates.publish(some).await, Ok(()));
    task.abort();
}

/// An identity in files, which are read at the start, and then when the system reports a change or somebody asks.
struct Files {
    ca: Ca,
    directory: tempfile::TempDir,
    identities: Identities,
    task: tokio::task::JoinHandle<()>,
}

impl Files {
    fn new(odd: Odd<'_>) -> Self {
        let (ca, directory) = (Ca::new(), tempfile::tempdir().unwrap());
        let path = |name: &str| directory.path().join(name);
        std::fs::write(path("ca.pem"), ca.pem()).unwrap();
        ca.issue(odd).write(directory.path());
        let identities = Identities::new(None);
        let source = FileIdentity::new(path("cert.pem"), path("key.pem"), path("ca.pem"));
        let task = run(&identities, source.poll_interval(Duration::from_secs(3600)));
        Self { ca, directory, identities, task }
    }
}

#[tokio::test]
async fn a_reload_reads_at_once() {
    let files = Files::new(Odd::default());
    let identities = &files.identities;
    until(identities, "there", |identities| serial(identities).is_some()).await;
    let first = serial(identities);
    files.ca.issue(Odd::default()).write(files.directory.path());
    identities.reload();
    until(identities, "read", |identities| {
        serial(identities).is_some() && serial(identities) != first
    })
    .await;
    files.task.abort();
}

/// Other bytes that say the same are no news.
#[tokio::test]
async fn files_that_are_written_anew_with_what_they_had_change_nothing() {
    let files = Files::new(Odd::default());
    let identities = &files.identities;
    until(identities, "there", |identities| serial(identities).is_some()).await;
    let (own, trust) = (identities.current().unwrap(), identities.trust().unwrap());
    let chain = files.directory.path().join("cert.pem");
    let text = std::fs::read_to_string(&chain).unwrap();
    std::fs::write(&chain, "half").unwrap();
    until(identities, "bad", |identities| identities.status().error.is_some()).await;
    std::fs::write(&chain, format!("written anew\n{text}")).unwrap();
    identities.reload();
    until(identities, "good", |identities| identities.status().error.is_none()).await;
    assert!(Arc::ptr_eq(&own, &identities.current().unwrap()));
    assert!(Arc::ptr_eq(&trust, &identities.trust().unwrap()));
    files.task.abort();
}

#[tokio::test]
async fn files_are_followed_on_when_a_reading_panics() {
    let (ca, directory) = (Ca::new(), tempfile::tempdir().unwrap());
    let path = |name: &str| directory.path().join(name);
    std::fs::write(path("ca.pem"), ca.pem()).unwrap();
    ca.issue(Odd::default()).write(directory.path());
    let identities = Identities::new(None);
    let source = FileIdentity::new(path("cert.pem"), path("key.pem"), path("ca.pem"));
    let mut source = source.poll_interval(Duration::from_secs(3600));
    let panics = Arc::new(AtomicBool::new(false));
    source.hook.0 = Some(Arc::clone(&panics));
    let task = run(&identities, source);
    until(&identities, "there", |identities| serial(identities).is_some()).await;
    panics.store(true, Ordering::SeqCst);
    identities.reload();
    until(&identities, "told", |identities| {
        identities.status().error.is_some_and(|error| error.contains("panicked"))
    })
    .await;
    // It is tried again after a second.
    until(&identities, "read", |identities| identities.status().error.is_none()).await;
    // And what happens to them is seen by the new watch.
    let before = serial(&identities);
    ca.issue(Odd::default()).write(directory.path());
    until(&identities, "followed", |identities| serial(identities) != before).await;
    assert_eq!(identities.status().failures, 1);
    task.abort();
}

/// What only the program renews is not due at any time, so its warnings come at theirs.
#[tokio::test]
async fn what_the_program_does_not_replace_is_warned_of() {
    let ca = Ca::new();
    let half = ca.issue(Odd { life: Some((-1001, 999)), ..Odd::default() });
    let (source, _updates) = FixedIdentity::new(Some(ca.material(&half)));
    assert_eq!(source.rotation().renew_at, None);
    let identities = Identities::new(None);
    let task = run(&identities, source);
    until(&identities, "warned", |identities| identities.status().warned == Some(50)).await;
    task.abort();
}

/// No event and no poll says that the time has come.
#[tokio::test]
async fn what_has_not_begun_is_in_force_when_it_begins() {
    let files = Files::new(Odd { life: Some((3, 3600)), ..Odd::default() });
    let identities = &files.identities;
    until(identities, "told", |identities| identities.status().error.is_some()).await;
    let error = identities.status().error.unwrap();
    assert!(error.contains("begins in"), "{error}");
    until(identities, "begun", |identities| serial(identities).is_some()).await;
    assert_eq!(identities.status().error, None);
    files.task.abort();
}

#[tokio::test]
async fn each_reload_is_answered() {
    let files = Files::new(Odd::default());
    let identities = &files.identities;
    until(identities, "there", |identities| serial(identities).is_some()).await;
    let key = files.directory.path().join("key.pem");
    let good = std::fs::read(&key).unwrap();
    std::fs::write(&key, files.ca.issue(Odd::default()).key).unwrap();
    until(identities, "bad", |identities| identities.status().failures == 1).await;
    // It is tried again after a second, two, four, and so on: each time it counts.
    until(identities, "bad again", |identities| identities.status().failures >= 2).await;
    let failures = identities.status().failures;
    identities.reload();
    until(identities, "asked", |identities| identities.status().failures > failures).await;
    std::fs::write(&key, good).unwrap();
    until(identities, "mended", |identities| identities.status().error.is_none()).await;
    files.task.abort();
}

/// Nobody is believed on because a key does not fit.
#[tokio::test]
async fn what_is_revoked_does_not_wait_for_the_rest() {
    let (ca, directory) = (Ca::new(), tempfile::tempdir().unwrap());
    let path = |name: &str| directory.path().join(name);
    let put = |name: &str, text: &str| std::fs::write(path(name), text).unwrap();
    let (ours, other) = (ca.issue(Odd::default()), ca.issue(Odd::default()));
    let (nobody, somebody) = (ca.revoke(&[]), ca.revoke(&[&other]));
    put("ca.pem", &ca.pem());
    put("crl.pem", &nobody);
    ours.write(directory.path());
    let identities = Identities::new(None);
    let source = FileIdentity::new(path("cert.pem"), path("key.pem"), path("ca.pem"))
        .and_revoked(path("crl.pem"));
    let task = run(&identities, source.poll_interval(Duration::from_millis(50)));
    let believes = |lists: &str| {
        let lists = revocation_lists(lists.as_bytes()).unwrap();
        move |identities: &Identities| {
            identities.trust().is_ok_and(|trust| *trust.revoked() == *lists)
        }
    };
    until(&identities, "there", believes(&nobody)).await;
    put("key.pem", &other.key);
    until(&identities, "bad", |identities| identities.status().error.is_some()).await;
    put("crl.pem", &somebody);
    until(&identities, "revoked", believes(&somebody)).await;
    assert!(identities.status().error.is_some() && identities.current().is_ok());
    // A list that can't be used takes nothing back.
    put("crl.pem", "half");
    sleep(Duration::from_millis(500)).await;
    assert!(believes(&somebody)(&identities));
    put("crl.pem", &nobody);
    put("key.pem", &ours.key);
    until(&identities, "as before", believes(&nobody)).await;
    assert_eq!(identities.status().error, None);
    // And its own certificate, which nobody else is to show.
    put("crl.pem", &ca.revoke(&[&ours]));
    until(&identities, "own", |identities| {
        identities.status().error.is_some() && !believes(&nobody)(identities)
    })
    .await;
    task.abort();
}

#[tokio::test]
async fn a_provider_of_roots_has_nobody_to_show() {
    let (ca, directory) = (Ca::new(), tempfile::tempdir().unwrap());
    let path = directory.path().join("ca.pem");
    std::fs::write(&path, ca.pem()).unwrap();
    let identities = Identities::new(None);
    let task = run(&identities, FileIdentity::roots(&path));
    until(&identities, "there", |identities| identities.trust().is_ok()).await;
    assert_eq!(identities.trust().unwrap().roots().len(), 1);
    assert!(matches!(identities.current(), Err(NoIdentity::NotYet { .. })));
    task.abort();
}

/// As Kubernetes swaps the files of a secret: all at once, by one symbolic link.
#[tokio::test]
#[cfg(unix)]
async fn files_behind_one_link_change_together() {
    use std::os::unix::fs::symlink;
    let (ca, directory) = (Ca::new(), tempfile::tempdir().unwrap());
    let path = |name: &str| directory.path().join(name);
    let version = |name: &str, pair: &Pair, revoked: &[&Pair]| {
        std::fs::create_dir(path(name)).unwrap();
        pair.write(&path(name));
        std::fs::write(path(name).join("map.json"), map(&ca)).unwrap();
        std::fs::write(path(name).join("crl.pem"), ca.revoke(revoked)).unwrap();
        symlink(name, path("..next")).unwrap();
        std::fs::rename(path("..next"), path("..data")).unwrap();
    };
    let (first, second) = (ca.issue(Odd::default()), ca.issue(Odd::default()));
    version("..1", &first, &[]);
    for name in ["cert.pem", "key.pem", "map.json", "crl.pem"] {
        symlink(format!("..data/{name}"), path(name)).unwrap();
    }
    let identities = Identities::new(None);
    let source = FileIdentity::pair(path("cert.pem"), path("key.pem"))
        .and_trust_bundles(path("map.json"))
        // The map takes their place: they are not even read (gRFC A87).
        .and_roots(path("nowhere.pem"))
        .and_revoked(path("crl.pem"));
    let task = run(&identities, source.poll_interval(Duration::from_secs(3600)));
    until(&identities, "there", |identities| serial(identities).is_some()).await;
    let before = serial(&identities);
    // The key, the certificate and the revocation of the old one, none of which fits without the others.
    version("..2", &second, &[&first]);
    until(&identities, "swapped", |identities| serial(identities) != before).await;
    assert_eq!(identities.status().failures, 0, "{:?}", identities.status());
    assert_eq!(identities.current().unwrap().crls().len(), 1);

    // Our own is revoked: the old state stays, and says why.
    version("..3", &second, &[&second]);
    until(&identities, "told", |identities| identities.status().error.is_some()).await;
    let error = identities.status().error.unwrap();
    assert!(error.contains("crl.pem") && error.contains("was revoked"), "{error}");
    assert!(serial(&identities).is_some());
    task.abort();
}

pub(super) fn map(ca: &Ca) -> String {
    use base64::Engine as _;
    let root = base64::engine::general_purpose::STANDARD.encode(ca.der());
    format!(
        r#"{{"trust_domains": {{"mesh.example": {{"keys": [
            {{"kty": "EC", "use": "x509-svid", "x5c": ["{root}"]}}]}}}}}}"#
    )
}
