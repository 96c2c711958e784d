//! [`Capturing`]: a port that connections are led to which were made to others (`mesh iptables`).

use crate::server::{Ends, Listen};
use mesh_core::model::Address;
use mesh_core::model::cidr::canonical;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};

/// Where a request was meant to go whose connection was captured, in its extensions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Captured(pub(crate) SocketAddr);

/// A socket of which each connection is asked where it was meant to go.
pub(super) struct Capturing(pub(super) Arc<TcpListener>);

impl Listen for Capturing {
    type Io = TcpStream;

    async fn accept(&self) -> io::Result<(TcpStream, Ends)> {
        let (stream, mut ends) = Listen::accept(&*self.0).await?;
        let own = ends.local.map(canonical);
        ends.original = original(&stream).map(canonical).filter(|one| Some(*one) != own);
        Ok((stream, ends))
    }

    fn address(&self) -> Option<Address> {
        self.0.address()
    }
}

/// Where a connection was meant to go; `None`: here, or nobody knows.
#[cfg(target_os = "linux")]
fn original(stream: &TcpStream) -> Option<SocketAddr> {
    use rustix::net::sockopt::{ip_original_dst, ipv6_original_dst};
    let is_v4 = stream.local_addr().ok()?.ip().to_canonical().is_ipv4();
    if is_v4 {
        ip_original_dst(stream).ok().map(SocketAddr::V4)
    } else {
        ipv6_original_dst(stream).ok().map(SocketAddr::V6)
    }
}

#[cfg(not(target_os = "linux"))]
const fn original(_: &TcpStream) -> Option<SocketAddr> {
    None
}
