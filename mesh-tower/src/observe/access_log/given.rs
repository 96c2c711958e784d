//! [`Given`] and [`Logs`]: the logs that a program gives a mesh, one for each side.

use super::AccessLog;
use super::line::Logging;
#[cfg(feature = "tls")]
use crate::identity::Credentials;
use crate::observe::registry::Registry;
use mesh_core::access_log::Side;
use std::sync::Arc;

/// The logs that a program gives a mesh.
#[derive(Debug, Default)]
pub(crate) struct Given {
    client: Option<AccessLog>,
    server: Option<AccessLog>,
}

/// The logs of a mesh.
pub(crate) struct Logs {
    /// Who writes a line of each call.
    pub(crate) client: Option<Arc<Logging>>,
    /// Who writes a line of each served request.
    pub(crate) server: Option<Arc<Logging>>,
}

impl Given {
    /// Takes `log` for the sides that it is of.
    pub(crate) fn add(&mut self, log: AccessLog) {
        if log.is_of(Side::Client) {
            self.client = Some(log.clone());
        }
        if log.is_of(Side::Server) {
            self.server = Some(log);
        }
    }

    /// Makes them those of a mesh, whose metrics count them.
    pub(crate) fn open(
        self,
        registry: &Registry,
        #[cfg(feature = "tls")] credentials: &Credentials,
    ) -> Logs {
        let open = |log: AccessLog| {
            registry.access_log(log.state());
            Arc::new(Logging {
                log,
                #[cfg(feature = "tls")]
                credentials: credentials.clone(),
            })
        };
        Logs { client: self.client.map(open), server: self.server.map(open) }
    }
}

impl Logs {
    /// Waits until all lines that are queued now are written or dropped.
    pub(crate) async fn flush(&self) {
        for logging in [&self.client, &self.server].into_iter().flatten() {
            logging.log.flush().await;
        }
    }
}
