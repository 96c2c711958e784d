//! [`OwnPorts`]: the ports of a proxy itself, to which it never connects.

use super::dial::{Connect, Connecting};
use arc_swap::ArcSwap;
use mesh_core::model::Address;
use std::io;
use std::sync::Arc;

/// The ports of a proxy itself. Who connects to one of them through the proxy would send to himself for ever.
#[derive(Debug, Default)]
pub(crate) struct OwnPorts(ArcSwap<Vec<Address>>);

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is a port of this proxy itself: write where the service listens")]
pub(super) struct OwnPort(Address);

impl OwnPorts {
    /// These are all of them from now on.
    pub(crate) fn are(&self, ports: Vec<Address>) {
        self.0.store(Arc::new(ports));
    }
}

/// Connects to others.
#[derive(Debug)]
pub(crate) struct ToOthers {
    dial: Arc<dyn Connect>,
    own: Arc<OwnPorts>,
}

impl ToOthers {
    pub(crate) const fn new(dial: Arc<dyn Connect>, own: Arc<OwnPorts>) -> Self {
        Self { dial, own }
    }
}

impl Connect for ToOthers {
    fn connect<'a>(&'a self, address: &'a Address) -> Connecting<'a> {
        if self.own.0.load().iter().any(|own| own.covers(address)) {
            let error = io::Error::other(OwnPort(address.clone()));
            return Box::pin(std::future::ready(Err(error)));
        }
        self.dial.connect(address)
    }

    fn secures(&self) -> bool {
        self.dial.secures()
    }
}

#[cfg(test)]
mod tests {
    use super::super::dial::{self, TcpConnector};
    use super::*;
    use mesh_core::outcome::ConnectFailure;

    #[tokio::test]
    async fn nobody_connects_to_himself() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let here: Address = listener.local_addr().unwrap().into();
        let own = Arc::new(OwnPorts::default());
        let dial = ToOthers::new(Arc::new(TcpConnector), Arc::clone(&own));
        assert!(dial.connect(&here).await.is_ok());
        own.are(vec![here.clone()]);
        let Err(error) = dial.connect(&here).await else { panic!("connected") };
        assert_eq!(dial::classify(&error), ConnectFailure::OwnPort);
        own.are(Vec::new());
        assert!(dial.connect(&here).await.is_ok());
    }
}
