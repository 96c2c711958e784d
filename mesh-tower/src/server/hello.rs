//! [`Beginning`]: how a connection begins: with a TLS ClientHello, or with anything else.
//!
//! The first byte tells most of it: a record of the handshake begins with 0x16, and no request of HTTP does.
//! What is read is bounded, is kept, and is read again by whoever serves the connection.

use bytes::{Bytes, BytesMut};
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt};

/// The most bytes of a ClientHello (Envoy: `TLS_MAX_CLIENT_HELLO`).
#[cfg(feature = "tls")]
const MAX_HELLO: usize = 64 * 1024;

/// Room for the first read: a ClientHello with a key share of ML-KEM and one of X25519 is 1.5 to 2 KiB, and a
/// buffer that grows from nothing takes seven reads for it.
const FIRST_READ: usize = 4096;

/// The type of a record of the handshake (RFC 8446 section 5.1).
const HANDSHAKE: u8 = 0x16;

/// How a connection begins.
pub(super) enum Beginning {
    /// Not with a ClientHello; these bytes were read.
    Raw(Bytes),
    /// With one.
    #[cfg(feature = "tls")]
    Hello(Box<Hello>),
    /// As one does; without TLS nobody reads it.
    #[cfg(not(feature = "tls"))]
    Hello(Bytes),
    /// It ended before it began.
    Closed,
}

/// A ClientHello.
#[cfg(feature = "tls")]
pub(super) struct Hello {
    pub(super) accepted: rustls::server::Accepted,
    /// Everything that was read.
    pub(super) read: Bytes,
    /// How much of it rustls has taken.
    pub(super) taken: usize,
}

impl Beginning {
    /// Reads it.
    ///
    /// # Cancel safety
    /// Not: what was read is lost, and the connection with it.
    pub(super) async fn read<I: AsyncRead + Unpin>(io: &mut I) -> io::Result<Self> {
        let mut read = BytesMut::with_capacity(FIRST_READ);
        if io.read_buf(&mut read).await? == 0 {
            return Ok(Self::Closed);
        }
        if read.first() != Some(&HANDSHAKE) {
            return Ok(Self::Raw(read.freeze()));
        }
        Self::hello(io, read).await
    }

    #[cfg(not(feature = "tls"))]
    #[expect(clippy::unused_async, reason = "with TLS it reads on")]
    async fn hello<I>(_: &mut I, read: BytesMut) -> io::Result<Self> {
        Ok(Self::Hello(read.freeze()))
    }

    /// Reads on until the ClientHello is whole. What turns out to be none is raw, as for Envoy.
    #[cfg(feature = "tls")]
    async fn hello<I: AsyncRead + Unpin>(io: &mut I, mut read: BytesMut) -> io::Result<Self> {
        let mut acceptor = rustls::server::Acceptor::default();
        let mut taken = 0;
        loop {
            while taken < read.len() {
                let Ok(more @ 1..) = acceptor.read_tls(&mut &read[taken..]) else {
                    return Ok(Self::Raw(read.freeze()));
                };
                taken += more;
                match acceptor.accept() {
                    Ok(None) => {}
                    Ok(Some(accepted)) => {
                        let read = read.freeze();
                        return Ok(Self::Hello(Box::new(Hello { accepted, read, taken })));
                    }
                    Err(_no_hello) => return Ok(Self::Raw(read.freeze())),
                }
            }
            if read.len() >= MAX_HELLO || io.read_buf(&mut read).await? == 0 {
                return Ok(Self::Raw(read.freeze()));
            }
        }
    }
}

#[cfg(test)]
#[cfg(feature = "tls-aws-lc")]
mod tests {
    use super::*;
    use rustls::crypto::aws_lc_rs;
    use std::pin::Pin;
    use std::sync::Arc;
    use std::task::{Context, Poll};
    use tokio::io::ReadBuf;

    /// Gives as much as is asked for, and counts how often it is asked.
    struct Counted {
        bytes: Bytes,
        reads: usize,
    }

    impl AsyncRead for Counted {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            self.reads += 1;
            let count = self.bytes.len().min(buf.remaining());
            buf.put_slice(&self.bytes.split_to(count));
            Poll::Ready(Ok(()))
        }
    }

    fn hello() -> Bytes {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        let name = "shop.example".try_into().unwrap();
        let mut client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        bytes.into()
    }

    #[tokio::test]
    async fn a_client_hello_is_one_read() {
        let bytes = hello();
        assert!(bytes.len() > 1024, "it has a key share of ML-KEM: {}", bytes.len());
        let mut io = Counted { bytes: bytes.clone(), reads: 0 };
        let Beginning::Hello(hello) = Beginning::read(&mut io).await.unwrap() else {
            panic!("it is a ClientHello");
        };
        assert_eq!((io.reads, hello.taken, &hello.read), (1, bytes.len(), &bytes));
    }
}
