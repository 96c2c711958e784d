//! [`on_close`]: byte streams whose end is no good end.
//!
//! Closing a TCP socket says that all was said (FIN). Where more would have come, its peer must not take what came for
//! the whole: it is told by a reset, as Envoy does (`SO_LINGER` of zero, where the other side was reset).

use crate::connect::BoxedIo;
#[cfg(feature = "tls")]
use crate::tls::client_io::SecureIo;
use std::any::Any;
use tokio::net::TcpStream;

/// Closing `io` resets it from now on, where it is a TCP socket; what was written and not sent is lost with it.
pub(crate) fn on_close(io: &dyn Any) {
    if let Some(socket) = io.downcast_ref::<TcpStream>() {
        // One of which the system knows nothing any more needs no reset.
        let _gone = socket.set_zero_linger();
    }
}

/// The same of a connection to an endpoint. Over TLS it also goes without a farewell (RFC 8446 section 6.1).
pub(crate) fn on_close_of(io: &BoxedIo) {
    let io: &dyn Any = &**io;
    #[cfg(feature = "tls")]
    if let Some(secured) = io.downcast_ref::<SecureIo>() {
        return on_close_of(secured.below());
    }
    on_close(io);
}
