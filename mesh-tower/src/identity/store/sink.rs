//! [`IdentitySink`]: a source's end of [`Identities`].

use super::{Happened, Identities};
use crate::clock;
use crate::identity::error::InvalidIdentity;
use crate::identity::material::{Material, Trust};
use crate::identity::status;
use crate::identity::verify::{Identity, Verified};
use rustls::pki_types::CertificateRevocationListDer;
use rustls::sign::CertifiedKey;
use std::fmt;
use std::sync::Arc;

/// A source's end of [`Identities`].
#[derive(Clone, Debug)]
pub struct IdentitySink {
    identities: Identities,
    /// Whose it is.
    turn: u64,
}

impl IdentitySink {
    pub(super) const fn new(identities: Identities, turn: u64) -> Self {
        Self { identities, turn }
    }

    /// Has its say, unless it is another's turn: none of it then.
    fn says<T>(&self, what: impl FnOnce() -> T) -> Option<T> {
        let now = self.identities.0.turn.lock();
        (*now == self.turn).then(what)
    }

    /// Puts `material` into force, if it is good. A source that another has taken over from says nothing any more: what it
    /// gives is dropped, here and below.
    ///
    /// # Errors
    /// [`InvalidIdentity`]: it is not, and what was in force stays. It is told and counted.
    pub fn publish(&self, material: Material) -> Result<(), InvalidIdentity> {
        match self.verify(material) {
            Ok(verified) => {
                self.publish_verified(verified);
                Ok(())
            }
            Err(error) => {
                self.failed(&error);
                Err(error)
            }
        }
    }

    /// Verifies `material` as [`publish`](Self::publish) does, and does nothing else.
    ///
    /// # Errors
    /// [`InvalidIdentity`]: it is not good.
    pub fn verify(&self, material: Material) -> Result<Verified, InvalidIdentity> {
        let expected = self.identities.0.expected.load();
        Verified::verify(material, expected.as_deref(), clock::wall())
    }

    /// Puts into force what was verified just now, as far as it is new. Where our own certificate is not, that
    /// is [`unchanged`](Self::unchanged).
    pub fn publish_verified(&self, verified: Verified) {
        self.says(|| self.put_into_force(verified));
    }

    fn put_into_force(&self, verified: Verified) {
        let Verified { identity, trust } = verified;
        let Identities(shared) = &self.identities;
        let before = shared.current.load_full();
        let is_old = is_same(before.as_deref(), identity.as_deref());
        let is_believed = shared.trust.load().as_ref().is_some_and(|believed| **believed == *trust);
        if is_old && (is_believed || identity.is_some()) {
            if !is_believed {
                let roots = trust.roots().len();
                tracing::info!(target: "mesh::identity", identity = %shared.name, roots, "whom we believe is new");
                self.believe(trust);
            }
            return self.stays();
        }
        let certificate = identity.as_ref().map(|identity| identity.certificate());
        tracing::info!(
            target: "mesh::identity",
            identity = %shared.name,
            id = certificate.and_then(|certificate| certificate.names.uris.first()).map(|uri| &**uri),
            serial = certificate.map(|certificate| &*certificate.serial),
            roots = trust.roots().len(), "a new identity is in force"
        );
        let validity = identity.as_ref().map(|identity| identity.validity());
        let is_renewed = before.map(|before| before.validity()) != validity;
        shared.current.store(identity);
        if !is_believed {
            self.believe(trust);
        }
        {
            let mut state = shared.state.lock();
            state.last_good = Some(clock::wall());
            (state.error, state.due) = (None, None);
            state.warned = state.warned.filter(|_| !is_renewed);
        }
        shared.good.send_replace(true);
        self.identities.happens(validity.map_or(Happened::Trust, Happened::Certificate));
    }

    /// What is in force is what there is, after something bad was told.
    pub fn restored(&self) {
        self.says(|| self.identities.0.state.lock().error = None);
    }

    fn believe(&self, trust: Arc<Trust>) {
        let Identities(shared) = &self.identities;
        let (roots, lists) = (status::ends(&trust), status::list_ends(trust.revoked()));
        shared.trust.store(Some(trust));
        let mut state = shared.state.lock();
        (state.roots, state.lists) = (roots, lists);
    }

    /// What is in force is what there is, when something new was [wanted](Self::wanted). If a renewal is due, it
    /// has failed: that is told and counted.
    pub fn unchanged(&self) {
        self.says(|| self.stays());
    }

    fn stays(&self) {
        let is_due = {
            let mut state = self.identities.0.state.lock();
            let is_due = state.due.is_some_and(|due| due <= clock::wall());
            state.error = state.error.take().filter(|_| is_due);
            is_due
        };
        if is_due {
            self.identities.tell(&"the source gave the old one again");
        }
        self.identities.happens(Happened::Unchanged);
    }

    /// There is no material, for this reason.
    pub fn failed(&self, error: &dyn fmt::Display) {
        self.says(|| {
            self.identities.tell(error);
            self.identities.happens(Happened::Failure);
        });
    }

    /// The same again, which was told.
    pub(crate) fn failed_again(&self, error: &dyn fmt::Display) {
        self.says(|| {
            {
                let mut state = self.identities.0.state.lock();
                state.failures += 1;
                state.error = Some(error.to_string().into());
            }
            self.identities.happens(Happened::Failure);
        });
    }

    /// What these lists revoke is believed no more, although what came with them is not good: `true`, this is new.
    pub(crate) fn revoke(&self, lists: &[CertificateRevocationListDer<'static>]) -> bool {
        self.says(|| self.narrow(lists)).unwrap_or(false)
    }

    fn narrow(&self, lists: &[CertificateRevocationListDer<'static>]) -> bool {
        let Identities(shared) = &self.identities;
        let Some(trust) = shared.trust.load_full().filter(|trust| {
            // Without lists there is nothing to add to what is in force.
            !lists.is_empty() && *trust.revoked() != *lists
        }) else {
            return false;
        };
        tracing::info!(target: "mesh::identity", identity = %shared.name, "new lists of revoked certificates are in force, without the rest");
        let (roots, revoked) = (trust.roots().clone(), lists.into());
        self.believe(Arc::new(Trust { roots, revoked }));
        true
    }

    /// Waits until a renewal is wanted.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn wanted(&self) {
        self.identities.0.wanted.notified().await;
        if self.identities.turn() != self.turn {
            // It is for whoever has the turn.
            self.identities.0.wanted.notify_one();
            std::future::pending().await
        }
    }
}

/// Whether they have one chain and one key, and end together, or are none.
fn is_same(one: Option<&Identity>, other: Option<&Identity>) -> bool {
    let (Some(one), Some(other)) = (one, other) else { return one.is_none() && other.is_none() };
    let public = |of: &CertifiedKey| of.key.public_key().map(|key| key.to_vec());
    let key = public(one.key());
    // A key that does not say which it is may be another.
    let is_same = one.key().cert == other.key().cert && one.validity() == other.validity();
    is_same && key.is_some() && key == public(other.key())
}
