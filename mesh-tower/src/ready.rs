//! [`Mesh::ready`]: when a mesh can do what its configuration says.
//!
//! That is a configuration, and who we are, if it or the program says where that comes from: without
//! material that was validated, a server with mutual TLS accepts nobody and a client reaches nobody, and
//! whoever asks about the health of the process must not hear otherwise.
//!
//! What it does not do: wait for endpoints, connections, or the certificate providers of a bootstrap file,
//! of which nobody knows whether they are needed.

use crate::error::{Error, Station};
#[cfg(feature = "tls")]
use crate::identity::{Identities, NoIdentity};
use crate::mesh::Mesh;
use mesh_core::local_reply::Reason;
use std::sync::Arc;
use std::time::Duration;

/// Why a mesh is not ready within the time for it ([`Mesh::ready_within`]).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotReady {
    /// There is no complete configuration.
    #[error(
        "no complete configuration within {} ms{}", limit.as_millis(),
        because(refused)
    )]
    Configuration {
        /// The time there was.
        limit: Duration,
        /// Why the newest one was refused, if it was.
        refused: Option<Arc<str>>,
    },
    /// The configuration is there, and there is no material of our identity that is good.
    #[cfg(feature = "tls")]
    #[error(
        "the configuration is there, but {whose} had nothing good within {} ms: {error}",
        limit.as_millis()
    )]
    Identity {
        /// The time there was.
        limit: Duration,
        /// Where it comes from.
        whose: Arc<str>,
        /// Why there is none.
        error: NoIdentity,
    },
    /// The mesh was shut down.
    #[error("the mesh was shut down")]
    ShutDown,
}

fn because(refused: &Option<Arc<str>>) -> String {
    refused.as_ref().map_or_else(String::new, |why| format!("; the newest was refused: {why}"))
}

impl Mesh {
    /// Waits until there is a configuration, the first complete one, and the first good material of our
    /// identity, if the configuration or the program names one. A configuration that a source knows to be
    /// partial ([`is_partial`](mesh_core::ConfigUpdate::is_partial)) is in force and does not count.
    ///
    /// # Errors
    /// With [`Reason::ShutDown`] when the mesh ended first.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn ready(&self) -> Result<(), Error> {
        match self.wait().await {
            true => Ok(()),
            false => Err(Error::new(Reason::ShutDown, Station::default())),
        }
    }

    /// Waits as [`ready`](Self::ready) does, for `limit` at most, and says what is missing then.
    ///
    /// # Errors
    /// [`NotReady`]: what it still waits for, and why that is not there.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn ready_within(&self, limit: Duration) -> Result<(), NotReady> {
        match tokio::time::timeout(limit, self.wait()).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(NotReady::ShutDown),
            Err(_late) => Err(self.missing(limit)),
        }
    }

    /// `false`: the mesh ended.
    async fn wait(&self) -> bool {
        let mut progress = self.progress();
        let complete = progress.wait_for(|progress| progress.complete || progress.ended).await;
        if !complete.is_ok_and(|progress| progress.complete) {
            return false;
        }
        #[cfg(feature = "tls")]
        if let Some(own) = self.identities() {
            return self.wait_for(own).await;
        }
        true
    }

    #[cfg(feature = "tls")]
    async fn wait_for(&self, own: &Identities) -> bool {
        let mut progress = self.progress();
        let ended = async { drop(progress.wait_for(|progress| progress.ended).await) };
        tokio::select! {
            biased;
            () = own.good() => true,
            () = ended => false,
        }
    }

    fn missing(&self, limit: Duration) -> NotReady {
        let progress = self.progress().borrow().clone();
        if progress.ended {
            return NotReady::ShutDown;
        }
        #[cfg(feature = "tls")]
        if progress.complete
            && let Some(own) = self.identities()
        {
            let whose = self.shared().credentials.origin();
            // Good by now: a moment too late.
            let error = own.current().err().unwrap_or(NoIdentity::NotYet { why: None });
            return NotReady::Identity { limit, whose, error };
        }
        NotReady::Configuration { limit, refused: progress.refused }
    }
}
