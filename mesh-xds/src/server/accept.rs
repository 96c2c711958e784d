//! The connections of a listener: what can't be accepted is waited for.
//!
//! A process without a file descriptor to spare is told so at once and again and again, while the connection stays in
//! the queue: without a rest that is a busy loop, at the time when the process has the least to spare. A connection whose
//! client has left before it was accepted says nothing of the next one, for which nobody rests.

use super::connection::Connection;
use std::io::{Error, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::sleep;

/// After a connection could not be accepted.
const BREATH: Duration = Duration::from_millis(100);

/// The next connection.
///
/// # Cancel safety
/// Cancel safe: nothing that was accepted is lost.
pub(super) async fn next(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            // Responses are small and must not wait for more of them. An error: it is gone already.
            Ok((stream, address)) if stream.set_nodelay(true).is_ok() => return (stream, address),
            Ok(_gone) => {}
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                // Out of descriptors, mostly: others give some back.
                tracing::warn!(target: "mesh::ads", "no connection accepted: {error}");
                sleep(BREATH).await;
            }
        }
    }
}

/// Whether only the connection that was to be accepted is lost.
fn is_of_one_connection(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionRefused | ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset
    )
}

/// Hands over what connects, as it is, until nobody takes it any more.
pub(super) async fn plain(listener: TcpListener, accepted: mpsc::Sender<Connection<TcpStream>>) {
    loop {
        // Not before there is a place for it: until then it waits in the queue of the socket.
        let Ok(place) = accepted.reserve().await else { return };
        let (stream, address) = next(&listener).await;
        place.send(Connection::new(stream).with_address(address));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_concerns_the_next_connection_too_is_rested_for() {
        for (kind, of_one) in [
            (ErrorKind::ConnectionAborted, true),
            (ErrorKind::ConnectionReset, true),
            (ErrorKind::ConnectionRefused, true),
            (ErrorKind::OutOfMemory, false),
            (ErrorKind::InvalidInput, false),
        ] {
            assert_eq!(is_of_one_connection(&kind.into()), of_one, "{kind}");
        }
        // EMFILE has no kind of its own.
        assert!(!is_of_one_connection(&Error::other("no file descriptor is left")));
    }
}
