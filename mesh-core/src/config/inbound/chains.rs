//! `mtls`: how connections are secured, as filter chains.
//!
//! Permissive is two chains, as Istio writes it: one for connections that begin with a TLS ClientHello, one
//! for all others. Only the second one ends when the opening does.

use super::super::fields::Fields;
use super::super::node::{Content, Entry};
use super::super::reader::Reader;
use super::super::shape::{Kind, Shape, key, words};
use super::super::value::{Value, word};
use super::without_identity;
use crate::model::filter_chain::TransportProtocol;
use crate::model::{DownstreamTls, FilterChain, HttpConnectionManager, RbacFilter};
use crate::time::WallTime;
use std::sync::Arc;
use std::time::Duration;

/// What a peer has to prove.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::config) enum Mtls {
    /// Who it is.
    #[default]
    Strict,
    /// Who it is, if it comes with TLS.
    Permissive,
    /// Nothing.
    Off,
}

const MODES: [(&str, Mtls); 3] =
    [("strict", Mtls::Strict), ("permissive", Mtls::Permissive), ("off", Mtls::Off)];
const MODE: Kind = Kind::Word(&words(&MODES));
static MTLS: Shape = Shape::new(
    "mtls",
    &[&[
        key("mode", MODE, "strict, permissive or off.").required(),
        key(
            "until",
            Kind::Moment,
            "When the opening ends by itself, after which plaintext is refused. Default never.",
        ),
    ]],
);
pub(super) const MTLS_KIND: Kind = Kind::Either(&[MODE, Kind::Mapping(&MTLS)]);

/// How a port is secured.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::config) struct Security {
    pub(in crate::config) mode: Mtls,
    /// When the opening ends.
    pub(in crate::config) until: Option<WallTime>,
}

/// What a port carries, and what is done with it.
pub(in crate::config) enum Carried {
    /// Requests; with a time, what is not HTTP is found out within it, and carried as bytes.
    Http(Arc<HttpConnectionManager>, Option<Duration>),
    /// Bytes: who may connect is all that can be said of them.
    Bytes(Vec<Arc<RbacFilter>>),
}

/// Reads `mtls`. What needs an identity without one is reported.
pub(super) fn security(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    entry: &Entry,
) -> Option<Security> {
    let Some((node, kind)) = fields.value("mtls") else {
        if reader.identity.is_none() {
            without_identity(reader, entry.key_span, "`mtls: strict`, which is the default,");
        }
        return Some(Security::default());
    };
    let mut security = Security::default();
    if let Content::Mapping(_) = node.content {
        let fields = Fields::open(reader, node, kind)?;
        let mode = fields.value("mode").map(|(node, kind)| word(reader, node, kind, &MODES));
        let until = fields.value("until").map(|(node, kind)| WallTime::read(reader, node, kind));
        security.mode = mode??;
        // A date that can't be read must not become "never".
        security.until = until.map(|until| until.ok_or(())).transpose().ok()?;
        if security.mode == Mtls::Strict {
            fields.misplaced(reader, &["until"], "on a port that nothing opens");
        }
    } else {
        security.mode = word(reader, node, kind, &MODES)?;
    }
    if security.mode != Mtls::Off && reader.identity.is_none() {
        without_identity(reader, node.span, "mutual TLS");
    }
    Some(security)
}

impl Security {
    /// The chains of the port.
    pub(super) fn chains(
        self,
        carried: &Carried,
        handshake: Option<Duration>,
    ) -> Vec<Arc<FilterChain>> {
        let chain = |name: &str| {
            let mut chain = FilterChain::new(name, None);
            match carried {
                Carried::Http(http, detect) => {
                    (chain.http, chain.detect) = (Some(Arc::clone(http)), *detect);
                }
                Carried::Bytes(network_rbac) => chain.network_rbac.clone_from(network_rbac),
            }
            chain.handshake_timeout = handshake.unwrap_or(chain.handshake_timeout);
            chain
        };
        let mutual = || {
            let mut chain = chain("mtls");
            chain.tls = Some(Arc::new(DownstreamTls::mutual()));
            chain
        };
        let plaintext = || {
            let mut chain = chain("plaintext");
            chain.until = self.until;
            chain
        };
        let chains = match self.mode {
            Mtls::Strict => vec![mutual()],
            Mtls::Off => vec![plaintext()],
            Mtls::Permissive => {
                let (mut secure, mut open) = (mutual(), plaintext());
                secure.matcher.transport_protocol = Some(TransportProtocol::Tls);
                open.matcher.transport_protocol = Some(TransportProtocol::RawBuffer);
                vec![secure, open]
            }
        };
        chains.into_iter().map(Arc::new).collect()
    }
}
