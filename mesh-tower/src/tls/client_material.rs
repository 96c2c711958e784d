//! What a handshake is made with: our own pair, and whom we believe, as of this moment.
//!
//! An identity in force is asked for at each handshake, so a renewed one serves the next. What a cluster names itself
//! (certificates, roots, lists, in secrets and files) is one, too ([`named`](crate::identity::named)): it is looked at for
//! each handshake, files once a second at most and off the call path, and put into force when it is good. What can't be
//! read, or does not fit together (files are replaced one after the other), changes nothing, wherever it comes from: the
//! last good one serves until its own end, also of another file, and of roots of another kind.
//!
//! What it does not do: read files, or judge what is in them.

use super::client_refused::NotSecured;
use super::client_verify::Believed;
use crate::identity::named::{Crl, Held, Signers, Slots, of_lists, of_pair, of_trust};
use crate::identity::{Credentials, Identities, Identity, NoIdentity, Roots};
use crate::source::read::finished;
use mesh_core::model::tls::{ResolvedIdentity, ResolvedRoots, ResolvedTls, TlsIdentity, TlsRoots};
use mesh_core::outcome::ConnectFailure;
use mesh_core::update::Secrets;
use rustls::pki_types::CertificateDer;
use std::fmt;
use std::sync::{Arc, OnceLock};

/// What one cluster names.
#[derive(Default)]
pub(super) struct Kept(Slots);

/// A policy of roots, with the secrets that it may name, and with those put in.
#[derive(Clone, Copy)]
pub(super) struct ByRoots<'a> {
    pub(super) named: &'a TlsRoots,
    pub(super) secrets: &'a Secrets,
    pub(super) resolved: &'a ResolvedTls,
}

impl Kept {
    /// Who we are now, by what a policy says of it; `None`: nobody is to be shown.
    ///
    /// # Errors
    /// There is nobody who is valid now: it fails closed.
    pub(super) async fn own(
        &self,
        (named, identity): (&TlsIdentity, &ResolvedIdentity),
        credentials: &Credentials,
    ) -> Result<Option<Arc<Identity>>, NotSecured> {
        Ok(Some(match identity {
            ResolvedIdentity::None => return Ok(None),
            ResolvedIdentity::Mesh => current(mesh(credentials)?, MESH)?,
            ResolvedIdentity::Provider(name) => {
                current(provider(credentials, name)?, &of_provider(name))?
            }
            ResolvedIdentity::Certificate(certificate) => {
                let name = of_pair(named, certificate);
                let held = Held::Pair(certificate.clone());
                let origin = held.origin();
                let one = self.0.pair((name, held), credentials).await;
                one.current().map_err(|error| not_now(&error, &origin))?
            }
            _ => return Err(unusable("our identity", &"it is of a kind that is not known here")),
        }))
    }

    /// Lets go of the certificate: it is not there any more, and neither is its key here.
    pub(super) fn shows_nothing(&self) {
        self.0.no_pair();
    }

    /// Whom we believe now.
    ///
    /// # Errors
    /// There is nothing that was good.
    pub(super) async fn believed(
        &self,
        by: ByRoots<'_>,
        credentials: &Credentials,
    ) -> Result<Believed, NotSecured> {
        let believed = self.by_roots(by, credentials).await?;
        Ok(believed.and_lists(self.lists(by, credentials).await?))
    }

    /// The same for connections that are open: roots that were withdrawn do not wait for lists. Those that can't be used
    /// say nothing about anybody.
    ///
    /// # Errors
    /// There are no roots that were good.
    pub(super) async fn still_believed(
        &self,
        by: ByRoots<'_>,
        credentials: &Credentials,
    ) -> Result<Believed, NotSecured> {
        let believed = self.by_roots(by, credentials).await?;
        let lists = self.lists(by, credentials).await;
        Ok(believed.and_lists(lists.unwrap_or_else(|_unusable| Some(Crl::default()))))
    }

    /// The lists that the policy names, or a secret of it.
    async fn lists(
        &self,
        by: ByRoots<'_>,
        credentials: &Credentials,
    ) -> Result<Option<Crl>, NotSecured> {
        let crl = by.resolved.crl.as_ref();
        let Some(named) = of_lists(Some(by.named), by.secrets, crl) else { return Ok(None) };
        let found = self.0.lists(named, credentials).await;
        found.map(|(_, lists)| Some(lists)).map_err(unnamed)
    }

    async fn by_roots(
        &self,
        by: ByRoots<'_>,
        credentials: &Credentials,
    ) -> Result<Believed, NotSecured> {
        match &by.resolved.roots {
            ResolvedRoots::System => return Ok(plain(system().await?, "the system".into())),
            ResolvedRoots::Mesh => return of_identity(mesh(credentials)?, MESH),
            ResolvedRoots::Provider(name) => {
                return of_identity(provider(credentials, name)?, &of_provider(name));
            }
            _ => {}
        }
        let Some(of_trust) = of_trust(by.named, by.secrets) else {
            return Err(unusable("the roots", &"they are of a kind that is not known here"));
        };
        let found = self.0.roots(of_trust, credentials).await;
        found.map(|(_, signers)| named(&signers)).map_err(unnamed)
    }
}

const MESH: &str = "the mesh's identity";

/// What a job that reads came to.
const PANICKED: &str = "reading them panicked; the next handshake reads them again";

fn of_provider(name: &str) -> String {
    format!("the certificate provider `{name}`")
}

fn mesh(credentials: &Credentials) -> Result<&Identities, NotSecured> {
    credentials.own().ok_or_else(|| {
        let text = "the mesh has no identity, and the cluster's TLS wants it: give it one \
                    (`Builder::identity`, or `identity:` of the configuration)";
        NotSecured::new(ConnectFailure::IdentityUnavailable, text)
    })
}

fn provider<'c>(credentials: &'c Credentials, name: &str) -> Result<&'c Identities, NotSecured> {
    credentials.provider(name).ok_or_else(|| {
        let text = format_args!(
            "there is no certificate provider `{name}`: name it in the bootstrap file, or give it by \
             `Builder::certificate_provider`"
        );
        NotSecured::new(ConnectFailure::IdentityUnavailable, text)
    })
}

fn current(identities: &Identities, origin: &str) -> Result<Arc<Identity>, NotSecured> {
    identities.current().map_err(|error| {
        NotSecured::new(ConnectFailure::IdentityUnavailable, format_args!("{origin}: {error}"))
    })
}

/// Whom an identity believes, and what it revokes. It does not end with our own certificate: where we show
/// that, it is asked for by itself.
fn of_identity(identities: &Identities, origin: &str) -> Result<Believed, NotSecured> {
    let trust = identities.trust().map_err(|error| {
        NotSecured::new(ConnectFailure::IdentityUnavailable, format_args!("{origin}: {error}"))
    })?;
    let (roots, revoked) = (trust.roots().clone(), Arc::clone(trust.shared_lists()));
    let plain = plain(roots, origin.into());
    Ok(Believed { revoked, of_identity: true, ..plain })
}

fn plain(roots: Roots, origin: Arc<str>) -> Believed {
    let (revoked, listed) = (Arc::default(), Arc::default());
    Believed { roots, revoked, crl: None, listed, origin, only_uris: false, of_identity: false }
}

/// Whom the cluster names itself.
fn named(signers: &Signers) -> Believed {
    let Signers { trust, listed, of_domains, origin } = signers;
    let plain = plain(trust.roots().clone(), Arc::clone(origin));
    if *of_domains {
        let listed = Arc::clone(listed);
        return Believed { of_identity: true, only_uris: true, listed, ..plain };
    }
    let crl = Some(trust.shared_lists()).filter(|beside| !beside.is_empty()).cloned();
    Believed { crl, ..plain }
}

/// Why a certificate that a cluster names can't be shown.
fn not_now(error: &NoIdentity, origin: &str) -> NotSecured {
    let failure = match error {
        NoIdentity::NotYet { .. } => ConnectFailure::SecretUnavailable,
        _ => ConnectFailure::IdentityUnavailable,
    };
    NotSecured::new(failure, format_args!("{origin}: {error}"))
}

/// Why nothing of roots or lists that a cluster names is good.
fn unnamed(why: String) -> NotSecured {
    NotSecured::new(ConnectFailure::SecretUnavailable, why)
}

fn unusable(origin: &(impl fmt::Display + ?Sized), reason: &dyn fmt::Display) -> NotSecured {
    NotSecured::new(ConnectFailure::SecretUnavailable, format_args!("{origin}: {reason}"))
}

/// The roots of the system, read once in the life of the process.
async fn system() -> Result<Roots, NotSecured> {
    static SYSTEM: OnceLock<Arc<[CertificateDer<'static>]>> = OnceLock::new();
    if let Some(roots) = SYSTEM.get() {
        return Ok(Roots::Any(Arc::clone(roots)));
    }
    let found = finished(tokio::task::spawn_blocking(rustls_native_certs::load_native_certs)).await;
    let found = found.ok_or_else(|| unusable("the system's roots", &PANICKED))?;
    if found.certs.is_empty() {
        let reasons: Vec<_> = found.errors.iter().map(ToString::to_string).collect();
        let text = format!(
            "there are none: install the system's CA certificates, or set SSL_CERT_FILE {}",
            reasons.join("; ")
        );
        return Err(unusable("the system's roots", &text));
    }
    Ok(Roots::Any(Arc::clone(SYSTEM.get_or_init(|| found.certs.into()))))
}
