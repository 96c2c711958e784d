//! [`StreamLine`] and [`OfPort`]: the lines of a connection of bytes that a port passes on.
//!
//! It has two, as a request has: that of the port, which knows who came and what let him in, and that of the call which
//! it is for the cluster ([`tcp`](crate::tcp)), which knows the attempts and the endpoint. An id that is given to both
//! joins them. There is no request, so there is neither method nor status (Envoy: the access log of its TCP proxy).

use super::line::{Came, Line, Logging, Received};
use crate::clock;
use crate::net::Draw;
use crate::server::Connection;
use http::{HeaderMap, Method, Uri, Version};
use mesh_core::Timestamp;
use mesh_core::access_log::{Record, Side};
use mesh_core::local_reply::ResponseFlag;
use mesh_core::proxy::identify;
use mesh_core::rbac::Denied;
use smallvec::SmallVec;
use std::sync::Arc;
use std::time::Duration;

/// The connection that a call passes on: an extension of its request.
#[derive(Clone, Debug)]
pub(crate) struct OfPort(pub(crate) Arc<Connection>);

impl OfPort {
    /// Says of a record what the connection is, and that it is no request.
    pub(super) fn tell<'r>(&'r self, record: &mut Record<'r>) {
        (record.is_bytes, record.status) = (true, None);
        (record.remote, record.local) = (self.0.remote, self.0.local);
        record.listener = Some(self.0.listener());
        record.server_name = Some(&self.0.server_name);
    }
}

/// The port's line of a connection, until that is over.
#[derive(Debug)]
pub(crate) struct StreamLine {
    line: Box<Line>,
    of: OfPort,
}

/// Why a connection has not come to its end.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cut<'a> {
    pub(crate) flag: Option<ResponseFlag>,
    pub(crate) reason: Option<&'a str>,
    pub(crate) details: Option<&'a str>,
    /// The policy that denied it.
    pub(crate) policy: Option<&'a str>,
}

impl StreamLine {
    /// Begins it; `headers` have the id that both lines have.
    pub(crate) fn new(
        logging: &Arc<Logging>,
        connection: &Arc<Connection>,
        headers: &HeaderMap,
        started: Timestamp,
    ) -> Self {
        let (method, uri) = (&Method::CONNECT, &Uri::default());
        let came = Came { method, uri, version: Version::HTTP_11, headers };
        let line = Line::new(logging, came, started);
        Self { line, of: OfPort(Arc::clone(connection)) }
    }

    /// Writes the line of one that policies have denied after so long.
    #[cold]
    pub(crate) fn denied(
        logging: &Arc<Logging>,
        connection: &Arc<Connection>,
        denied: &Denied,
        after: Duration,
    ) {
        let details = denied.response_code_details();
        let policy = Some(denied.policy.as_deref().unwrap_or("none"));
        let (reason, details) = (Some("rbac_denied"), Some(&*details));
        Self::refused(logging, connection, Cut { flag: None, reason, details, policy }, after);
    }

    /// Writes the line of one that was not passed on. One of HTTP has lines for its requests, and none for itself.
    #[cold]
    pub(crate) fn refused(
        logging: &Arc<Logging>,
        connection: &Arc<Connection>,
        cut: Cut<'_>,
        after: Duration,
    ) {
        let (now, mut headers) = (clock::now(), HeaderMap::new());
        identify(&mut headers, &mut Draw);
        Self::new(logging, connection, &headers, now - after).write((0, 0), cut, now);
    }

    /// Writes it: so many bytes came, and so many went back.
    #[cold]
    pub(crate) fn write(mut self, (received, sent): (u64, u64), cut: Cut<'_>, now: Timestamp) {
        (self.line.received, self.line.sent) = (Received::Known(received), sent);
        let connection = &*self.of.0;
        let certificate = connection.peer.certificate();
        let uris = certificate.map(|certificate| &*certificate.uris).unwrap_or_default();
        let peer_uris: SmallVec<[&str; 2]> = uris.iter().map(|uri| &**uri).collect();
        let of_mesh;
        let own = match connection.own_uris.as_deref() {
            Some(own) => own,
            None => {
                of_mesh = self.line.logging.own_uris();
                of_mesh.as_slice()
            }
        };
        let own: SmallVec<[&str; 2]> = own.iter().map(|uri| &**uri).collect();
        let flags: SmallVec<[_; 1]> = cut.flag.into_iter().collect();
        let mut record = self.line.record(Side::Server, now);
        self.of.tell(&mut record);
        (record.flags, record.reason, record.details) = (&flags, cut.reason, cut.details);
        record.peer_uris = &peer_uris;
        record.peer_subject = certificate.map(|certificate| &*certificate.subject);
        record.peer_identity = connection.peer.principals().next();
        (record.own_uris, record.own_identity) = (&own, own.first().copied());
        record.policy = cut.policy.or(connection.policy.as_deref());
        record.attempt = 1;
        self.line.logging.log.write(record);
    }
}
