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
                    found.add((&tls.identity, Some(&tls.roots), tls.crl.as_ref()), secrets);
                }
            }
        }
        for listener in config.listeners.values() {
            for tls in listener.chains().filter_map(|chain| chain.tls.as_ref()) {
                found.add((&tls.identity, tls.roots.as_ref(), tls.crl.as_ref()), secrets);
            }
        }
        found
    }

    fn add(
        &mut self,
        (identity, roots, crl): (&TlsIdentity, Option<&TlsRoots>, Option<&SecretSource>),
        secrets: &Secrets,
    ) {
        if let Some((name, held)) = of_lists(roots, secrets, crl) {
            self.held.entry(name).or_insert(held);
        }
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
        match roots {
            TlsRoots::Mesh => return Some(Whose::Mesh),
            TlsRoots::Provider(name) => return Some(Whose::Provider(Arc::clone(name))),
            _ => {}
        }
        let (name, held) = of_trust(roots, secrets)?;
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

/// What the roots are called that a policy names itself, by a secret or not; `None`: it does not, or the secret is not there.
pub(crate) fn of_trust(roots: &TlsRoots, secrets: &Secrets) -> Option<(Arc<str>, Held)> {
    Some(match roots {
        TlsRoots::Pem(text) => of_roots(SecretSource::Inline(Arc::clone(text).into())),
        TlsRoots::File(path) => of_roots(SecretSource::File(Arc::clone(path))),
        TlsRoots::Spiffe(bundles) => of_bundles(bundles),
        TlsRoots::Secret(secret) => of_secret(secret, secrets)?,
        _ => return None,
    })
}

/// What the lists of revoked certificates are called that a policy names: those of the secret of its roots, or else `crl`,
/// into which that is merged (Envoy).
pub(crate) fn of_lists(
    roots: Option<&TlsRoots>,
    secrets: &Secrets,
    crl: Option<&SecretSource>,
) -> Option<(Arc<str>, Held)> {
    let of_secret = || {
        let TlsRoots::Secret(secret) = roots? else { return None };
        let SecretContent::Validation(found) = content(secrets, &secret.name)? else { return None };
        Some((format!("crl/secret/{}", secret.name), found.crl.as_ref()?))
    };
    let named = of_secret().or_else(|| crl.map(|crl| (format!("crl/{}", Place(crl)), crl)));
    named.map(|(name, source)| (name.into(), Held::Lists(source.clone())))
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

/// Whether something is called after a secret: where it is may be another place by now.
pub(super) fn is_of_secret(name: &str) -> bool {
    name.starts_with("secret/") || name.starts_with("crl/secret/")
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
