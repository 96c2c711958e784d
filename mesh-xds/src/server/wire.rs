//! [`Wire`]: the two variants of the protocol, behind one interface for the task of a stream.

use super::{DeltaStream, Refused, Snapshot, SotwStream};
use crate::protocol::Variant;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use std::sync::Arc;

/// A pure stream, and what the registry wants to know of its messages.
pub(super) trait Wire: Default + Send + 'static {
    type Request: Send + 'static;
    type Response: Send + 'static;
    const VARIANT: Variant;

    fn handle_request(
        &mut self,
        request: &Self::Request,
        snapshot: &Snapshot,
    ) -> Result<Vec<Self::Response>, Refused>;

    fn handle_snapshot(&mut self, snapshot: &Snapshot) -> Vec<Self::Response>;

    fn node_id(&self) -> Option<&Arc<str>>;

    fn asked(request: &Self::Request) -> Asked<'_>;

    fn sent(response: &Self::Response) -> Sent<'_>;
}

/// What of a request is an answer to a response.
pub(super) struct Asked<'a> {
    pub(super) type_url: &'a str,
    /// Of the response that is answered; empty: it answers none.
    pub(super) nonce: &'a str,
    /// Why the response is refused; `None`: it is accepted.
    pub(super) error: Option<&'a str>,
}

/// What of a response is told.
pub(super) struct Sent<'a> {
    pub(super) type_url: &'a str,
    pub(super) nonce: &'a str,
    pub(super) version: &'a str,
}

impl Wire for SotwStream {
    type Request = DiscoveryRequest;
    type Response = DiscoveryResponse;
    const VARIANT: Variant = Variant::StateOfTheWorld;

    fn handle_request(
        &mut self,
        request: &DiscoveryRequest,
        snapshot: &Snapshot,
    ) -> Result<Vec<DiscoveryResponse>, Refused> {
        self.handle_request(request, snapshot)
    }

    fn handle_snapshot(&mut self, snapshot: &Snapshot) -> Vec<DiscoveryResponse> {
        self.handle_snapshot(snapshot)
    }

    fn node_id(&self) -> Option<&Arc<str>> {
        self.node_id()
    }

    fn asked(request: &DiscoveryRequest) -> Asked<'_> {
        Asked {
            type_url: &request.type_url,
            nonce: &request.response_nonce,
            error: request.error_detail.as_ref().map(|error| error.message.as_str()),
        }
    }

    fn sent(response: &DiscoveryResponse) -> Sent<'_> {
        Sent {
            type_url: &response.type_url,
            nonce: &response.nonce,
            version: &response.version_info,
        }
    }
}

impl Wire for DeltaStream {
    type Request = DeltaDiscoveryRequest;
    type Response = DeltaDiscoveryResponse;
    const VARIANT: Variant = Variant::Delta;

    fn handle_request(
        &mut self,
        request: &DeltaDiscoveryRequest,
        snapshot: &Snapshot,
    ) -> Result<Vec<DeltaDiscoveryResponse>, Refused> {
        self.handle_request(request, snapshot)
    }

    fn handle_snapshot(&mut self, snapshot: &Snapshot) -> Vec<DeltaDiscoveryResponse> {
        self.handle_snapshot(snapshot)
    }

    fn node_id(&self) -> Option<&Arc<str>> {
        self.node_id()
    }

    fn asked(request: &DeltaDiscoveryRequest) -> Asked<'_> {
        Asked {
            type_url: &request.type_url,
            nonce: &request.response_nonce,
            error: request.error_detail.as_ref().map(|error| error.message.as_str()),
        }
    }

    fn sent(response: &DeltaDiscoveryResponse) -> Sent<'_> {
        Sent {
            type_url: &response.type_url,
            nonce: &response.nonce,
            version: &response.system_version_info,
        }
    }
}
