//! `egress.learn`: the list of destinations that would be needed, written as it grows.
//!
//! A task of its own, which holds nothing of the mesh, looks twice a second whether there is something new; calls only remember. The file is
//! replaced as a whole, by a rename, and only for something new. That it can't be written is told once, and
//! tried again with the next destination.

use crate::net::Shared;
use crate::observe::allow_list;
use std::io;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

const PAUSE: Duration = Duration::from_millis(500);

/// Writes until the mesh is gone.
pub(crate) async fn run(shared: Weak<Shared>) {
    let mut written = None;
    loop {
        tokio::time::sleep(PAUSE).await;
        let Some(shared) = shared.upgrade() else { return };
        let log = shared.registry.mesh().egress();
        let Some(path) = log.learns_to() else { continue };
        let now = (Arc::clone(&path), log.version());
        if log.version() == 0 || written.as_ref() == Some(&now) {
            continue;
        }
        let text = allow_list(&log.destinations());
        drop(shared);
        if let Err(error) = write(&path, text.as_bytes()).await {
            tracing::warn!(
                target: "mesh::egress", path = %path.display(),
                "the list of destinations can't be written: {error}"
            );
        }
        written = Some(now);
    }
}

async fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".new");
    tokio::fs::write(&aside, bytes).await?;
    tokio::fs::rename(&aside, path).await
}
