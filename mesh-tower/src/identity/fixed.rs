//! [`FixedIdentity`]: what the program hands over.

use super::{IdentitySink, IdentitySource, InvalidIdentity, Material};
use futures_core::future::BoxFuture;
use mesh_core::identity::RotationOptions;
use tokio::sync::{mpsc, oneshot};

/// How many changes wait to be taken.
const QUEUE: usize = 16;

type Handed = (Material, oneshot::Sender<Result<(), InvalidIdentity>>);

/// Identities that the program hands over, for tests and for issuers of one's own.
#[derive(Debug)]
pub struct FixedIdentity {
    first: Option<Material>,
    next: mpsc::Receiver<Handed>,
}

/// The program's end of a [`FixedIdentity`].
#[derive(Clone, Debug)]
pub struct IdentityUpdates(mpsc::Sender<Handed>);

impl FixedIdentity {
    /// Begins with `first`, and goes on with what is handed over.
    #[must_use]
    pub fn new(first: Option<Material>) -> (Self, IdentityUpdates) {
        let (sender, next) = mpsc::channel(QUEUE);
        (Self { first, next }, IdentityUpdates(sender))
    }
}

impl IdentityUpdates {
    /// Hands over `material`: in force when this returns, unless it is not good.
    ///
    /// # Errors
    /// [`InvalidIdentity`]: it is not, and what was in force stays. Without a source that runs it is
    /// dropped, and `Ok` is returned: nobody needs it any more.
    ///
    /// # Cancel safety
    /// Once it was polled it may come into force, whether it is dropped or not.
    pub async fn publish(&self, material: Material) -> Result<(), InvalidIdentity> {
        let (answer, answered) = oneshot::channel();
        if self.0.send((material, answer)).await.is_err() {
            return Ok(());
        }
        answered.await.unwrap_or(Ok(()))
    }
}

impl IdentitySource for FixedIdentity {
    fn start(mut self: Box<Self>, sink: IdentitySink) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            if let Some(first) = self.first.take() {
                // Told and counted by the sink.
                let _told = sink.publish(first);
            }
            while let Some((material, answer)) = self.next.recv().await {
                // Who handed it over may have left.
                let _left = answer.send(sink.publish(material));
            }
        })
    }

    /// Never: the program renews it, and can't be asked.
    fn rotation(&self) -> RotationOptions {
        let mut options = RotationOptions::default();
        options.renew_at = None;
        options
    }

    /// Nobody is left who could hand something over.
    fn may_end(&self) -> bool {
        true
    }
}
