//! [`Slots`]: what one policy names, a cluster's or a filter chain's, held while it does.
//!
//! Whoever makes a handshake asks it for what is in force; what is there is looked at meanwhile ([`One::look`]). Where
//! other roots or lists are named and these are not good, those before go on: a secret may name other files, or be of
//! another kind. Of certificates there is nothing before: who we are is what is named.

use super::{FRESH, Held, One, Signers};
use crate::identity::Credentials;
use parking_lot::Mutex;
use rustls::pki_types::CertificateRevocationListDer;
use std::sync::Arc;

/// What a policy names.
#[derive(Default)]
pub(crate) struct Slots {
    pair: Mutex<Option<Arc<One>>>,
    roots: Mutex<Slot>,
    lists: Mutex<Slot>,
}

#[derive(Default)]
struct Slot {
    now: Option<Arc<One>>,
    /// That of which something was in force last.
    good: Option<Arc<One>>,
}

/// Lists of revoked certificates.
pub(crate) type Crl = Arc<[CertificateRevocationListDer<'static>]>;

impl Slots {
    /// The certificate of this name, looked at.
    pub(crate) async fn pair(
        &self,
        named: (Arc<str>, Held),
        credentials: &Credentials,
    ) -> Arc<One> {
        let one = held(&mut self.pair.lock(), &named.0, credentials);
        one.look(Some(&named.1), FRESH).await;
        one
    }

    /// No certificate is named, or it is not there: nothing of it is held, and nothing of its key.
    pub(crate) fn no_pair(&self) {
        *self.pair.lock() = None;
    }

    /// Who signs by the roots of this name, and which these are.
    ///
    /// # Errors
    /// There were none that are good: why, in words.
    pub(crate) async fn roots(
        &self,
        named: (Arc<str>, Held),
        credentials: &Credentials,
    ) -> Result<(Arc<One>, Arc<Signers>), String> {
        looked(&self.roots, named, credentials, One::signers).await
    }

    /// The lists of this name, and which these are.
    ///
    /// # Errors
    /// There were none that are good: why, in words.
    pub(crate) async fn lists(
        &self,
        named: (Arc<str>, Held),
        credentials: &Credentials,
    ) -> Result<(Arc<One>, Crl), String> {
        let crl = |one: &One| one.signers().map(|signers| Arc::clone(signers.trust.shared_lists()));
        looked(&self.lists, named, credentials, crl).await
    }
}

/// What `of` takes out of the one that is named, or of the one before, if there is nothing in that.
async fn looked<T>(
    slot: &Mutex<Slot>,
    (name, held_by): (Arc<str>, Held),
    credentials: &Credentials,
    of: impl Fn(&One) -> Result<T, String>,
) -> Result<(Arc<One>, T), String> {
    let one = held(&mut slot.lock().now, &name, credentials);
    one.look(Some(&held_by), FRESH).await;
    match of(&one) {
        Ok(found) => {
            let mut slot = slot.lock();
            // Another handshake may have come with another name meanwhile.
            if slot.now.as_ref().is_some_and(|now| Arc::ptr_eq(now, &one)) {
                slot.good = Some(Arc::clone(&one));
            }
            Ok((one, found))
        }
        Err(error) => {
            let before = slot.lock().good.clone();
            before.and_then(|before| of(&before).ok()).map(|found| (one, found)).ok_or(error)
        }
    }
}

fn held(slot: &mut Option<Arc<One>>, name: &Arc<str>, credentials: &Credentials) -> Arc<One> {
    match slot {
        Some(one) if one.name() == name => Arc::clone(one),
        _ => {
            let one = credentials.named(name);
            *slot = Some(Arc::clone(&one));
            one
        }
    }
}
