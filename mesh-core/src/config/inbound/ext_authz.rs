//! `ext_authz`: who is asked whether a request may go on (Envoy: `ext_authz`).
//!
//! It stands behind `deny`, `allow` and `jwt`, so that it is asked about no more than they let through.

use super::super::code;
use super::super::fields::Fields;
use super::super::node::Node;
use super::super::reader::Reader;
use super::super::shape::{Kind, Shape, key, words};
use super::super::value::{Value, word};
use crate::model::http_filter::{AuthzService, ExtAuthz, GrpcService, HttpAuthz, HttpUri};
use std::sync::Arc;
use std::time::Duration;

/// Envoy's default of both services.
const TIMEOUT: Duration = Duration::from_millis(200);

const ON_ERROR: [(&str, bool); 2] = [("deny", false), ("allow", true)];
const SERVICES: [&str; 2] = ["grpc", "http"];

static EXT_AUTHZ: Shape = Shape::new(
    "ext_authz",
    &[&[
        key(
            "grpc",
            Kind::Text,
            "The cluster of the authorizer that is asked over gRPC (`envoy.service.auth.v3.Authorization`).",
        ),
        key(
            "http",
            Kind::Text,
            "The cluster of the authorizer that is asked over HTTP: 200 means yes, anything else is the answer.",
        ),
        key(
            "timeout",
            Kind::POSITIVE_TIME,
            "How long is waited for its answer; the request's own deadline counts too. Default 200ms.",
        ),
        key(
            "on_error",
            Kind::Word(&words(&ON_ERROR)),
            "What becomes of a request that nobody answers about: deny (403), or allow. Default deny.",
        ),
    ]],
)
.exactly_one(&SERVICES);
pub(super) const EXT_AUTHZ_KIND: Kind = Kind::Mapping(&EXT_AUTHZ);

impl Value for ExtAuthz {
    fn read(reader: &mut Reader<'_>, node: &Node, kind: &'static Kind) -> Option<Self> {
        let fields = Fields::open(reader, node, kind)?;
        let timeout: Option<Duration> = fields.read(reader, "timeout");
        let on_error = fields.value("on_error");
        let on_error = on_error.map(|(node, kind)| word(reader, node, kind, &ON_ERROR));
        let codes = (code::MISSING_KEY, code::CONFLICTING_KEYS);
        let named = fields.exactly_one(reader, &SERVICES, codes)?;
        let cluster: Arc<str> = reader.scalar(&named.value, "the name of a cluster")?.text.into();
        reader.refer(&cluster, named.value.span);
        let timeout = timeout.unwrap_or(TIMEOUT);
        let service = match &*named.key {
            "grpc" => AuthzService::Grpc(GrpcService::new(cluster, timeout)),
            // The authority of what is asked is the caller's, as Envoy has it; this one stands in for none.
            _ => {
                let uri = format!("http://{cluster}");
                AuthzService::Http(HttpAuthz::new(HttpUri::new(uri, cluster, timeout)))
            }
        };
        let mut filter = Self::new(service);
        // What can't be read must not become `allow`; it is an error anyway.
        filter.failure_mode_allow = on_error.flatten().unwrap_or_default();
        Some(filter)
    }
}
