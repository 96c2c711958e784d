//! Making byte streams: [`Connect`], the [`TcpConnector`], and RFC 8305 over several addresses.

use super::own_ports::OwnPort;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use mesh_core::model::Address;
use mesh_core::outcome::ConnectFailure;
use std::any::Any;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// A byte stream that a connection can live on. It is [`Any`]: who closes it may ask whether it is a socket.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin + Any {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + Any + ?Sized> Io for T {}

/// A byte stream of any kind.
pub type BoxedIo = Box<dyn Io>;

/// The future of [`Connect::connect`]. Boxed: connecting is not the call path.
pub type Connecting<'a> = Pin<Box<dyn Future<Output = io::Result<BoxedIo>> + Send + 'a>>;

/// Makes byte streams to endpoints. Unix sockets, simulated networks and tests enter here.
pub trait Connect: Send + Sync + fmt::Debug {
    /// Connects to `address`.
    ///
    /// # Errors
    ///
    /// Whatever the network says; its [`io::ErrorKind`] becomes the reason of the failure.
    ///
    /// # Cancel safety
    ///
    /// The future is dropped at the connect timeout, and when the endpoint goes away.
    fn connect<'a>(&'a self, address: &'a Address) -> Connecting<'a>;

    /// Whether the streams are secured as the cluster's TLS policy wants, so that nothing is put on
    /// top. Default: no, and clusters with TLS fail closed.
    fn secures(&self) -> bool {
        false
    }
}

/// Plain TCP (with `TCP_NODELAY`) and Unix-domain sockets.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "a name for what has no settings")]
pub struct TcpConnector;

impl Connect for TcpConnector {
    fn connect<'a>(&'a self, address: &'a Address) -> Connecting<'a> {
        Box::pin(async move {
            match address {
                Address::Socket(address) => {
                    let stream = TcpStream::connect(address).await?;
                    stream.set_nodelay(true)?;
                    Ok(Box::new(stream) as BoxedIo)
                }
                Address::Unix(path) => unix(path).await,
            }
        })
    }
}

#[cfg(unix)]
async fn unix(path: &std::path::Path) -> io::Result<BoxedIo> {
    Ok(Box::new(tokio::net::UnixStream::connect(path).await?))
}

#[cfg(not(unix))]
#[expect(clippy::unused_async, reason = "the signature of the systems that have them")]
async fn unix(_path: &std::path::Path) -> io::Result<BoxedIo> {
    Err(io::ErrorKind::Unsupported.into())
}

/// What a failed connect means. A Unix socket that is not there counts as refused.
pub(super) fn classify(error: &io::Error) -> ConnectFailure {
    if error.get_ref().is_some_and(|source| source.is::<OwnPort>()) {
        return ConnectFailure::OwnPort;
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => ConnectFailure::Refused,
        io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkDown
        | io::ErrorKind::AddrNotAvailable => ConnectFailure::Unreachable,
        io::ErrorKind::TimedOut => ConnectFailure::Timeout,
        _ => ConnectFailure::Other,
    }
}

/// Connects to the first of `addresses` that answers (RFC 8305, "Happy Eyeballs").
///
/// Families alternate, the first address's first (section 4); the next attempt starts after `delay`,
/// or at once when one failed (section 5). The losers are dropped.
///
/// # Errors
///
/// The last error when all failed; `NotFound` when there is no address.
///
/// # Cancel safety
///
/// Dropping it drops all attempts.
pub(crate) async fn connect_any(
    dial: &dyn Connect,
    addresses: &[Address],
    delay: Duration,
) -> io::Result<(Address, BoxedIo)> {
    let mut waiting = interleave(addresses).into_iter().peekable();
    let mut attempts = FuturesUnordered::new();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    loop {
        if let Some(address) = waiting.next() {
            attempts.push(async move { (address, dial.connect(address).await) });
        } else if attempts.is_empty() {
            return Err(last);
        }
        let more = waiting.peek().is_some();
        tokio::select! {
            Some((address, ended)) = attempts.next() => match ended {
                Ok(io) => return Ok((address.clone(), io)),
                Err(error) => last = error,
            },
            () = tokio::time::sleep(delay), if more => {}
        }
    }
}

/// Alternates between the first address's family and the others, each in the order given.
fn interleave(addresses: &[Address]) -> Vec<&Address> {
    let is_v6 = |address: &Address| matches!(address, Address::Socket(a) if a.is_ipv6());
    let Some(first) = addresses.first().map(is_v6) else { return Vec::new() };
    let mut same = addresses.iter().filter(|address| is_v6(address) == first);
    let mut other = addresses.iter().filter(|address| is_v6(address) != first);
    let mut order = Vec::with_capacity(addresses.len());
    while order.len() < addresses.len() {
        order.extend(same.next());
        order.extend(other.next());
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    /// Ports say what happens: 1 refuses after 10 ms, 2 never answers, others connect after 100 ms.
    #[derive(Debug)]
    struct Scripted;

    impl Connect for Scripted {
        fn connect<'a>(&'a self, address: &'a Address) -> Connecting<'a> {
            let Address::Socket(address) = address else { unreachable!() };
            let port = address.port();
            Box::pin(async move {
                match port {
                    1 => {
                        tokio::time::sleep(Duration::from_millis(10)).await;
                        Err(io::ErrorKind::ConnectionRefused.into())
                    }
                    2 => std::future::pending().await,
                    _ => {
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        Ok(Box::new(tokio::io::empty()) as BoxedIo)
                    }
                }
            })
        }
    }

    #[track_caller]
    fn addresses(texts: &[&str]) -> Vec<Address> {
        texts.iter().map(|text| Address::Socket(text.parse().unwrap())).collect()
    }

    async fn check(texts: &[&str], expected: Result<&str, io::ErrorKind>, after_ms: u64) {
        let start = Instant::now();
        let ended = connect_any(&Scripted, &addresses(texts), Duration::from_millis(250)).await;
        let ended = ended.map(|(address, _)| address.to_string()).map_err(|error| error.kind());
        assert_eq!(ended, expected.map(str::to_owned), "{texts:?}");
        assert_eq!(start.elapsed(), Duration::from_millis(after_ms), "{texts:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn rfc8305_the_first_that_answers_wins() {
        check(&["1.1.1.1:80", "[::1]:80"], Ok("1.1.1.1:80"), 100).await;
        // A silent first address costs the delay, a refusing one only its refusal.
        check(&["[::1]:2", "1.1.1.1:80"], Ok("1.1.1.1:80"), 350).await;
        check(&["[::1]:1", "1.1.1.1:80"], Ok("1.1.1.1:80"), 110).await;
        // Families alternate, so the silent second v6 address is not waited for.
        check(&["[::1]:2", "[::2]:2", "1.1.1.1:80"], Ok("1.1.1.1:80"), 350).await;
        check(&["1.1.1.1:1", "[::1]:1"], Err(io::ErrorKind::ConnectionRefused), 20).await;
        check(&[], Err(io::ErrorKind::NotFound), 0).await;
    }

    #[test]
    fn io_errors_are_classified() {
        use io::ErrorKind as Kind;
        for (kind, failure) in [
            (Kind::ConnectionRefused, ConnectFailure::Refused),
            (Kind::NotFound, ConnectFailure::Refused),
            (Kind::HostUnreachable, ConnectFailure::Unreachable),
            (Kind::NetworkUnreachable, ConnectFailure::Unreachable),
            (Kind::TimedOut, ConnectFailure::Timeout),
            (Kind::PermissionDenied, ConnectFailure::Other),
        ] {
            assert_eq!(classify(&kind.into()), failure, "{kind:?}");
        }
    }
}
