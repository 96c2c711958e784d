//! Sockets of ports.

use mesh_core::model::Address;
use std::io;
use std::net::SocketAddr;
use tokio::net::{TcpListener, TcpSocket};

/// How many connections wait to be accepted, at most (Linux: also `net.core.somaxconn`).
const BACKLOG: u32 = 4096;

/// A socket that a port accepts from.
pub(super) enum Socket {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(tokio::net::UnixListener),
}

impl Socket {
    /// Where it listens.
    pub(super) fn address(&self) -> Option<Address> {
        use crate::server::Listen;
        match self {
            Self::Tcp(listener) => listener.address(),
            #[cfg(unix)]
            Self::Unix(listener) => listener.address(),
        }
    }
}

/// Listens at `address`.
///
/// # Errors
/// What the system says; somebody else listens there, mostly.
pub(super) fn bind(address: &Address) -> io::Result<Socket> {
    match address {
        Address::Socket(address) => tcp(*address).map(Socket::Tcp),
        #[cfg(unix)]
        Address::Unix(path) => unix(path).map(Socket::Unix),
        #[cfg(not(unix))]
        Address::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
    }
}

fn tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A port whose connections of before are still ending can be taken again.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// The file of a socket outlives who made it: one that nobody listens at is taken over.
#[cfg(unix)]
fn unix(path: &std::path::Path) -> io::Result<tokio::net::UnixListener> {
    use std::os::unix::fs::FileTypeExt;
    use std::os::unix::net::UnixStream;
    match tokio::net::UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let is_socket = std::fs::symlink_metadata(path)?.file_type().is_socket();
            let nobody = UnixStream::connect(path)
                .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
            if !is_socket || !nobody {
                return Err(error);
            }
            std::fs::remove_file(path)?;
            tokio::net::UnixListener::bind(path)
        }
        bound => bound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_nobody_listens_at_is_taken_over() {
        let directory = tempfile::tempdir().unwrap();
        let address = Address::Unix(directory.path().join("s").into());
        let first = bind(&address).unwrap();
        assert_eq!(first.address().as_ref(), Some(&address));
        let taken = bind(&address).map(drop).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
        drop(first);
        drop(bind(&address).unwrap());
        // A file that is no socket stays.
        let file = directory.path().join("f");
        std::fs::write(&file, "mine").unwrap();
        assert!(bind(&Address::Unix(file.as_path().into())).is_err());
        assert_eq!(std::fs::read(&file).unwrap(), b"mine");
        let any: SocketAddr = "[::1]:0".parse().unwrap();
        assert!(matches!(bind(&any.into()).unwrap().address(), Some(Address::Socket(_))));
    }
}
