//! [`Operator`]: one operator of a format, and what it gives of a record.

use super::grpc::{self, GrpcForm};
use super::header::{self, HeaderOperator};
use super::name::{Kind, MeshField, Name};
use super::record::{Record, Side};
use super::start_time::TimeSpec;
use super::value::{Shown, Value};
use std::time::Duration;

/// An operator, compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    StartTime(TimeSpec),
    Header(HeaderOperator),
    Path { query: bool, source: PathSource },
    Grpc(GrpcForm),
    Details { spaces: bool },
    Mesh(MeshField),
    Plain(Name),
}

/// Which path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PathSource {
    Original,
    Path,
    OriginalOrPath,
}

impl Operator {
    /// What it gives.
    pub(super) const fn kind(&self) -> Kind {
        match self {
            Self::Mesh(field) => field.kind(),
            Self::Plain(name) => name.kind(),
            _ => Kind::Text,
        }
    }

    /// What it gives of `record`; with `query`, queries too.
    pub(super) fn value<'r>(&'r self, record: &Record<'r>, query: bool) -> Value<'r> {
        match self {
            Self::StartTime(spec) => {
                Value::Shown(Shown::Time(spec.show(record.start, record.start_nanos)))
            }
            Self::Header(header) => header.value(record, query),
            Self::Path { query: own, source } => path(*source, record, query || *own),
            Self::Grpc(form) => grpc_status(record, *form),
            Self::Details { spaces: true } => Value::some_text(record.details),
            Self::Details { spaces: false } => {
                let details = record.details.filter(|details| !details.is_empty());
                Value::some_shown(details.map(Shown::Underscored))
            }
            Self::Mesh(field) => mesh_field(*field, record),
            Self::Plain(name) => plain(*name, record),
        }
    }
}

fn path<'r>(source: PathSource, record: &Record<'r>, query: bool) -> Value<'r> {
    if record.is_bytes {
        return Value::Absent;
    }
    let original = match source {
        PathSource::Path => Value::Absent,
        PathSource::Original | PathSource::OriginalOrPath => header::original_path(record, query),
    };
    match (original, source) {
        (Value::Absent, PathSource::Path | PathSource::OriginalOrPath) => {
            header::path(record, query)
        }
        (original, _) => original,
    }
}

fn grpc_status<'r>(record: &Record<'r>, form: GrpcForm) -> Value<'r> {
    let Some(status) = record.grpc_status else { return Value::Absent };
    match grpc::name(status, form) {
        Some(name) => Value::text(name),
        // In JSON it is a text as its names are, but for whom wants numbers.
        None if form == GrpcForm::Number => Value::Number(status.into()),
        None => Value::Shown(Shown::Decimal(status.into())),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// What needs no parameter.
fn plain<'r>(name: Name, record: &Record<'r>) -> Value<'r> {
    match name {
        Name::Protocol if record.is_bytes => Value::Absent,
        Name::Protocol => Value::text(protocol(record.protocol)),
        Name::ResponseFlags | Name::ResponseFlagsLong if record.flags.is_empty() => Value::Absent,
        Name::ResponseFlags => Value::Shown(Shown::Flags(record.flags)),
        Name::ResponseFlagsLong => Value::Shown(Shown::FlagsLong(record.flags)),
        Name::UpstreamHost => Value::some_shown(record.endpoint.map(Shown::Endpoint)),
        Name::UpstreamCluster | Name::UpstreamClusterRaw => Value::some_text(record.cluster),
        Name::UpstreamFailure => Value::some_text(record.transport_failure),
        Name::Route => Value::some_text(record.route),
        Name::VirtualHost => Value::some_text(record.virtual_host),
        Name::Sni => Value::some_text(record.server_name),
        Name::Hostname => Value::some_text(record.hostname),
        Name::TraceId => Value::some_shown(record.trace_id.map(Shown::TraceId)),
        Name::PeerSubject => Value::some_text(record.peer_subject),
        Name::PeerUris | Name::OwnUris => {
            let uris = if name == Name::PeerUris { record.peer_uris } else { record.own_uris };
            if uris.is_empty() { Value::Absent } else { Value::Shown(Shown::List(uris)) }
        }
        Name::Remote => Value::some_shown(record.remote.map(Shown::Socket)),
        Name::RemoteIp => Value::some_shown(record.remote.map(|remote| Shown::Ip(remote.ip()))),
        Name::Local => Value::some_shown(record.local.map(Shown::Socket)),
        Name::LocalIp => Value::some_shown(record.local.map(|local| Shown::Ip(local.ip()))),
        number => plain_number(number, record),
    }
}

fn plain_number<'r>(name: Name, record: &Record<'_>) -> Value<'r> {
    match name {
        // Envoy writes 0 where there is none.
        Name::ResponseCode => {
            Value::Number(record.status.map_or(0, |status| status.as_u16().into()))
        }
        Name::GrpcStatusNumber => Value::some_number(record.grpc_status.map(u64::from)),
        Name::BytesReceived => Value::Number(record.bytes_received),
        Name::BytesSent => Value::Number(record.bytes_sent),
        Name::Duration => Value::Number(millis(record.duration)),
        Name::ResponseDuration => Value::some_number(record.response_after.map(millis)),
        Name::ResponseTxDuration => {
            let rest = record.response_after.map(|head| record.duration.saturating_sub(head));
            Value::some_number(rest.map(millis))
        }
        Name::UpstreamAttempts => {
            Value::Number(if record.side == Side::Client { record.attempt.into() } else { 0 })
        }
        Name::LocalPort => Value::some_number(record.local.map(|local| local.port().into())),
        // What is not known here.
        _ => Value::Absent,
    }
}

fn mesh_field<'r>(field: MeshField, record: &Record<'r>) -> Value<'r> {
    match field {
        MeshField::Side => Value::text(record.side.as_str()),
        MeshField::Reason => Value::some_text(record.reason),
        MeshField::Details => Value::some_text(record.details),
        MeshField::Attempt => Value::Number(record.attempt.into()),
        MeshField::Attempts if record.attempts.is_empty() => Value::Absent,
        MeshField::Attempts => Value::Attempts(record.attempts),
        MeshField::Phases if record.phases.is_empty() => Value::Absent,
        MeshField::Phases => Value::Phases(record.phases),
        MeshField::Duration => Value::Millis(record.duration),
        MeshField::Policy => Value::some_text(record.policy),
        MeshField::PeerIdentity => Value::some_text(record.peer_identity),
        MeshField::OwnIdentity => Value::some_text(record.own_identity),
        MeshField::Listener => Value::some_text(record.listener),
    }
}

/// As Envoy writes it.
const fn protocol(version: http::Version) -> &'static str {
    match version {
        http::Version::HTTP_09 => "HTTP/0.9",
        http::Version::HTTP_10 => "HTTP/1.0",
        http::Version::HTTP_2 => "HTTP/2",
        http::Version::HTTP_3 => "HTTP/3",
        _ => "HTTP/1.1",
    }
}
