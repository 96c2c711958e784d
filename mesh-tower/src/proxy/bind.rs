//! Sockets of ports.

use crate::server::Listen;
use mesh_core::model::Address;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
#[cfg(unix)]
use tokio::net::UnixListener;
use tokio::net::{TcpListener, TcpSocket};

/// How many connections wait to be accepted, at most (Linux: also `net.core.somaxconn`).
const BACKLOG: u32 = 4096;

/// A socket that a port accepts from.
#[derive(Clone, Debug)]
pub(super) enum Socket {
    Tcp(Arc<TcpListener>),
    #[cfg(unix)]
    Unix(Arc<UnixListener>),
}

/// A socket as long as somebody accepts from it: who only knows of it keeps nobody waiting at it.
#[derive(Clone, Debug)]
pub(super) enum WeakSocket {
    Tcp(Weak<TcpListener>),
    #[cfg(unix)]
    Unix(Weak<UnixListener>),
}

impl Socket {
    /// Where it listens.
    pub(super) fn address(&self) -> Option<Address> {
        match self {
            Self::Tcp(listener) => listener.address(),
            #[cfg(unix)]
            Self::Unix(listener) => listener.address(),
        }
    }

    pub(super) fn downgrade(&self) -> WeakSocket {
        match self {
            Self::Tcp(listener) => WeakSocket::Tcp(Arc::downgrade(listener)),
            #[cfg(unix)]
            Self::Unix(listener) => WeakSocket::Unix(Arc::downgrade(listener)),
        }
    }
}

#[cfg(unix)]
impl std::os::fd::AsFd for Socket {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener) => listener.as_fd(),
        }
    }
}

impl WeakSocket {
    pub(super) fn upgrade(&self) -> Option<Socket> {
        match self {
            Self::Tcp(listener) => listener.upgrade().map(Socket::Tcp),
            #[cfg(unix)]
            Self::Unix(listener) => listener.upgrade().map(Socket::Unix),
        }
    }
}

/// Listens at `address`.
///
/// # Errors
/// What the system says; somebody else listens there, mostly.
pub(super) fn bind(address: &Address) -> io::Result<Socket> {
    match address {
        Address::Socket(address) => tcp(*address).map(Arc::new).map(Socket::Tcp),
        #[cfg(unix)]
        Address::Unix(path) => unix(path).map(Arc::new).map(Socket::Unix),
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
fn unix(path: &std::path::Path) -> io::Result<UnixListener> {
    match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            if !is_left_behind(path)? {
                return Err(error);
            }
            std::fs::remove_file(path)?;
            UnixListener::bind(path)
        }
        bound => bound,
    }
}

/// Whether `path` is a socket that nobody listens at. It does not wait for who listens and is busy.
#[cfg(unix)]
pub(super) fn is_left_behind(path: &std::path::Path) -> io::Result<bool> {
    use rustix::io::Errno;
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};
    use std::os::unix::fs::FileTypeExt;
    if !std::fs::symlink_metadata(path)?.file_type().is_socket() {
        return Ok(false);
    }
    let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    rustix::io::ioctl_fionbio(&socket, true)?;
    let asked = rustix::net::connect(&socket, &SocketAddrUnix::new(path)?);
    Ok(asked == Err(Errno::CONNREFUSED))
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
        // Who listens and accepts nobody is not waited for.
        let busy = directory.path().join("b");
        let listener = std::os::unix::net::UnixListener::bind(&busy).unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        let _waiting = std::os::unix::net::UnixStream::connect(&busy).unwrap();
        assert!(bind(&Address::Unix(busy.into())).is_err());
        // A file that is no socket stays.
        let file = directory.path().join("f");
        std::fs::write(&file, "mine").unwrap();
        assert!(bind(&Address::Unix(file.as_path().into())).is_err());
        assert_eq!(std::fs::read(&file).unwrap(), b"mine");
        let any: SocketAddr = "[::1]:0".parse().unwrap();
        assert!(matches!(bind(&any.into()).unwrap().address(), Some(Address::Socket(_))));
    }
}
