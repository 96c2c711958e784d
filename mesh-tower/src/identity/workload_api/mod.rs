//! [`WorkloadIdentity`]: an identity from the SPIFFE Workload API, as SPIRE's agent serves it.
//!
//! A workload opens one stream on a local socket and is sent its X.509-SVID, and again whenever the agent has
//! a new one or other bundles (SPIFFE: `standards/SPIFFE_Workload_API.md`, section 5). Agents restart, hang and
//! lose their own identity, so:
//!
//! - Whatever ends a stream, a new one is opened: after 100 ms, then twice as long each time up to 500 ms,
//!   each shortened by up to a fifth by chance. So an identity is in force within 1 s of the agent's return.
//!   The wait is short again after a stream that was good and lived for 5 s.
//!   `PermissionDenied` is no exception: the entry of a workload that starts may be on its way (SPIFFE
//!   Workload API, section 4.2).
//! - A stream that says nothing within 5 s is given up. After its first message silence is what it is for,
//!   so an agent that hangs is found when a renewal is due: then a new stream is opened in place of the old.
//!   (No PINGs: servers of grpc-go close connections whose clients send them.)
//! - A renewal is asked for at 57 to 63 % of the life. SPIRE's agent sends one at 45 to 55 %, so nothing is
//!   asked for while all is well.
//! - What is bad, as a whole or in part, changes nothing, and is asked for again as after every failure
//!   ([`Rotation`](mesh_core::identity::Rotation)). The last good identity serves until its own end. But
//!   nobody is believed on because something else is bad: its lists of revoked certificates are in force.
//!
//! A message may have 4 MiB.
//!
//! ```text
//!                 ┌── wait ◀── ended, bad, silent ──┐
//!                 ▼                                 │
//!   start ──▶ connect ──▶ first message ──▶ next messages ──▶ (renewal wanted) ──▶ connect
//! ```
//!
//! What it does not do: JWT-SVIDs; bundles for workloads without an SVID.

mod endpoint;
pub(in crate::identity) mod message;
mod svid;

pub use endpoint::InvalidEndpoint;

use super::chain::Lists;
use super::{IdentitySink, IdentitySource};
use crate::error::with_sources;
use crate::net::Draw;
use crate::protobuf::Raw;
use bytes::Bytes;
use endpoint::{VARIABLE, WorkloadEndpoint};
use futures_core::future::BoxFuture;
use http::uri::PathAndQuery;
use mesh_core::Random as _;
use mesh_core::identity::{RotationOptions, SpiffeId};
use message::{FETCH, Response, SECURITY_HEADER};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use svid::{Choice, lists, material};
use tokio::time::{Instant, sleep, timeout};
use tonic::client::Grpc;
use tonic::transport::Endpoint;
use tonic::{Code, Status, Streaming};

/// How long an agent may take from the connection to its first message.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bounds of the wait before another stream.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(500));
/// How long a good stream must have lived for the next wait to be short: an agent that ends each stream after
/// its first message would have ten a second.
const STEADY: Duration = Duration::from_secs(5);
/// How soon a dead peer of a TCP connection is looked for.
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);

/// An identity from the SPIFFE Workload API.
///
/// # Examples
/// ```no_run
/// use mesh_tower::Mesh;
/// use mesh_tower::identity::WorkloadIdentity;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let identity = WorkloadIdentity::new("unix:///run/spire/agent.sock")?;
/// let mesh = Mesh::builder().file("mesh.yaml").identity(identity).build()?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct WorkloadIdentity {
    endpoint: WorkloadEndpoint,
    choice: Choice,
}

impl WorkloadIdentity {
    /// Asks the agent at `endpoint`: `unix:///path` or `tcp://address:port`.
    ///
    /// # Errors
    /// [`InvalidEndpoint::Rule`]: it is written otherwise.
    pub fn new(endpoint: &str) -> Result<Self, InvalidEndpoint> {
        let endpoint = WorkloadEndpoint::parse(endpoint)?;
        Ok(Self { endpoint, choice: Choice::default() })
    }

    /// Asks the agent that `SPIFFE_ENDPOINT_SOCKET` names.
    ///
    /// # Errors
    /// [`InvalidEndpoint`]: it is not set, or not an endpoint.
    pub fn from_env() -> Result<Self, InvalidEndpoint> {
        match std::env::var(VARIABLE) {
            Ok(endpoint) if !endpoint.is_empty() => Self::new(&endpoint),
            _ => Err(InvalidEndpoint::NotSet),
        }
    }

    /// Of several identities, takes the first with this hint of the operator's. Default: the first of all.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<Arc<str>>) -> Self {
        self.choice = Choice::Hint(hint.into());
        self
    }

    /// Of several identities, takes this one. Default: the first of all.
    #[must_use]
    pub fn id(mut self, id: SpiffeId) -> Self {
        self.choice = Choice::Id(id);
        self
    }

    async fn run(self, sink: IdentitySink) {
        let mut failures = 0;
        loop {
            let (since, mut was_good) = (Instant::now(), false);
            let trouble = tokio::select! {
                trouble = self.attend(&sink, &mut was_good) => Some(trouble),
                // Whatever the stream has to say, another one says it at once.
                () = sink.wanted() => None,
            };
            if was_good && since.elapsed() >= STEADY {
                failures = 0;
            }
            let Some(trouble) = trouble else { continue };
            sink.failed(&Told(&self.endpoint, &trouble));
            let wait = pause(failures, Draw.unit());
            failures = failures.saturating_add(1);
            tokio::select! {
                () = sleep(wait) => {}
                () = sink.wanted() => {}
            }
        }
    }

    /// Opens a stream and publishes what comes, until it ends. `was_good`: something of it was.
    async fn attend(&self, sink: &IdentitySink, was_good: &mut bool) -> Trouble {
        let opened = timeout(PATIENCE, async {
            let mut stream = self.open().await?;
            let first = stream.message().await.map_err(Trouble::from)?;
            Ok((first.ok_or(Trouble::Ended)?, stream))
        });
        let (mut message, mut stream) = match opened.await {
            Ok(Ok(opened)) => opened,
            Ok(Err(trouble)) => return trouble,
            Err(_elapsed) => return Trouble::Silent,
        };
        loop {
            *was_good |= self.take(&message, sink);
            message = match stream.message().await {
                Ok(Some(message)) => message,
                Ok(None) => return Trouble::Ended,
                Err(status) => return status.into(),
            };
        }
    }

    async fn open(&self) -> Result<Streaming<Bytes>, Trouble> {
        let endpoint = Endpoint::from_shared(self.endpoint.uri())
            .map_err(|error| Trouble::unreachable(&error))?;
        let endpoint = endpoint.tcp_keepalive(Some(TCP_KEEPALIVE));
        let channel = endpoint.connect().await.map_err(|error| Trouble::unreachable(&error))?;
        let mut client = Grpc::new(channel);
        client.ready().await.map_err(|error| Trouble::unreachable(&error))?;
        // `X509SVIDRequest` has no fields.
        let mut request = tonic::Request::new(Bytes::new());
        let (name, value) = SECURITY_HEADER;
        request.metadata_mut().insert(name, tonic::metadata::MetadataValue::from_static(value));
        let path = PathAndQuery::from_static(FETCH);
        Ok(client.server_streaming(request, path, Raw).await?.into_inner())
    }

    /// Whether it is in force.
    fn take(&self, message: &Bytes, sink: &IdentitySink) -> bool {
        let bad = |error: &dyn fmt::Display| Trouble::Bad(error.to_string());
        let response = Response::read(message).map_err(|error| bad(&error));
        let crl = response.as_ref().map(|response| response.crl.clone()).unwrap_or_default();
        let material = response
            .and_then(|response| material(response, &self.choice).map_err(|error| bad(&error)));
        let verified =
            material.and_then(|material| sink.verify(material).map_err(|error| bad(&error)));
        let is_good = verified.is_ok();
        match verified {
            Ok(verified) => sink.publish_verified(verified),
            Err(trouble) => {
                let _is_new = sink.revoke(&Lists::usable(lists(crl)));
                sink.failed(&Told(&self.endpoint, &trouble));
            }
        }
        is_good
    }
}

impl IdentitySource for WorkloadIdentity {
    fn start(self: Box<Self>, sink: IdentitySink) -> BoxFuture<'static, ()> {
        Box::pin(self.run(sink))
    }

    fn rotation(&self) -> RotationOptions {
        let mut options = RotationOptions::default();
        (options.renew_at, options.jitter) = (Some(600), 50);
        options
    }
}

/// How long to wait after so many failures in a row; `chance` is from 0 to 1.
fn pause(failures: u32, chance: f64) -> Duration {
    let (least, most) = PAUSE;
    let wait = least.saturating_mul(1 << failures.min(8)).min(most);
    wait - wait.mul_f64(0.2 * chance)
}

/// Why there is no news from an agent, or none that are good.
enum Trouble {
    Unreachable(String),
    Silent,
    Ended,
    Denied(String),
    Failed(Status),
    Bad(String),
}

impl Trouble {
    fn unreachable(error: &tonic::transport::Error) -> Self {
        Self::Unreachable(with_sources(error))
    }
}

impl From<Status> for Trouble {
    fn from(status: Status) -> Self {
        match status.code() {
            Code::PermissionDenied => Self::Denied(status.message().to_owned()),
            _ => Self::Failed(status),
        }
    }
}

/// With whom there is trouble.
struct Told<'a>(&'a WorkloadEndpoint, &'a Trouble);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(endpoint, trouble) = self;
        write!(f, "the Workload API at `{endpoint}` ")?;
        match trouble {
            Trouble::Unreachable(error) => {
                write!(
                    f,
                    "can't be reached: {error}; is the agent running, and may we open its socket?"
                )
            }
            Trouble::Silent => {
                write!(f, "said nothing for {} s: is the agent hanging?", PATIENCE.as_secs())
            }
            Trouble::Ended => f.write_str("ended the stream"),
            Trouble::Denied(said) => write!(
                f,
                "has no identity for this process ({said}): is there an entry whose selectors fit it?"
            ),
            Trouble::Failed(status) => {
                write!(f, "failed: {:?}: {}", status.code(), status.message())
            }
            Trouble::Bad(error) => write!(f, "sent what can't be used: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Less than a second, whatever happened before: what is missing then is the time to connect.
    #[test]
    fn waits_are_bounded() {
        let millis = |failures, chance| pause(failures, chance).as_millis();
        let waits: Vec<_> = (0..6).map(|failures| millis(failures, 0.0)).collect();
        assert_eq!(waits, [100, 200, 400, 500, 500, 500]);
        assert_eq!((millis(0, 1.0), millis(u32::MAX, 1.0)), (80, 400));
    }
}
