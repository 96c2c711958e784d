//! What a condition may ask of a request and of its connection (Envoy: "Attributes").
//!
//! Names are looked up once, when a condition is compiled; one that is not known here, or that nothing is
//! known of when a request is decided, is refused. An attribute that a request is without (no `referer`)
//! is an error, as in Envoy, unless it is asked by `has`.
//!
//! Headers are those that [`RbacHeader`](crate::model::RbacHeader) sees, `:scheme` and gRPC's own besides:
//! several values are joined with `,`, hop-by-hop headers are missing. Bytes that are no UTF-8 become
//! U+FFFD, so that what is around them can't hide behind them.

use super::ConditionError;
use super::moment::Moment;
use super::value::{Held, Map, Value};
use crate::identity::Peer;
use crate::model::rbac::{HeaderTarget, RbacHeaderName, RbacHeaderRefused};
use crate::rbac::rule::Sight;
use crate::router::HeaderValues;
use http::{HeaderName, Version, header};
use std::net::SocketAddr;
use std::sync::Arc;

/// Something that is known of a request.
#[derive(Clone, Debug)]
pub(super) enum Attribute {
    /// All headers, of which only one at a time is ever looked at.
    Headers,
    Header(HeaderTarget),
    UrlPath,
    Query,
    Scheme,
    Size,
    Time,
    Protocol,
    SourceAddress,
    SourcePort,
    DestinationAddress,
    DestinationPort,
    Mtls,
    RequestedServerName,
    SubjectPeerCertificate,
    UriSanPeerCertificate,
    DnsSanPeerCertificate,
    /// `metadata.filter_metadata`.
    Metadata,
    /// `xds.route_metadata.filter_metadata`.
    RouteMetadata,
    FilterState(Arc<str>),
}

/// The objects that attributes are in.
const ROOTS: &str =
    "`request`, `source`, `destination`, `connection`, `metadata`, `filter_state` and `xds`";
const REQUEST: &str = "path, url_path, host, scheme, method, headers, referer, useragent, time, id, \
                       protocol, query and size";
const CONNECTION: &str = "mtls, requested_server_name, subject_peer_certificate, \
                          uri_san_peer_certificate and dns_san_peer_certificate";
const LATER: &str = "nothing is known of it when a request is decided";
const COUNTED: &str = "it counts what Envoy adds to a request: ask for `request.size`";
const OWN: &str = "policies see the peer's certificate, not our own";
const KEPT: &str = "of a connection and of certificates, names are kept and no more";

/// The attribute at the beginning of `path`, and how many of its names it takes.
pub(super) fn resolve(path: &[&str]) -> Result<(Attribute, usize), ConditionError> {
    let (root, name) = (path.first().copied().unwrap_or_default(), path.get(1).copied());
    let whole = |known| Err(ConditionError::Whole { name: root.into(), known });
    match (root, name) {
        ("request", None) => whole(REQUEST),
        ("request", Some("headers")) => match path.get(2) {
            Some(name) => header_named(name).map(|found| (found, 3)),
            None => Ok((Attribute::Headers, 2)),
        },
        ("request", Some(name)) => request(name).map(|found| (found, 2)),
        ("source" | "destination", None) => whole("address and port"),
        ("source", Some("address")) => Ok((Attribute::SourceAddress, 2)),
        ("source", Some("port")) => Ok((Attribute::SourcePort, 2)),
        ("destination", Some("address")) => Ok((Attribute::DestinationAddress, 2)),
        ("destination", Some("port")) => Ok((Attribute::DestinationPort, 2)),
        ("source" | "destination", Some(name)) => Err(unknown(root, name, "address and port")),
        ("connection", None) => whole(CONNECTION),
        ("connection", Some(name)) => connection(name).map(|found| (found, 2)),
        ("metadata", Some("filter_metadata")) => Ok((Attribute::Metadata, 2)),
        ("metadata", None) => whole("filter_metadata"),
        ("metadata", Some(name)) => Err(unknown(root, name, "filter_metadata")),
        ("filter_state", Some(key)) => Ok((Attribute::FilterState(key.into()), 2)),
        ("filter_state", None) => whole("a key that is a literal"),
        ("xds", Some("route_metadata")) => match path.get(2).copied() {
            Some("filter_metadata") => Ok((Attribute::RouteMetadata, 3)),
            Some(name) => Err(unknown("xds.route_metadata", name, "filter_metadata")),
            None => {
                let name = "xds.route_metadata".into();
                Err(ConditionError::Whole { name, known: "filter_metadata" })
            }
        },
        ("xds", Some(name)) => Err(unknown(root, name, "route_metadata")),
        ("xds", None) => whole("route_metadata"),
        ("response" | "upstream" | "upstream_filter_state", _) => {
            let name = path.get(..2).unwrap_or(path).join(".").into();
            Err(ConditionError::NotKnownHere { name, why: LATER })
        }
        (name, _) => Err(ConditionError::UnknownName { name: name.into(), known: ROOTS }),
    }
}

fn unknown(root: &str, name: &str, known: &'static str) -> ConditionError {
    ConditionError::UnknownAttribute { name: format!("{root}.{name}").into(), known }
}

fn request(name: &str) -> Result<Attribute, ConditionError> {
    const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
    let not_known =
        |why| Err(ConditionError::NotKnownHere { name: format!("request.{name}").into(), why });
    let of = |name| Attribute::Header(HeaderTarget::Header(name));
    Ok(match name {
        "path" => Attribute::Header(HeaderTarget::Path),
        "host" => Attribute::Header(HeaderTarget::Authority),
        "method" => Attribute::Header(HeaderTarget::Method),
        "referer" => of(header::REFERER),
        "useragent" => of(header::USER_AGENT),
        "id" => of(REQUEST_ID),
        "url_path" => Attribute::UrlPath,
        "query" => Attribute::Query,
        "scheme" => Attribute::Scheme,
        "size" => Attribute::Size,
        "time" => Attribute::Time,
        "protocol" => Attribute::Protocol,
        "total_size" | "headers_bytes" => return not_known(COUNTED),
        "duration" => return not_known(LATER),
        _ => return Err(unknown("request", name, REQUEST)),
    })
}

fn connection(name: &str) -> Result<Attribute, ConditionError> {
    let why = match name {
        "mtls" => return Ok(Attribute::Mtls),
        "requested_server_name" => return Ok(Attribute::RequestedServerName),
        "subject_peer_certificate" => return Ok(Attribute::SubjectPeerCertificate),
        "uri_san_peer_certificate" => return Ok(Attribute::UriSanPeerCertificate),
        "dns_san_peer_certificate" => return Ok(Attribute::DnsSanPeerCertificate),
        "subject_local_certificate" | "uri_san_local_certificate" | "dns_san_local_certificate" => {
            OWN
        }
        "id" | "tls_version" | "sha256_peer_certificate_digest" | "peer_certificate" => KEPT,
        "termination_details" | "transport_failure_reason" => LATER,
        _ => return Err(unknown("connection", name, CONNECTION)),
    };
    Err(ConditionError::NotKnownHere { name: format!("connection.{name}").into(), why })
}

fn header_named(name: &str) -> Result<Attribute, ConditionError> {
    header(name).ok_or_else(|| ConditionError::HeaderName { name: name.into() })
}

/// The header called `name`; `None`: it is no name of a header.
pub(super) fn header(name: &str) -> Option<Attribute> {
    match RbacHeaderName::parse(name) {
        Ok(name) => Some(Attribute::Header(name.target().clone())),
        // Envoy's conditions see them; gRPC has no conditions, so that gRFC A41 says nothing of them.
        Err(RbacHeaderRefused::Grpc) => {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            Some(Attribute::Header(HeaderTarget::Header(name)))
        }
        Err(RbacHeaderRefused::Pseudo) => (name == ":scheme").then_some(Attribute::Scheme),
        Err(RbacHeaderRefused::Invalid) => None,
    }
}

impl Attribute {
    /// Whether a connection without HTTP is without it.
    pub(super) const fn needs_http(&self) -> bool {
        matches!(
            self,
            Self::Headers
                | Self::Header(_)
                | Self::UrlPath
                | Self::Query
                | Self::Scheme
                | Self::Size
                | Self::Protocol
        )
    }

    /// The value; `None`: it is missing.
    pub(super) fn value<'a>(&self, sight: &'a Sight<'a>) -> Option<Value<'a>> {
        let (request, connection) = (sight.request, sight.request.connection);
        let certificate = connection.peer.certificate();
        Some(match self {
            // Nothing looks at all of them; whether there are any, `has` asks.
            Self::Headers => request.head.map(|_| Value::Bool(true))?,
            Self::Header(target) => text_of(&sight.header(target)?),
            Self::UrlPath => request.head.map(|_| borrowed(sight.path.unwrap_or_default()))?,
            Self::Query => borrowed(request.head?.query()),
            Self::Scheme => borrowed(request.head?.scheme.unwrap_or(match connection.peer {
                Peer::Plaintext => "http",
                Peer::Tls | Peer::Certified(_) => "https",
            })),
            Self::Size => Value::Int(size(sight)?),
            Self::Time => Value::Timestamp(Moment::of_wall(request.time?)),
            Self::Protocol => borrowed(protocol(request.version?)?),
            Self::SourceAddress => address(request.remote?),
            Self::SourcePort => Value::Int(request.remote?.port().into()),
            Self::DestinationAddress => address(connection.local?),
            Self::DestinationPort => Value::Int(connection.local?.port().into()),
            Self::Mtls => Value::Bool(certificate.is_some()),
            Self::RequestedServerName => borrowed(connection.requested_server_name),
            Self::SubjectPeerCertificate => match connection.peer {
                Peer::Plaintext => return None,
                Peer::Tls => borrowed(""),
                Peer::Certified(certificate) => borrowed(&certificate.subject),
            },
            Self::UriSanPeerCertificate => borrowed(certificate?.uris.first()?),
            Self::DnsSanPeerCertificate => borrowed(certificate?.dns_names.first()?),
            Self::Metadata => match request.metadata {
                Some(metadata) => Value::Map(Map::Filters(&metadata.0)),
                None => Value::Map(Map::Made { depth: 0, entries: Arc::default() }),
            },
            Self::RouteMetadata => Value::Map(Map::Filters(&request.route_metadata?.0)),
            Self::FilterState(key) => {
                let text = request.filter_state?.0.get(key)?;
                Value::Bytes(Held::Ref(text.as_bytes()))
            }
        })
    }
}

const fn borrowed(text: &str) -> Value<'_> {
    Value::Text(Held::Ref(text))
}

fn address(address: SocketAddr) -> Value<'static> {
    Value::text(address.to_string())
}

fn text_of<'a>(values: &HeaderValues<'a>) -> Value<'a> {
    match values {
        HeaderValues::One(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => borrowed(text),
            Err(_) => Value::text(&*String::from_utf8_lossy(bytes)),
        },
        HeaderValues::Joined(bytes) => Value::text(&*String::from_utf8_lossy(bytes)),
    }
}

/// Envoy: the `content-length`; without one what came of the body, which is nothing yet.
fn size(sight: &Sight<'_>) -> Option<i64> {
    let length = sight.request.head?.headers.get(header::CONTENT_LENGTH);
    length.map_or(Some(0), |length| length.to_str().ok()?.trim().parse().ok())
}

/// Envoy: `Http::Utility::getProtocolString`.
fn protocol(version: Version) -> Option<&'static str> {
    Some(match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_11 => "HTTP/1.1",
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_3 => "HTTP/3",
        _ => return None,
    })
}
