//! What a configuration names, and what it is called.
//!
//! A name says where something comes from, so that whoever reads a metric or a log can find it: the name of a
//! secret, the paths of files. What stands in the configuration itself has no name, and is called by the XXH64 of its
//! text (`xxhsum -H64`). Where a text of paths may be that of others (a comma, no UTF-8), the XXH64 of the paths follows.

use super::Held;
use crate::source::content_hash::xxh64;
use mesh_core::ConfigUpdate;
use mesh_core::model::secret::{
    SecretCertificate, SecretContent, SecretRoots, SecretSource, SecretValidation,
};
use mesh_core::model::tls::{SpiffeBundles, TlsIdentity, TlsPolicy, TlsRoots, ValidationSecret};
use mesh_core::update::{SecretAnswer, Secrets};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

/// Whose a chain is, or whose the roots beside it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::identity) enum Whose {
    Mesh,
    Provider(Arc<str>),
    Named(Arc<str>),
}

/// What was found in a configuration.
#[derive(Default)]
pub(super) struct Found {
    /// By their names.
    pub(super) held: BTreeMap<Arc<str>, Held>,
    /// The chains that are shown where peers are verified by roots.
    pub(super) beside: BTreeSet<(Whose, Whose)>,
}

impl Found {
    pub(super) fn of(config: &ConfigUpdate) -> Self {
        let (mut found, secrets) = (Self::default(), &*config.secrets);
        for cluster in config.clusters.values().map(|update| &update.cluster) {
            let matches = cluster.tls_matches.iter().map(|one| &one.tls);
            for policy in std::iter::once(&cluster.tls).chain(matches) {
                if let TlsPolicy::On(tls) = policy {
                    found.add((&tls.identity, Some(&tls.roots)), secrets);
                }
            }
        }
        for listener in config.listeners.values() {
            for tls in listener.chains().filter_map(|chain| chain.tls.as_ref()) {
                found.add((&tls.identity, tls.roots.as_ref()), secrets);
            }
        }
        found
    }

    fn add(&mut self, (identity, roots): (&TlsIdentity, Option<&TlsRoots>), secrets: &Secrets) {
        let pair = match identity {
            TlsIdentity::Secret(name) => match content(secrets, name) {
                Some(SecretContent::Certificate(pair)) => Some(pair),
                _ => None,
            },
            TlsIdentity::Certificate(pair) => Some(&**pair),
            _ => None,
        };
        let pair = pair.map(|pair| {
            let name = of_pair(identity, pair);
            self.held.entry(Arc::clone(&name)).or_insert_with(|| Held::Pair(pair.clone()));
            Whose::Named(name)
        });
        let own = match identity {
            TlsIdentity::Provider(name) => Some(Whose::Provider(Arc::clone(name))),
            _ => pair,
        };
        let roots = roots.and_then(|roots| self.roots(roots, secrets));
        self.beside.extend(own.zip(roots));
    }

    /// Whose they are; `None`: the system's, or nobody's.
    fn roots(&mut self, roots: &TlsRoots, secrets: &Secrets) -> Option<Whose> {
        let (name, held) = match roots {
            TlsRoots::Mesh => return Some(Whose::Mesh),
            TlsRoots::Provider(name) => return Some(Whose::Provider(Arc::clone(name))),
            TlsRoots::Pem(text) => of_roots(SecretSource::Inline(Arc::clone(text).into())),
            TlsRoots::File(path) => of_roots(SecretSource::File(Arc::clone(path))),
            TlsRoots::Spiffe(bundles) => of_bundles(bundles),
            TlsRoots::Secret(secret) => of_secret(secret, secrets)?,
            _ => return None,
        };
        self.held.entry(Arc::clone(&name)).or_insert(held);
        Some(Whose::Named(name))
    }
}

fn content<'s>(secrets: &'s Secrets, name: &str) -> Option<&'s SecretContent> {
    match secrets.get(name)? {
        SecretAnswer::Known(secret) => Some(&secret.content),
        SecretAnswer::Missing(_) => None,
    }
}

/// The roots that count where a policy names a secret: its own, or those of the default that it is merged into (Envoy).
fn of_secret(secret: &ValidationSecret, secrets: &Secrets) -> Option<(Arc<str>, Held)> {
    let SecretContent::Validation(SecretValidation { roots, .. }) = content(secrets, &secret.name)?
    else {
        return None;
    };
    let name = || Arc::from(format!("secret/{}", secret.name));
    match (roots, &secret.roots) {
        (SecretRoots::Pem(source), _) => Some((name(), Held::Roots(source.clone()))),
        (SecretRoots::Spiffe(bundles), _) => Some((name(), Held::Bundles(Arc::clone(bundles)))),
        (SecretRoots::Unsaid | SecretRoots::System, SecretRoots::Pem(source)) => {
            Some(of_roots(source.clone()))
        }
        (SecretRoots::Unsaid, SecretRoots::Spiffe(bundles)) => Some(of_bundles(bundles)),
        _ => None,
    }
}

/// What the certificate is called that a policy names itself.
pub(crate) fn of_identity(identity: &TlsIdentity) -> Option<Arc<str>> {
    match identity {
        TlsIdentity::Secret(name) => Some(format!("secret/{name}").into()),
        TlsIdentity::Certificate(pair) => Some(of_pair(identity, pair)),
        _ => None,
    }
}

/// What a pair is called that a policy names so.
pub(crate) fn of_pair(identity: &TlsIdentity, pair: &SecretCertificate) -> Arc<str> {
    let SecretCertificate { chain, private_key, .. } = pair;
    match (identity, chain, private_key) {
        (TlsIdentity::Secret(name), _, _) => format!("secret/{name}").into(),
        (_, SecretSource::File(chain), SecretSource::File(key)) => {
            let name = format!("files/{},{}", chain.display(), key.display());
            let is_clear = |path: &Path| path.to_str().is_some_and(|path| !path.contains(','));
            if is_clear(chain) && is_clear(key) {
                return name.into();
            }
            // Two of one name would share what is in force, and a series. NUL is in no path.
            let both = [bytes_of(chain), b"\0", bytes_of(key)].concat();
            format!("{name}#{:016x}", xxh64(&both)).into()
        }
        (_, chain, _) => format!("files/{}", Place(chain)).into(),
    }
}

fn bytes_of(path: &Path) -> &[u8] {
    path.as_os_str().as_encoded_bytes()
}

fn of_roots(source: SecretSource) -> (Arc<str>, Held) {
    (format!("roots/{}", Place(&source)).into(), Held::Roots(source))
}

fn of_bundles(bundles: &Arc<SpiffeBundles>) -> (Arc<str>, Held) {
    let name = match &**bundles {
        SpiffeBundles::Map(source) => format!("bundles/{}", Place(source)),
        SpiffeBundles::Each(each) => {
            let mut places = String::new();
            for (domain, source) in each {
                // Writing into a text does not fail.
                let _infallible = writeln!(places, "{domain} {}", Place(source));
            }
            format!("bundles/{:016x}", xxh64(places.as_bytes()))
        }
    };
    (name.into(), Held::Bundles(Arc::clone(bundles)))
}

/// A path, or the hash of what stands in the configuration.
struct Place<'a>(&'a SecretSource);

impl std::fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            SecretSource::File(path) if path.to_str().is_none() => {
                write!(f, "{}#{:016x}", path.display(), xxh64(bytes_of(path)))
            }
            SecretSource::File(path) => path.display().fmt(f),
            SecretSource::Inline(bytes) => write!(f, "{:016x}", xxh64(bytes)),
            _ => f.write_str("elsewhere"),
        }
    }
}

/// What something is and where it comes from, in words.
pub(crate) fn origin(what: &str, source: &SecretSource) -> Arc<str> {
    format!("{what} in {}", InWords(source)).into()
}

/// The same, of a pair: whatever is wrong may be wrong with its key.
pub(crate) fn origin_of_pair(what: &str, pair: &SecretCertificate) -> Arc<str> {
    let (chain, key) = (InWords(&pair.chain), InWords(&pair.private_key));
    match (&pair.chain, &pair.private_key) {
        (SecretSource::File(_), _) | (_, SecretSource::File(_)) => {
            format!("{what} in {chain}, its key in {key}").into()
        }
        _ => origin(what, &pair.chain),
    }
}

struct InWords<'a>(&'a SecretSource);

impl std::fmt::Display for InWords<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            SecretSource::File(path) => path.display().fmt(f),
            _ => f.write_str("the configuration"),
        }
    }
}
