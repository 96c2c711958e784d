//! The format: bytes in, bytes out.

use super::{
    FORMAT_VERSION, KeptListener, LastGood, Origin, RawResource, ReadError, Root, WriteError,
};
use crate::ResourceType;
use bytes::Bytes;
use mesh_core::WallTime;
use prost::Message;
use xxhash_rust::xxh64::xxh64;

/// What a file begins with.
const MAGIC: &[u8; 8] = b"meshgood";

/// The bytes before the protobuf.
const HEADER: usize = 16;

/// The bytes of the checksum.
const CHECKSUM: usize = 8;

/// What is in a file. Numbers of fields are never used for anything else.
#[derive(Clone, PartialEq, Message)]
struct Container {
    #[prost(string, tag = "1")]
    server_uri: String,
    #[prost(fixed64, tag = "2")]
    node_hash: u64,
    #[prost(uint64, tag = "3")]
    written_unix_seconds: u64,
    #[prost(message, repeated, tag = "4")]
    resources: Vec<Entry>,
    #[prost(message, repeated, tag = "5")]
    roots: Vec<RootEntry>,
    /// Who does not know of them reads the rest.
    #[prost(message, repeated, tag = "6")]
    kept: Vec<KeptEntry>,
}

/// A listener that servers serve by beside the newest, in a file.
#[derive(Clone, PartialEq, Message)]
struct KeptEntry {
    #[prost(message, optional, tag = "1")]
    listener: Option<Entry>,
    #[prost(message, repeated, tag = "2")]
    routes: Vec<Entry>,
}

/// An authority in a file.
#[derive(Clone, PartialEq, Message)]
struct RootEntry {
    #[prost(string, tag = "1")]
    authority: String,
    #[prost(uint32, tag = "2")]
    default_port: u32,
}

/// A resource in a file.
#[derive(Clone, PartialEq, Message)]
struct Entry {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(string, tag = "3")]
    version: String,
    #[prost(bytes = "bytes", tag = "4")]
    body: Bytes,
}

/// The bytes of a file of at most `max_bytes`.
///
/// # Errors
///
/// [`WriteError::TooLarge`]: nothing is left out to make it fit.
pub fn write(last_good: &LastGood, max_bytes: usize) -> Result<Vec<u8>, WriteError> {
    let container = Container {
        server_uri: last_good.origin.server_uri.to_string(),
        node_hash: last_good.origin.node_hash,
        written_unix_seconds: last_good.written.as_unix_seconds(),
        resources: last_good.resources.iter().map(Entry::of).collect(),
        roots: last_good.roots.iter().map(RootEntry::of).collect(),
        kept: last_good.kept.iter().map(KeptEntry::of).collect(),
    };
    let length = container.encoded_len();
    let bytes = length.saturating_add(HEADER + CHECKSUM);
    // The length has four bytes; no bound lifts that.
    let max = max_bytes.min(u32::MAX as usize);
    let too_large = WriteError::TooLarge { bytes, max };
    let Some(length) = u32::try_from(length).ok().filter(|_| bytes <= max) else {
        return Err(too_large);
    };
    let mut file = Vec::with_capacity(bytes);
    file.extend_from_slice(MAGIC);
    file.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    file.extend_from_slice(&length.to_le_bytes());
    // It fails only when the buffer can't grow, and a vector can.
    container.encode(&mut file).map_err(|_full| too_large)?;
    let checksum = xxh64(&file, 0);
    file.extend_from_slice(&checksum.to_le_bytes());
    Ok(file)
}

/// Reads a file of at most `max_bytes` that was written for `expected`. Bodies share its memory.
///
/// # Errors
///
/// Whatever is wrong with it: see [`ReadError`]. No part of it is used then.
pub fn read(file: &Bytes, expected: &Origin, max_bytes: usize) -> Result<LastGood, ReadError> {
    if file.len() > max_bytes {
        return Err(ReadError::TooLarge { bytes: file.len(), max: max_bytes });
    }
    let container = Container::decode(payload(file)?).map_err(malformed)?;
    let Container { server_uri, node_hash, written_unix_seconds, resources, roots, kept } =
        container;
    let origin = Origin { server_uri: server_uri.into(), node_hash };
    if origin.server_uri != expected.server_uri {
        return Err(ReadError::ForeignServer {
            found: origin.server_uri,
            expected: expected.server_uri.clone(),
        });
    }
    if origin.node_hash != expected.node_hash {
        return Err(ReadError::ForeignNode);
    }
    let written = WallTime::from_unix_seconds(written_unix_seconds);
    let roots: Result<Vec<Root>, ReadError> = roots.into_iter().map(RootEntry::root).collect();
    let mut last_good = LastGood::new(origin, written).with_roots(roots?);
    for entry in resources {
        // What is refused when writing is refused when reading: a file is no way around it.
        last_good.push(entry.resource()?).map_err(malformed)?;
    }
    for entry in kept {
        last_good.push_kept(entry.kept()?).map_err(malformed)?;
    }
    Ok(last_good)
}

/// The protobuf, if the frame around it is whole. The format is looked at before the checksum, so that
/// another format may have another one.
fn payload(file: &Bytes) -> Result<Bytes, ReadError> {
    let cut_off = |expected| ReadError::Length { found: file.len(), expected };
    let magic = file.get(..MAGIC.len()).unwrap_or(file);
    if !MAGIC.starts_with(magic) {
        return Err(ReadError::NotOurs);
    }
    let number = |at: usize| {
        let bytes: Option<[u8; 4]> = file.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        bytes.map(u32::from_le_bytes).ok_or_else(|| cut_off(HEADER + CHECKSUM))
    };
    let (format, length) = (number(8)?, number(12)?);
    if format != FORMAT_VERSION {
        return Err(ReadError::Format { found: format });
    }
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let expected = length.saturating_add(HEADER + CHECKSUM);
    if file.len() != expected {
        return Err(cut_off(expected));
    }
    let summed = HEADER + length;
    let (content, checksum) = (file.slice(..summed), file.slice(summed..));
    match xxh64(&content, 0).to_le_bytes() == *checksum {
        true => Ok(content.slice(HEADER..)),
        false => Err(ReadError::Checksum),
    }
}

impl RootEntry {
    fn of(root: &Root) -> Self {
        let Root { authority, default_port } = root;
        Self { authority: authority.to_string(), default_port: (*default_port).into() }
    }

    fn root(self) -> Result<Root, ReadError> {
        let Self { authority, default_port } = self;
        let port = u16::try_from(default_port)
            .map_err(|_too_large| malformed(format_args!("{default_port} is no port")))?;
        Ok(Root::new(authority, port))
    }
}

impl KeptEntry {
    fn of(KeptListener { listener, routes }: &KeptListener) -> Self {
        let routes = routes.iter().map(Entry::of).collect();
        Self { listener: Some(Entry::of(listener)), routes }
    }

    fn kept(self) -> Result<KeptListener, ReadError> {
        let Self { listener, routes } = self;
        let listener = listener.ok_or_else(|| malformed("a kept listener is missing"))?;
        let routes: Result<Vec<_>, ReadError> = routes
            .into_iter()
            .map(|entry| entry.of_kind(ResourceType::RouteConfiguration))
            .collect();
        Ok(KeptListener::new(listener.of_kind(ResourceType::Listener)?, routes?))
    }
}

impl Entry {
    fn of(resource: &RawResource) -> Self {
        Self {
            type_url: resource.kind.type_url().to_owned(),
            name: resource.name.to_string(),
            version: resource.version.to_string(),
            body: resource.body.clone(),
        }
    }

    fn of_kind(self, kind: ResourceType) -> Result<RawResource, ReadError> {
        let found = self.resource()?;
        match found.kind == kind {
            true => Ok(found),
            false => {
                let RawResource { kind: other, name, .. } = found;
                Err(malformed(format_args!("`{name}` is of type {other}, and not {kind}")))
            }
        }
    }

    fn resource(self) -> Result<RawResource, ReadError> {
        let kind = ResourceType::from_type_url(&self.type_url).ok_or_else(|| {
            malformed(format_args!("the type `{}` is not known", self.type_url.escape_debug()))
        })?;
        Ok(RawResource::new(kind, self.name, self.version, self.body))
    }
}

fn malformed(reason: impl std::fmt::Display) -> ReadError {
    ReadError::Malformed { reason: reason.to_string() }
}
