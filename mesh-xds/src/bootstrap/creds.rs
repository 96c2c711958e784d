//! Credentials of a control plane: [`ChannelCreds`] for its connection, [`CallCreds`] for its calls.

use super::error::shorten;
use super::files::{self, CertificateFiles};
use super::json::{Object, Reader, Value};
use std::path::Path;
use std::sync::Arc;

/// How a connection is secured.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ChannelCreds {
    /// `insecure`: not at all.
    Insecure,
    /// `tls`: the server proves who it is, and so do we if there is an identity (gRFC A65). Without any
    /// roots, the system's count.
    Tls(CertificateFiles),
}

/// What proves with each call who we are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CallCreds {
    /// `jwt_token_file`: a token from a file that is read again before it expires (gRFC A97).
    JwtTokenFile(Arc<Path>),
}

impl ChannelCreds {
    /// Whether what is sent can't be read on the way.
    #[must_use]
    pub const fn is_secure(&self) -> bool {
        match self {
            Self::Insecure => false,
            Self::Tls(_) => true,
        }
    }
}

/// Reads `channel_creds`.
///
/// gRFC A27: "client will stop at the first type it supports"; what comes after that is not looked at,
/// and neither is the configuration of a type that is not supported.
pub(super) fn read_channel<'t>(reader: &mut Reader<'t>, value: Value<'t>) -> Option<ChannelCreds> {
    let mut found = None;
    let mut passed = Vec::new();
    let mut is_broken = false;
    reader.list(value, |reader, item| {
        if found.is_some() || is_broken {
            return Some(());
        }
        let (kind, config) = typed(reader, item)?;
        match kind.as_str() {
            "insecure" => found = Some(ChannelCreds::Insecure),
            "tls" => {
                found = tls(reader, &config).map(ChannelCreds::Tls);
                is_broken = found.is_none();
            }
            _ => passed.push(kind),
        }
        Some(())
    })?;
    if found.is_none() && !is_broken {
        let passed = match passed.is_empty() {
            true => "nothing is listed".to_owned(),
            false => format!("`{}` is not supported", shorten(&passed.join("`, `"))),
        };
        reader.report(value, format_args!("{passed}: add one of `insecure` and `tls` (gRFC A27)"));
    }
    found
}

/// Reads `call_creds`: all that are supported (gRFC A97).
pub(super) fn read_call<'t>(reader: &mut Reader<'t>, value: Value<'t>) -> Option<Vec<CallCreds>> {
    reader.list(value, |reader, item| {
        let (kind, object) = typed(reader, item)?;
        if kind != "jwt_token_file" {
            return None;
        }
        let rule = "it says where the token is (gRFC A97)";
        reader.required(&object, "config", rule, |reader, config| {
            let config = reader.object(config)?;
            reader.required(&config, "jwt_token_file", rule, |reader, value| {
                let path = reader.string(value)?;
                if path.is_empty() {
                    reader.report(value, "the path of the token is empty: name a file");
                    return None;
                }
                Some(CallCreds::JwtTokenFile(Path::new(&path).into()))
            })
        })
    })
}

/// The type and the object around its configuration.
fn typed<'t>(reader: &mut Reader<'t>, value: Value<'t>) -> Option<(String, Object<'t>)> {
    let object = reader.object(value)?;
    let rule = "it says what kind of credentials these are";
    let kind = reader.required(&object, "type", rule, Reader::string)?;
    Some((kind, object))
}

/// gRFC A65: every field may be missing, and so may the configuration.
fn tls<'t>(reader: &mut Reader<'t>, object: &Object<'t>) -> Option<CertificateFiles> {
    match object.field("config") {
        None => Some(CertificateFiles::new()),
        Some(_) => reader.optional(object, "config", files::read),
    }
}
