//! What an [`Acceptor`] does to look after connections that it has accepted; the rules are in
//! `tls/server_watch.rs`.

use super::accept::Acceptor;
use super::open::OpenConnection;
use crate::clock;
use crate::tls::server::Around;
use crate::tls::server_watch::{Evidence, InForce, LOOK, One, chains, look, panicked};
use crate::unwind;
use std::sync::Arc;

impl Acceptor {
    /// Looks after a connection from now on; it is told by what it gives back.
    pub(super) fn looked_after(
        &self,
        mut open: OpenConnection,
        evidence: Option<Evidence>,
    ) -> OpenConnection {
        if let Some(evidence) = evidence {
            self.look_after(evidence, &mut open);
        }
        open
    }

    #[expect(clippy::disallowed_methods, reason = "who looks after connections is a task")]
    fn look_after(&self, evidence: Evidence, open: &mut OpenConnection) {
        let (told, is_first) = self.0.watched.add(evidence);
        open.told_by(told);
        if is_first {
            let weak = Arc::downgrade(&self.0);
            drop(self.0.mesh.shared().runtime.spawn(async move {
                loop {
                    tokio::time::sleep(LOOK).await;
                    let Some(acceptor) = weak.upgrade().map(Self) else { return };
                    if !acceptor.look_again().await {
                        return;
                    }
                }
            }));
        }
    }

    /// `false`: there is nothing to look at any more.
    async fn look_again(&self) -> bool {
        let all = self.0.watched.take();
        let in_force = unwind::caught(self.in_force(&all)).await;
        let in_force = in_force.or_else(panicked).unwrap_or_default();
        let stay = look(all, &in_force, clock::wall()).await;
        self.0.watched.put_back(stay)
    }

    async fn in_force(&self, all: &[One]) -> InForce {
        let (shared, listener) = (self.0.mesh.shared(), self.listener());
        let (secrets, credentials) = (shared.secrets.load_full(), &shared.credentials);
        let mut in_force = InForce::new();
        for name in chains(all) {
            let chain = listener.as_deref().and_then(|listener| listener.chain(name));
            let policy = chain.and_then(|chain| chain.model().tls.as_ref());
            let Some(policy) = policy.filter(|_| !in_force.contains_key(name)) else { continue };
            let around = Around { secrets: &secrets, credentials };
            // What can't be had says nothing about who was accepted.
            if let Ok(tls) = self.0.tls.of(name, policy, around).await {
                in_force.insert(Arc::clone(name), tls);
            }
        }
        in_force
    }
}
