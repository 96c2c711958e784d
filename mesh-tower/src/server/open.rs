//! [`OpenConnection`]: an accepted connection counts as open as long as this lives, and is told by it when
//! it has outlived what it was accepted by.

use crate::observe::port::Active;
use std::fmt;
use tokio::sync::oneshot;

/// A connection counts as open until this is dropped.
pub struct OpenConnection {
    _active: Active,
    /// `None`: nothing of it ends, or it was told.
    outlived: Option<oneshot::Receiver<Outlived>>,
}

/// Why a connection that was accepted would not be accepted any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outlived {
    /// The client's certificate is over.
    CertificateEnded,
    /// The certificate of ours that the client was shown is over.
    OwnCertificateEnded,
    /// The client's certificate, or one that signed it, was revoked.
    Revoked,
    /// The client does not verify any more: its root was withdrawn, or other names are asked for.
    Untrusted,
}

impl OpenConnection {
    pub(super) const fn new(active: Active) -> Self {
        Self { _active: active, outlived: None }
    }

    /// It is told by `outlived`.
    #[cfg(feature = "tls")]
    pub(super) fn told_by(&mut self, outlived: oneshot::Receiver<Outlived>) {
        self.outlived = Some(outlived);
    }

    /// Waits until the connection is to end because of what it was secured with: whoever serves it tells
    /// the client that it takes no new requests (GOAWAY, `connection: close`), and ends it with the last
    /// call. Looked at once a second; told once. Without TLS, and for a mesh that is gone, it waits forever.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn outlived(&mut self) -> Outlived {
        if let Some(told) = &mut self.outlived {
            let why = told.await;
            self.outlived = None;
            if let Ok(why) = why {
                return why;
            }
        }
        std::future::pending().await
    }
}

impl fmt::Debug for OpenConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OpenConnection")
    }
}
