//! [`XdsSource`]: an xDS control plane.
//!
//! By name, as gRPC clients ask: the authority that a call is made to is the name of a listener, and the
//! first call to it makes it known ([`Demand`](super::Demand)). What was learnt stays in force when the
//! control plane is lost.

use super::{RejectCause, Rejected, Sink, Source};
use futures_core::future::BoxFuture;
use mesh_core::update::Origin;
use mesh_xds::client::{Client, ClientEvent};
use std::sync::Arc;

pub use mesh_xds::bootstrap::Bootstrap;
pub use mesh_xds::protocol::Variant;

/// Configuration from an xDS control plane.
///
/// # Examples
/// ```no_run
/// use mesh_tower::Mesh;
/// use mesh_tower::source::{Bootstrap, XdsSource};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let bootstrap = Bootstrap::parse(r#"{
///     "xds_servers": [{ "server_uri": "127.0.0.1:18000", "channel_creds": [{ "type": "insecure" }] }],
///     "node": { "id": "checkout-7" }
/// }"#)?;
/// let mesh = Mesh::builder().source(XdsSource::new(bootstrap)).build()?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct XdsSource {
    bootstrap: Bootstrap,
    variant: Variant,
    authorities: Vec<Arc<str>>,
}

impl XdsSource {
    /// The control plane that `bootstrap` names, asked in the state of the world.
    #[must_use]
    pub const fn new(bootstrap: Bootstrap) -> Self {
        Self { bootstrap, variant: Variant::StateOfTheWorld, authorities: Vec::new() }
    }

    /// Asks in this variant first. A server that does not speak it is asked in the other one.
    #[must_use]
    pub const fn variant(mut self, variant: Variant) -> Self {
        self.variant = variant;
        self
    }

    /// Asks for `authority` from the start, and not only when a call is made to it.
    /// [`Mesh::ready`](crate::Mesh::ready) waits for the answer.
    #[must_use]
    pub fn authority(mut self, authority: &str) -> Self {
        self.authorities.push(authority.to_ascii_lowercase().into());
        self
    }
}

impl Source for XdsSource {
    fn start(self: Box<Self>, sink: Sink) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let mut demand = sink.on_demand();
            let mut client = Client::new(&self.bootstrap, self.variant);
            for authority in &self.authorities {
                client.want(authority, DEFAULT_PORT);
            }
            let mut published = None;
            loop {
                tokio::select! {
                    interest = demand.next() => {
                        client.want(&interest.authority, interest.default_port);
                    }
                    event = client.next() => hand_over(event, &mut published, &sink),
                }
            }
        })
    }

    fn is_on_demand(&self) -> bool {
        true
    }
}

/// Of an authority without a port that is asked for from the start.
const DEFAULT_PORT: u16 = 80;

/// `published`: what was published last.
fn hand_over(event: ClientEvent, published: &mut Option<Origin>, sink: &Sink) {
    match event {
        ClientEvent::Update(update) => {
            *published = Some(update.origin.clone());
            sink.publish(update);
        }
        ClientEvent::Refused { kind, name, error, .. } => {
            let mut rejected = Rejected::new(RejectCause::Invalid, [error.to_string()]);
            rejected.origin = Origin::new(format!("{kind} {name}"), "");
            rejected.kept.clone_from(published);
            sink.reject(rejected);
        }
        ClientEvent::Unreachable { server, error, failures } => {
            tracing::warn!(
                target: "mesh", %server, failures,
                "control plane unreachable, what was learnt stays: {error}"
            );
        }
        ClientEvent::Reachable { server } => {
            tracing::info!(target: "mesh", %server, "control plane reachable");
        }
        _ => {}
    }
}
