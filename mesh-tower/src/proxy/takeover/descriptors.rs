//! What is known of descriptors and of who sends them.

use std::fs::{self, Metadata, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use tokio::net::UnixStream;

/// The descriptor, if somebody can accept from it; else why nobody can.
pub(super) fn listening(descriptor: OwnedFd) -> Result<OwnedFd, &'static str> {
    match rustix::net::sockopt::socket_acceptconn(&descriptor) {
        Ok(true) => Ok(descriptor),
        Ok(false) => Err("does not listen"),
        Err(_) => Err("is no socket"),
    }
}

/// Whether who is at the other end runs as we do, or as root.
pub(super) fn may_take(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| peer.uid() == own || peer.uid() == 0)
}

pub(super) fn is_socket(metadata: &Metadata) -> bool {
    metadata.file_type().is_socket()
}

/// Nobody else may connect.
pub(super) fn only_for_us(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(0o600))
}
