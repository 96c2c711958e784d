//! What a connection carries, where its port is to find that out ([`detect`](mesh_core::proxy::detect)).
//!
//! It comes last: after the header of the PROXY protocol, the handshake and network RBAC, so that what is looked at is
//! what the client says to the application. What was read is read again by whoever serves the connection. Nobody is
//! waited for longer than the chain says, and at most [`MAX_LINE`] bytes and one read are held for it.
//!
//! What it does not do: decide ([`Detection::decide`](mesh_core::inbound::Detection::decide)).

use super::accept::{Accepted, Acceptor, Ends};
use super::accept_error::AcceptError;
use super::connection::Connection;
use super::io::AcceptedIo;
use crate::observe::access_log::{Cut, StreamLine};
use bytes::{Bytes, BytesMut};
use mesh_core::inbound::{Carries, CompiledFilterChain, NeedsRequests};
use mesh_core::proxy::detect::{Beginning, Detector, MAX_LINE};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::time::{Instant, sleep};

/// Room for a read: most heads fit into it.
const READ: usize = 1024;

/// What an accepted connection carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carried {
    /// Requests.
    Requests,
    /// Bytes.
    Bytes,
}

impl Acceptor {
    /// Accepts the connection of which `io` are the bytes. It is for `bytes`, if those are what it carries; who has no use
    /// for them takes requests alone.
    ///
    /// # Errors
    /// Those of [`accept`](Self::accept), and [`AcceptError::NotHttp`].
    ///
    /// # Cancel safety
    /// Not cancel safe: what was read is lost.
    pub(super) async fn accept_for<I, T>(
        &self,
        io: I,
        ends: Ends,
        bytes: Option<T>,
    ) -> Result<(Accepted<I>, Option<T>), AcceptError>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        let mut accepted = self.accept(io, ends).await?;
        let Some(bytes) = bytes else { return Ok((accepted, None)) };
        let carried = self.carried(&mut accepted).await?;
        Ok((accepted, (carried == Carried::Bytes).then_some(bytes)))
    }

    /// Waits until it is known what a connection carries, and asks about bytes what there is to ask. One that is refused
    /// is counted.
    ///
    /// # Errors
    /// [`AcceptError::NotHttp`]: nobody could judge what it carries; [`AcceptError::Denied`]; [`AcceptError::Io`].
    async fn carried<I>(&self, accepted: &mut Accepted<I>) -> Result<Carried, AcceptError>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        let chain = Arc::clone(&accepted.connection.chain);
        let Some(detection) = chain.detection() else {
            return Ok(if chain.http().is_some() { Carried::Requests } else { Carried::Bytes });
        };
        if agreed_on_http(&accepted.connection) {
            return Ok(Carried::Requests);
        }
        let started = Instant::now();
        let begun = begins(&mut accepted.io, detection.timeout()).await;
        let decided = begun.map_err(AcceptError::Io).and_then(|(beginning, read)| {
            accepted.io.put_back(read);
            match detection.decide(beginning) {
                Ok(Carries::Requests) => Ok(Carried::Requests),
                Ok(Carries::Bytes(filters)) => {
                    let policy = self.allowed(&accepted.connection, filters)?;
                    if let (Some(_), Some(connection)) =
                        (&policy, Arc::get_mut(&mut accepted.connection))
                    {
                        connection.policy = policy;
                    }
                    Ok(Carried::Bytes)
                }
                Err(needs) => Err(not_http(&chain, beginning, needs)),
            }
        });
        decided.inspect_err(|error| {
            self.tell_refused(&accepted.connection, error, started.elapsed());
            self.refuse(error);
        })
    }

    /// Writes the line of a connection of bytes that is refused.
    fn tell_refused(&self, connection: &Arc<Connection>, error: &AcceptError, after: Duration) {
        let Some(log) = self.0.mesh.shared().logs.server.as_ref() else { return };
        match error {
            AcceptError::Denied { denied, .. } => {
                StreamLine::denied(log, connection, denied, after);
            }
            AcceptError::NotHttp { needs, .. } => {
                let details = needs.to_string();
                let (reason, details) = (Some("not_http"), Some(&*details));
                let cut = Cut { reason, details, ..Cut::default() };
                StreamLine::refused(log, connection, cut, after);
            }
            _ => {}
        }
    }
}

/// What both ends have agreed on need not be found out.
fn agreed_on_http(connection: &Connection) -> bool {
    matches!(connection.alpn.as_deref(), Some("h2" | "http/1.1" | "http/1.0"))
}

/// How a connection begins, and all that was read of it.
async fn begins<I>(io: &mut AcceptedIo<I>, timeout: Duration) -> io::Result<(Beginning, Bytes)>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let mut late = pin!(sleep(timeout));
    let (mut detector, mut read) = (Detector::new(), BytesMut::new());
    loop {
        let seen = read.len();
        read.reserve(READ);
        let came = tokio::select! {
            biased;
            came = io.read_buf(&mut read) => came?,
            () = &mut late => return Ok((Beginning::Silence, read.freeze())),
        };
        let beginning = match came {
            0 if seen == 0 => Some(Beginning::Nothing),
            0 => Some(Beginning::Other),
            _ => detector.look(&read[seen..]),
        };
        if let Some(beginning) = beginning {
            return Ok((beginning, read.freeze()));
        }
        debug_assert!(read.len() < MAX_LINE, "the detector tells by then");
    }
}

#[cold]
fn not_http(
    chain: &CompiledFilterChain,
    beginning: Beginning,
    needs: &NeedsRequests,
) -> AcceptError {
    let came = match beginning {
        Beginning::Silence => "said nothing that is HTTP in time",
        _ => "does not begin with HTTP",
    };
    AcceptError::NotHttp { chain: Arc::clone(&chain.model().name), came, needs: needs.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::io::{Kind, Rewind};
    use tokio::io::{AsyncWriteExt, DuplexStream, duplex};

    fn pair() -> (DuplexStream, AcceptedIo<DuplexStream>) {
        let (client, io) = duplex(64);
        (client, AcceptedIo(Kind::Plain(Rewind::new(Bytes::from_static(b"GE"), io))))
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_read_is_read_again() {
        let (mut client, mut io) = pair();
        let said = tokio::spawn(async move {
            for byte in b"T / HTTP/1.1\r\n" {
                sleep(Duration::from_millis(10)).await;
                client.write_all(&[*byte]).await.unwrap();
            }
            client.write_all(b"host: a\r\n\r\n").await.unwrap();
        });
        let (beginning, read) = begins(&mut io, Duration::from_secs(5)).await.unwrap();
        assert_eq!(beginning, Beginning::Http1);
        io.put_back(read);
        let mut all = String::new();
        io.read_to_string(&mut all).await.unwrap();
        assert_eq!(all, "GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        said.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_waited_for_any_longer() {
        let (mut client, mut io) = pair();
        client.write_all(b"T / HT").await.unwrap();
        let begun = Instant::now();
        let (beginning, read) = begins(&mut io, Duration::from_secs(5)).await.unwrap();
        assert_eq!((beginning, &*read), (Beginning::Silence, &b"GET / HT"[..]));
        assert_eq!(begun.elapsed().as_secs(), 5);
        // Who ends has said all that he will.
        drop(client);
        io.put_back(read);
        let (beginning, read) = begins(&mut io, Duration::from_secs(5)).await.unwrap();
        assert_eq!((beginning, &*read), (Beginning::Other, &b"GET / HT"[..]));
        let (beginning, read) = begins(&mut io, Duration::MAX).await.unwrap();
        assert_eq!((beginning, read.len()), (Beginning::Nothing, 0));
    }
}
