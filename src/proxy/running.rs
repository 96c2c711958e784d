//! A proxy that runs, until something ends it.

use super::End;
use super::admin::Admin;
use super::signals::{self, Came, Signals};
use super::wrap::{Ended, Wrapped};
use crate::cli::Failure;
use mesh_tower::Mesh;
use mesh_tower::observe::AccessLog;
use mesh_tower::proxy::{Handover, Proxy};
use sd_notify::NotifyState;

/// A proxy, and what is around it.
pub(super) struct Running {
    pub(super) mesh: Mesh,
    pub(super) proxy: Proxy,
    pub(super) log: Option<AccessLog>,
    pub(super) admin: Admin,
    pub(super) signals: Signals,
    pub(super) wrapped: Option<Wrapped>,
    pub(super) handover: Option<Handover>,
}

impl Running {
    /// Waits until something ends it.
    pub(super) async fn until_the_end(&mut self) -> Result<End, Failure> {
        let Self { mesh, proxy, log, admin, signals, wrapped, handover } = self;
        let socket = admin.socket();
        let others: Vec<_> = socket.iter().map(|socket| (super::takeover::ADMIN, socket)).collect();
        let taken = async {
            match handover {
                Some(handover) => handover.taken(proxy, &others).await,
                None => std::future::pending().await,
            }
        };
        let mut taken = std::pin::pin!(taken);
        loop {
            let other = tokio::select! {
                biased;
                ended = ended(wrapped.as_mut()) => return ended.map(End::Command),
                () = taken.as_mut() => return Ok(End::TakenOver),
                () = admin.drain() => return Ok(End::Admin),
                came = signals.next() => match came {
                    Came::Ending(signal) => return Ok(End::Signal(signal)),
                    Came::Other(signal) => signal,
                },
            };
            if other == signals::HANGUP {
                reload(mesh, log.as_ref());
            }
            if let Some(wrapped) = wrapped {
                wrapped.signal(other);
            }
        }
    }
}

/// Waits for the end of the command; for ever, without one.
pub(super) async fn ended(wrapped: Option<&mut Wrapped>) -> Result<Ended, Failure> {
    match wrapped {
        Some(wrapped) => wrapped.ended().await,
        None => std::future::pending().await,
    }
}

/// Reads the configuration again, and tells systemd so (sd_notify(3): `RELOADING=1` comes with the time).
fn reload(mesh: &Mesh, log: Option<&AccessLog>) {
    let now = NotifyState::monotonic_usec_now().ok();
    let reloading: Vec<_> = [NotifyState::Reloading].into_iter().chain(now).collect();
    tell(&reloading);
    read_again(mesh, log);
    tell(&[NotifyState::Ready]);
}

/// Reads the configuration again, and opens the log anew.
pub(super) fn read_again(mesh: &Mesh, log: Option<&AccessLog>) {
    mesh.reload();
    if let Some(log) = log {
        log.reopen();
    }
}

/// Tells systemd, if it wants to know.
pub(super) fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!("systemd can't be told: {error}");
    }
}
