//! [`Inputs`]: what the TLS of a filter chain is made of: its policy with all that it names put in.
//!
//! Two inputs are compared at each handshake: as long as they are equal, the configuration made of them stays. What a
//! policy names itself is an identity like any other ([`named`](crate::identity::named)): what is not good leaves the last
//! good one in force, and all parts of inputs can be used. A file that is gone may have been withdrawn, and fails.

use crate::identity::named::{Crl, Held, One, Signers, Slots, of_lists, of_pair, of_trust};
use crate::identity::{self, Credentials, Identities, Identity, NoIdentity};
use mesh_core::model::SanMatcher;
use mesh_core::model::tls::{
    DownstreamTls, ResolvedIdentity, ResolvedRoots, SecretError, TlsIdentity, TlsRoots, UpstreamTls,
};
use mesh_core::update::Secrets;
use std::fmt;
use std::sync::Arc;

/// Everything that a configuration of rustls depends on.
#[derive(Clone)]
pub(super) struct Inputs {
    pub(super) policy: Arc<DownstreamTls>,
    /// What we show.
    pub(super) own: Arc<Identity>,
    /// `None`: clients are not asked for certificates.
    pub(super) trust: Option<Trust>,
    pub(super) san: Vec<SanMatcher>,
    /// Clients without a certificate are refused.
    pub(super) wants_certificate: bool,
    /// What the policy's own lists revoke.
    pub(super) crl: Option<Crl>,
}

/// Whom we believe.
#[derive(Clone)]
pub(super) enum Trust {
    /// Of an identity, with its lists of revoked certificates.
    Identity(Arc<identity::Trust>, Arc<str>),
    /// By roots that the policy names itself.
    Named(Arc<Signers>),
    System,
}

/// Why a chain has no TLS to offer now. Its handshakes fail.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum ServerTlsError {
    /// Its policy names no identity.
    #[error(
        "the filter chain has TLS and no identity to show: configure `identity`, or a certificate of its own"
    )]
    Nobody,
    /// The mesh's identity, or a provider's, is not there.
    #[error("{whose}: {error}")]
    NoIdentity {
        /// Whose.
        whose: Arc<str>,
        /// Why.
        error: NoIdentity,
    },
    /// There is no certificate provider of this name (gRFC A29).
    #[error("there is no certificate provider `{0}`: name one of the bootstrap file")]
    NoProvider(Arc<str>),
    /// A secret is missing or of the wrong kind.
    #[error("{0}")]
    Secret(SecretError),
    /// A file of what it names is gone, or nothing in it was good yet.
    #[error("{0}")]
    Named(Arc<str>),
    /// Material can't be read or used.
    #[error("{origin}: {reason}")]
    Unusable {
        /// Which, and from where.
        origin: Arc<str>,
        /// What is wrong.
        reason: Arc<str>,
    },
}

impl PartialEq for Inputs {
    fn eq(&self, other: &Self) -> bool {
        let same = Arc::ptr_eq(&self.policy, &other.policy) || self.policy == other.policy;
        same && Arc::ptr_eq(&self.own, &other.own)
            && self.trust == other.trust
            && self.san == other.san
            && self.crl == other.crl
    }
}

impl PartialEq for Trust {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Identity(one, _), Self::Identity(two, _)) => Arc::ptr_eq(one, two),
            (Self::Named(one), Self::Named(two)) => one == two,
            (Self::System, Self::System) => true,
            (Self::Identity(..) | Self::Named(..) | Self::System, _) => false,
        }
    }
}

pub(super) fn unusable(origin: &dyn fmt::Display, reason: &dyn fmt::Display) -> ServerTlsError {
    ServerTlsError::Unusable {
        origin: origin.to_string().into(),
        reason: reason.to_string().into(),
    }
}

impl Inputs {
    /// Gathers what the policy of a chain needs now. What it names itself is held in `slots`.
    pub(super) async fn gather(
        policy: &Arc<DownstreamTls>,
        secrets: &Secrets,
        credentials: &Credentials,
        slots: &Slots,
    ) -> Result<Gathered, ServerTlsError> {
        // Both sides name identities and roots alike, so one function puts the secrets in.
        let mut alike = UpstreamTls::default();
        alike.identity = policy.identity.clone();
        alike.roots = policy.roots.clone().unwrap_or(TlsRoots::System);
        alike.san = policy.san.clone();
        alike.crl = policy.crl.clone();
        let resolved = alike.resolve(secrets).inspect_err(|_missing| slots.no_pair());
        let resolved = resolved.map_err(ServerTlsError::Secret)?;
        let own = own((&policy.identity, &resolved.identity), credentials, slots).await?;
        let (trust, is_newest) = match policy.roots {
            Some(_) => {
                let by = (&alike.roots, &resolved.roots);
                let (trust, is_newest) = trust(by, secrets, credentials, slots).await?;
                (Some(trust), is_newest)
            }
            None => (None, true),
        };
        let crl = match of_lists(policy.roots.as_ref(), secrets, resolved.crl.as_ref()) {
            Some(named) => Some(there(slots.lists(named, credentials).await)?.1),
            None => None,
        };
        let wants_certificate = policy.wants_certificate(Some(&resolved));
        let (policy, san) = (Arc::clone(policy), resolved.san);
        let inputs = Self { policy, own, trust, san, wants_certificate, crl };
        Ok(Gathered { inputs, is_newest })
    }

    /// With the names of `before`, if it has the same roots by the same policy: they are of one secret.
    pub(super) fn with_names_of(self, before: &Self) -> Self {
        if self.policy != before.policy || self.trust != before.trust {
            return self;
        }
        let (san, wants_certificate) = (before.san.clone(), before.wants_certificate);
        Self { san, wants_certificate, ..self }
    }
}

/// What came of gathering.
pub(super) struct Gathered {
    pub(super) inputs: Inputs,
    /// `false`: the roots are those that were good before.
    pub(super) is_newest: bool,
}

/// What is gone may have been withdrawn.
fn there<T>(found: Result<(Arc<One>, T), String>) -> Result<(Arc<One>, T), ServerTlsError> {
    let (one, found) = found.map_err(|why| ServerTlsError::Named(why.into()))?;
    match one.withdrawn() {
        Some(why) => Err(ServerTlsError::Named(why.into())),
        None => Ok((one, found)),
    }
}

async fn own(
    (named, identity): (&TlsIdentity, &ResolvedIdentity),
    credentials: &Credentials,
    slots: &Slots,
) -> Result<Arc<Identity>, ServerTlsError> {
    let ResolvedIdentity::Certificate(certificate) = identity else {
        slots.no_pair();
        return match identity {
            ResolvedIdentity::Mesh => current(None, credentials),
            ResolvedIdentity::Provider(name) => current(Some(name), credentials),
            _ => Err(ServerTlsError::Nobody),
        };
    };
    let (name, held) = (of_pair(named, certificate), Held::Pair(certificate.clone()));
    let whose = held.origin();
    let one = slots.pair((name, held), credentials).await;
    let (one, ()) = there(Ok((one, ())))?;
    one.current().map_err(|error| ServerTlsError::NoIdentity { whose, error })
}

/// Whom we believe, and whether that is what is there now.
async fn trust(
    (named, roots): (&TlsRoots, &ResolvedRoots),
    secrets: &Secrets,
    credentials: &Credentials,
    slots: &Slots,
) -> Result<(Trust, bool), ServerTlsError> {
    let provider = match roots {
        ResolvedRoots::System => return Ok((Trust::System, true)),
        ResolvedRoots::Mesh => None,
        ResolvedRoots::Provider(name) => Some(name),
        _ => {
            let unknown = || unusable(&"the roots", &"they are of a kind that is not known here");
            let named = of_trust(named, secrets).ok_or_else(unknown)?;
            let (one, signers) = there(slots.roots(named, credentials).await)?;
            return Ok((Trust::Named(signers), one.is_newest()));
        }
    };
    let (identities, whose) = whose(provider, credentials)?;
    match identities.trust() {
        Ok(trust) => Ok((Trust::Identity(trust, whose), true)),
        Err(error) => Err(ServerTlsError::NoIdentity { whose, error }),
    }
}

/// The identity in force of the mesh, or of a provider.
fn current(
    provider: Option<&Arc<str>>,
    credentials: &Credentials,
) -> Result<Arc<Identity>, ServerTlsError> {
    let (identities, whose) = whose(provider, credentials)?;
    identities.current().map_err(|error| ServerTlsError::NoIdentity { whose, error })
}

/// The identities of the mesh, or of a provider, and whose they are.
fn whose<'c>(
    provider: Option<&Arc<str>>,
    credentials: &'c Credentials,
) -> Result<(&'c Identities, Arc<str>), ServerTlsError> {
    let Some(name) = provider else {
        let own = credentials.own().ok_or(ServerTlsError::Nobody)?;
        return Ok((own, Arc::from("the mesh's identity")));
    };
    let found = credentials.provider(name);
    let found = found.ok_or_else(|| ServerTlsError::NoProvider(Arc::clone(name)))?;
    Ok((found, format!("the certificate provider `{name}`").into()))
}
