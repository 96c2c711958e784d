//! [`Beside`]: whether a chain leads to the roots that stand beside it.
//!
//! The mesh's own identity is refused if it does not. Of certificate providers and of what is named it is only told. Roots of a cluster or a listener say who
//! signs for peers, and in Envoy's and gRPC's words nothing says that the same signs for us (gRFC A29 has them as two
//! providers): a port with a certificate of a public authority that asks for clients of a private one is as it should
//! be, and so is a certificate for another company's server. Refused, it would serve nobody from its predecessor's end on.
//!
//! - Of a chain that never led to them it is told once, quietly: it may be meant.
//! - Of one whose predecessor did, or that did by roots before, it is a warning: half of a rotation looks so, and peers
//!   that believe the same roots refuse it.

use crate::clock;
use crate::identity::verify::leads_to;
use crate::identity::{Identities, Identity, InvalidIdentity, Trust};
use mesh_core::identity::SpiffeId;
use std::sync::Arc;

/// A chain, and roots.
pub(super) struct Beside {
    own: Identities,
    roots: Identities,
    /// What was looked at last, and whether it led there.
    seen: Option<(Arc<Identity>, Arc<Trust>, bool)>,
}

/// What is to be told.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// It has never led there.
    Apart(InvalidIdentity),
    /// It did before.
    Parted(InvalidIdentity),
}

impl Beside {
    pub(super) const fn new(own: Identities, roots: Identities) -> Self {
        Self { own, roots, seen: None }
    }

    /// Whether these are the two.
    pub(super) fn is_of(&self, own: &Identities, roots: &Identities) -> bool {
        self.own.is(own) && self.roots.is(roots)
    }

    /// Looks at what is in force, and tells once for each pair of them.
    pub(super) fn look(&mut self) {
        let told = self.judge();
        let (own, roots) = (self.own.name(), self.roots.name());
        match told {
            None => {}
            Some(Told::Apart(why)) => tracing::info!(
                target: "mesh::identity", identity = %own, %roots,
                "the chain does not lead to the roots that peers are verified by; that is no fault if others issue for them: {why}"
            ),
            Some(Told::Parted(why)) => tracing::warn!(
                target: "mesh::identity", identity = %own, %roots,
                "the chain led to the roots beside it and does not any more: peers that believe the same ones refuse it: {why}"
            ),
        }
    }

    pub(super) fn judge(&mut self) -> Option<Told> {
        let (own, trust) = (self.own.in_force()?, self.roots.trust().ok()?);
        let is_seen = |(seen, by, _): &(Arc<Identity>, Arc<Trust>, bool)| {
            Arc::ptr_eq(seen, &own) && Arc::ptr_eq(by, &trust)
        };
        if self.seen.as_ref().is_some_and(is_seen) {
            return None;
        }
        let led = self.seen.as_ref().map(|(_, _, leads)| *leads);
        let found = leads(&own, &trust);
        self.seen = Some((own, trust, found.is_ok()));
        match (found, led) {
            (Ok(()), _) | (Err(_), Some(false)) => None,
            (Err(why), None) => Some(Told::Apart(why)),
            (Err(why), Some(true)) => Some(Told::Parted(why)),
        }
    }
}

fn leads(own: &Identity, trust: &Trust) -> Result<(), InvalidIdentity> {
    let domain = own.spiffe_id().map(SpiffeId::trust_domain);
    let anchors = match (trust.roots().of(domain.as_ref()), domain) {
        (Some(anchors), _) => anchors,
        (None, Some(domain)) => return Err(InvalidIdentity::NoBundle(domain)),
        (None, None) => return Err(InvalidIdentity::NoRoots),
    };
    let by = (anchors, trust.revoked());
    leads_to(&own.key().cert, own.certificate(), by, clock::wall()).map(drop)
}
