//! [`Listen`]: sockets that a server accepts from.

use super::Ends;
use mesh_core::model::Address;
use std::future::Future;
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
#[cfg(unix)]
use tokio::net::{UnixListener, UnixStream};

/// A socket that a server accepts from.
pub trait Listen: Send + Sync + 'static {
    /// What it gives.
    type Io: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Waits for the next connection.
    ///
    /// # Errors
    /// The server goes on after an error; so it may say what keeps it from accepting now.
    ///
    /// # Cancel safety
    /// Must be cancel safe: no connection may be lost.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Io, Ends)>> + Send;

    /// Where it listens; `None`: nowhere that a configuration could name.
    fn address(&self) -> Option<Address>;
}

impl Listen for TcpListener {
    type Io = TcpStream;

    async fn accept(&self) -> io::Result<(TcpStream, Ends)> {
        let (stream, remote) = Self::accept(self).await?;
        // Answers are written whole; waiting for more of them costs a round trip. Without it they are
        // late, and not wrong.
        let _late = stream.set_nodelay(true);
        let local = stream.local_addr().ok();
        Ok((stream, Ends { local, remote: Some(remote), original: None }))
    }

    fn address(&self) -> Option<Address> {
        self.local_addr().ok().map(Address::Socket)
    }
}

#[cfg(unix)]
impl Listen for UnixListener {
    type Io = UnixStream;

    async fn accept(&self) -> io::Result<(UnixStream, Ends)> {
        let (stream, _unnamed) = Self::accept(self).await?;
        Ok((stream, Ends::default()))
    }

    fn address(&self) -> Option<Address> {
        let address = self.local_addr().ok()?;
        address.as_pathname().map(|path| Address::Unix(path.into()))
    }
}

impl<L: Listen> Listen for Arc<L> {
    type Io = L::Io;

    fn accept(&self) -> impl Future<Output = io::Result<(Self::Io, Ends)>> + Send {
        L::accept(self)
    }

    fn address(&self) -> Option<Address> {
        L::address(self)
    }
}

/// Why a server that listens at `bound` must not serve a listener of the configuration that is to be at
/// `configured` (gRFC A36: they must be equal). Port 0 is any.
pub(super) fn elsewhere(configured: &Address, bound: &Address) -> Option<String> {
    let is_same = match (configured, bound) {
        (Address::Socket(configured), Address::Socket(bound)) => {
            let port = configured.port();
            configured.ip().to_canonical() == bound.ip().to_canonical()
                && (port == 0 || port == bound.port())
        }
        (configured, bound) => configured == bound,
    };
    (!is_same).then(|| {
        format!("the configuration has it at {configured}, and this program listens at {bound}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(configured: &str, bound: &str, expected: bool) {
        let address = |text: &str| match text.strip_prefix("unix:") {
            Some(path) => Address::Unix(std::path::Path::new(path).into()),
            None => Address::Socket(text.parse().unwrap()),
        };
        let elsewhere = elsewhere(&address(configured), &address(bound));
        assert_eq!(elsewhere.is_some(), expected, "{configured} {bound}: {elsewhere:?}");
    }

    #[test]
    fn a_listener_is_served_where_it_is() {
        check("127.0.0.1:80", "127.0.0.1:80", false);
        check("127.0.0.1:0", "127.0.0.1:4711", false);
        check("127.0.0.1:80", "127.0.0.1:81", true);
        check("0.0.0.0:80", "127.0.0.1:80", true);
        check("127.0.0.1:80", "[::ffff:127.0.0.1]:80", false);
        check("unix:/a", "unix:/a", false);
        check("unix:/a", "unix:/b", true);
        check("unix:/a", "127.0.0.1:80", true);
    }
}
