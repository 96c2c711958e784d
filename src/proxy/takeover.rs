//! `--takeover`: a new process goes on with the sockets of the one that runs, which drains and ends.

use crate::cli::Failure;
use mesh_tower::proxy::{Handover, Sockets, Takeover};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

/// How the socket of the admin's pages is called, beside those of ports.
pub(super) const ADMIN: &str = "admin";

/// What the process that runs has given; or nothing.
#[derive(Default)]
pub(super) struct Taken(Option<Takeover>);

/// Asks who runs, if one is to be asked.
pub(super) async fn ask(path: Option<&Path>) -> Result<Taken, Failure> {
    let Some(path) = path else { return Ok(Taken::default()) };
    Takeover::ask(path).await.map(Taken).map_err(failed)
}

impl Taken {
    /// The socket of its admin's pages, if it is at `address`.
    pub(super) fn admin(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let listener = self.0.as_mut()?.listener(ADMIN)?;
        let is_there =
            |at: SocketAddr| at == address || (address.port() == 0 && at.ip() == address.ip());
        listener.local_addr().is_ok_and(is_there).then_some(listener)
    }

    /// The sockets of its ports.
    pub(super) fn sockets(&mut self) -> Result<Sockets, Failure> {
        self.0.as_mut().map_or_else(|| Ok(Sockets::default()), Takeover::sockets).map_err(failed)
    }

    /// Tells it that we accept, and listens at `path` in its place. Whether there was one.
    pub(super) async fn done(
        self,
        path: Option<&Path>,
    ) -> Result<(bool, Option<Handover>), Failure> {
        let Some(path) = path else { return Ok((false, None)) };
        let Some(taken) = self.0 else {
            return Handover::listen(path).map(|handover| (false, Some(handover))).map_err(failed);
        };
        if let Err(error) = taken.done().await {
            // We accept, whatever became of it.
            tracing::warn!(target: "mesh::proxy", "who ran before may have ended by itself: {error}");
        }
        let handover = Handover::listen(path).inspect_err(|error| {
            tracing::error!(target: "mesh::proxy", "nobody can take over: {error}");
        });
        Ok((true, handover.ok()))
    }
}

#[expect(clippy::needless_pass_by_value, reason = "as errors are mapped")]
fn failed(error: mesh_tower::proxy::TakeoverError) -> Failure {
    Failure::new("takeover", error.to_string())
}
