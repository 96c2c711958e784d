//! Between protobuf and the protocol's own messages.

use crate::decode::{self, Context, Decoded};
use crate::protocol::{Body, Content, Received, Request, ResourceError, Response};
use crate::{Resource, ResourceType, store};
use bytes::Bytes;
use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3 as discovery;
use envoy_types::pb::google::protobuf::Any;
use envoy_types::pb::google::rpc::Status;
use prost::Message;
use std::sync::Arc;
use std::time::Duration;
use xxhash_rust::xxh64::xxh64;

/// What wraps a resource in the state of the world (client feature `xds.config.resource-in-sotw`).
const WRAPPER: &str = "type.googleapis.com/envoy.service.discovery.v3.Resource";

/// `INVALID_ARGUMENT`: the code of a NACK.
const INVALID_ARGUMENT: i32 = 3;

/// A response, and the values of its resources by their index.
pub(super) struct Incoming {
    pub(super) response: Response,
    pub(super) values: Vec<Option<(Resource, Bytes)>>,
}

/// A request of either variant.
#[derive(Debug)]
pub(super) enum Outgoing {
    StateOfTheWorld(Box<discovery::DiscoveryRequest>),
    Delta(Box<discovery::DeltaDiscoveryRequest>),
}

/// Writes a request; `node` goes with the first one.
pub(super) fn request(request: Request, node: &Node) -> Outgoing {
    let Request { kind, node: with_node, nonce, error, body, .. } = request;
    let node = with_node.then(|| node.clone());
    let type_url = kind.type_url().to_owned();
    let response_nonce = nonce.to_string();
    let error_detail = error.map(|error| Status {
        code: INVALID_ARGUMENT,
        message: error.to_string(),
        details: Vec::new(),
    });
    let owned = |names: Vec<Arc<str>>| names.iter().map(|name| name.to_string()).collect();
    match body {
        Body::StateOfTheWorld { version, names } => {
            Outgoing::StateOfTheWorld(Box::new(discovery::DiscoveryRequest {
                version_info: version.to_string(),
                node,
                resource_names: owned(names),
                type_url,
                response_nonce,
                error_detail,
                ..discovery::DiscoveryRequest::default()
            }))
        }
        Body::Delta { subscribe, unsubscribe, initial_versions } => {
            let versions = initial_versions.iter();
            Outgoing::Delta(Box::new(discovery::DeltaDiscoveryRequest {
                node,
                type_url,
                resource_names_subscribe: owned(subscribe),
                resource_names_unsubscribe: owned(unsubscribe),
                initial_resource_versions: versions
                    .map(|(name, version)| (name.to_string(), version.to_string()))
                    .collect(),
                response_nonce,
                error_detail,
                ..discovery::DeltaDiscoveryRequest::default()
            }))
        }
    }
}

/// Reads a response of the state of the world; `None`: its type is none of ours.
pub(super) fn state_of_the_world(
    message: discovery::DiscoveryResponse,
    context: &Context,
) -> Option<Incoming> {
    let kind = ResourceType::from_type_url(&message.type_url)?;
    let mut incoming = Incoming::new(Response::new(kind, message.version_info, message.nonce));
    for any in message.resources {
        if any.type_url == WRAPPER {
            match discovery::Resource::decode(&*any.value) {
                Ok(wrapped) => incoming.add_wrapped(wrapped, context),
                Err(invalid) => {
                    incoming.add_bad(None, &format!("a wrapper that is none: {invalid}"))
                }
            }
        } else {
            incoming.add(None, any, context);
        }
    }
    incoming.errors(message.resource_errors);
    Some(incoming)
}

/// Reads a delta response; `None`: its type is none of ours.
pub(super) fn delta(
    message: discovery::DeltaDiscoveryResponse,
    context: &Context,
) -> Option<Incoming> {
    let kind = ResourceType::from_type_url(&message.type_url)?;
    let response = Response::new(kind, message.system_version_info, message.nonce);
    let mut incoming = Incoming::new(response);
    for resource in message.resources {
        incoming.add_wrapped(resource, context);
    }
    incoming.response.removed = message.removed_resources.into_iter().map(Arc::from).collect();
    incoming.errors(message.resource_errors);
    Some(incoming)
}

impl Incoming {
    /// A value, and how it was received.
    pub(super) fn take(&mut self, index: usize) -> Option<(Resource, store::Received)> {
        let (value, body) = self.values.get_mut(index)?.take()?;
        let received = self.response.resources.get(index)?;
        let Content::Good { hash } = received.content else { return None };
        let version = received.version.as_ref().unwrap_or(&self.response.version);
        Some((value, store::Received::new(Arc::clone(version), hash, body)))
    }

    /// A good resource as it was received.
    pub(super) fn body(&self, index: usize) -> Option<Bytes> {
        let (_, body) = self.values.get(index)?.as_ref()?;
        Some(body.clone())
    }

    const fn new(response: Response) -> Self {
        Self { response, values: Vec::new() }
    }

    fn add_wrapped(&mut self, wrapped: discovery::Resource, context: &Context) {
        let discovery::Resource { name, version, resource, ttl, .. } = wrapped;
        let name = (!name.is_empty()).then(|| Arc::from(name));
        match resource {
            Some(any) => self.add(name, any, context),
            None => {
                let heartbeat = Received::new(name, Content::Heartbeat);
                self.push(heartbeat, None);
            }
        }
        if let Some(received) = self.response.resources.last_mut() {
            received.version = (!version.is_empty()).then(|| version.into());
            // A negative one has passed already.
            received.ttl = ttl.map(|ttl| {
                let nanos = u32::try_from(ttl.nanos).unwrap_or_default().min(999_999_999);
                Duration::new(u64::try_from(ttl.seconds).unwrap_or_default(), nanos)
            });
        }
    }

    fn add(&mut self, name: Option<Arc<str>>, any: Any, context: &Context) {
        let kind = self.response.kind;
        if any.type_url != kind.type_url() {
            let error =
                format!("its type is {:?}, the response's {:?}", any.type_url, kind.type_url());
            self.add_bad(name, &error);
            return;
        }
        let Decoded { name: own, resource, ignored, .. } =
            decode::decode(kind, &any.value, context);
        let name = name.or(own);
        for field in ignored {
            let resource = name.as_deref().unwrap_or_default();
            tracing::debug!(
                target: "mesh::xds", %kind, resource, field = field.path, reason = field.reason,
                "a field is set that does nothing here"
            );
        }
        match resource {
            Ok(value) => {
                let content = Content::Good { hash: xxh64(&any.value, 0) };
                self.push(Received::new(name, content), Some((value, any.value.into())));
            }
            Err(errors) => {
                let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
                self.add_bad(name, &errors.join("; "));
            }
        }
    }

    fn add_bad(&mut self, name: Option<Arc<str>>, error: &str) {
        self.push(Received::new(name, Content::Bad(error.into())), None);
    }

    fn push(&mut self, received: Received, value: Option<(Resource, Bytes)>) {
        self.response.resources.push(received);
        self.values.push(value);
    }

    fn errors(&mut self, errors: Vec<discovery::ResourceError>) {
        let errors = errors.into_iter().filter_map(|error| {
            let name = error.resource_name?.name;
            let status = error.error_detail.unwrap_or_default();
            // A code that is none of gRPC's counts as UNKNOWN.
            let code = u32::try_from(status.code).unwrap_or(2);
            Some(ResourceError::new(name, code, status.message))
        });
        self.response.errors = errors.collect();
    }
}
