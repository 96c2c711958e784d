//! [`Carrying`]: a stream that is passed on, which tells how it ended, wherever it is dropped.

use crate::clock;
use crate::observe::access_log::{Cut, StreamLine};
use crate::tcp::{MeshStream, RelayOptions, Relayed, StreamEnd, relay};
use mesh_core::local_reply::Reason;
use tokio::io::{AsyncRead, AsyncWrite};

/// The endpoint's end of a stream; dropped, it says what became of it.
pub(super) struct Carrying {
    endpoint: MeshStream,
    line: Option<StreamLine>,
    end: StreamEnd,
    /// The endpoint must not take what it got for the whole.
    is_cut: bool,
}

impl Carrying {
    /// `line`: that of the port.
    pub(super) const fn new(endpoint: MeshStream, line: Option<StreamLine>) -> Self {
        // Until more is known, whoever drops it ends it.
        Self { endpoint, line, end: StreamEnd::Here, is_cut: false }
    }

    /// Passes bytes on between `client` and the endpoint.
    pub(super) async fn relay(
        &mut self,
        client: &mut (impl AsyncRead + AsyncWrite + Unpin),
        options: RelayOptions,
    ) -> Relayed {
        let relayed = relay(client, &mut self.endpoint, options).await;
        self.end = relayed.end.of_client();
        self.is_cut = relayed.cuts_second();
        relayed
    }
}

impl Drop for Carrying {
    fn drop(&mut self) {
        self.endpoint.ended(self.end);
        if self.is_cut {
            self.endpoint.reset();
        }
        let Some(line) = self.line.take() else { return };
        let reason = self.end.reason();
        let details = reason.as_ref().map(ToString::to_string);
        let cut = Cut {
            flag: reason.as_ref().map(Reason::flag),
            reason: reason.as_ref().map(Reason::code),
            details: details.as_deref(),
            policy: None,
        };
        line.write(self.endpoint.carried(), cut, clock::now());
    }
}
