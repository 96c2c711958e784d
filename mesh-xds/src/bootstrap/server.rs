//! [`Server`]: a control plane, how it is reached, and what is special about it.

use super::creds::{self, CallCreds, ChannelCreds};
use super::json::{Reader, Value};
use super::target::{InvalidTarget, Target};
use std::collections::BTreeSet;
use std::sync::Arc;

/// An entry of `xds_servers`.
///
/// Two that are equal share one stream (gRFC A47: by address, credentials and the features that are
/// known).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Server {
    uri: Arc<str>,
    target: Target,
    channel_creds: ChannelCreds,
    call_creds: Vec<CallCreds>,
    features: BTreeSet<ServerFeature>,
}

/// What is special about a server, of the features that are known here. Others are ignored (gRFC A30).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ServerFeature {
    /// `xds_v3`: it speaks v3. Without effect: nothing else is spoken here.
    XdsV3,
    /// `ignore_resource_deletion`: keep what it deletes (gRFC A53).
    IgnoreResourceDeletion,
    /// `trusted_xds_server`: it may rewrite the authority of calls (gRFC A81).
    TrustedXdsServer,
    /// `fail_on_data_errors`: drop what it deletes or breaks (gRFC A88).
    FailOnDataErrors,
    /// `resource_timer_is_transient_error`: no answer means that it is slow, not that there is nothing
    /// (gRFC A88).
    ResourceTimerIsTransientError,
}

/// A token for a connection that everybody can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a token over channel credentials `insecure` would be sent in the clear (gRFC A97): use the channel \
     credentials `tls`, or leave `call_creds` out"
)]
#[non_exhaustive]
pub struct InsecureToken;

impl Server {
    /// A server without call credentials and features.
    ///
    /// # Errors
    ///
    /// When `uri` is no [`Target`].
    pub fn new(uri: &str, channel_creds: ChannelCreds) -> Result<Self, InvalidTarget> {
        let target = Target::parse(uri)?;
        let features = BTreeSet::new();
        Ok(Self { uri: uri.into(), target, channel_creds, call_creds: Vec::new(), features })
    }

    /// With one more kind of call credentials.
    ///
    /// # Errors
    ///
    /// When the channel is not secure (gRFC A97).
    pub fn with_call_creds(mut self, creds: CallCreds) -> Result<Self, InsecureToken> {
        if !self.channel_creds.is_secure() {
            return Err(InsecureToken);
        }
        self.call_creds.push(creds);
        Ok(self)
    }

    /// With one more feature.
    #[must_use]
    pub fn with_feature(mut self, feature: ServerFeature) -> Self {
        self.features.insert(feature);
        self
    }

    /// Its address as it was written: for messages, metrics, and to tell servers apart.
    #[must_use]
    pub fn uri(&self) -> &Arc<str> {
        &self.uri
    }

    /// Where it is.
    #[must_use]
    pub const fn target(&self) -> &Target {
        &self.target
    }

    /// How its connection is secured.
    #[must_use]
    pub const fn channel_creds(&self) -> &ChannelCreds {
        &self.channel_creds
    }

    /// What is added to each of its calls: all of them (gRFC A97).
    #[must_use]
    pub fn call_creds(&self) -> &[CallCreds] {
        &self.call_creds
    }

    /// Whether it has a feature.
    #[must_use]
    pub fn has(&self, feature: ServerFeature) -> bool {
        self.features.contains(&feature)
    }
}

impl ServerFeature {
    /// Every feature that is known.
    pub const ALL: [Self; 5] = [
        Self::XdsV3,
        Self::IgnoreResourceDeletion,
        Self::TrustedXdsServer,
        Self::FailOnDataErrors,
        Self::ResourceTimerIsTransientError,
    ];

    /// Its name in `server_features`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::XdsV3 => "xds_v3",
            Self::IgnoreResourceDeletion => "ignore_resource_deletion",
            Self::TrustedXdsServer => "trusted_xds_server",
            Self::FailOnDataErrors => "fail_on_data_errors",
            Self::ResourceTimerIsTransientError => "resource_timer_is_transient_error",
        }
    }
}

/// Reads an entry of `xds_servers`.
pub(super) fn read<'t>(reader: &mut Reader<'t>, value: Value<'t>) -> Option<Server> {
    let object = reader.object(value)?;
    let uri = reader.required(&object, "server_uri", "it says where the server is", target);
    let rule = "it says how the connection is secured, for example `[{\"type\": \"insecure\"}]`";
    let channel_creds = reader.required(&object, "channel_creds", rule, creds::read_channel);
    let features = reader.optional(&object, "server_features", read_features);
    let call_creds = reader.optional(&object, "call_creds", creds::read_call);
    let (uri, target) = uri?;
    let mut server = Server {
        uri,
        target,
        channel_creds: channel_creds?,
        call_creds: Vec::new(),
        features: features.unwrap_or_default().into_iter().collect(),
    };
    for creds in call_creds.unwrap_or_default() {
        server = reader.optional(&object, "call_creds", |reader, value| {
            reader.checked(value, server.with_call_creds(creds))
        })?;
    }
    Some(server)
}

fn target<'t>(reader: &mut Reader<'t>, value: Value<'t>) -> Option<(Arc<str>, Target)> {
    let uri = reader.string(value)?;
    let target = reader.checked(value, Target::parse(&uri))?;
    Some((uri.into(), target))
}

/// gRFC A30: what is no string, and a string that is not known, is skipped.
fn read_features<'t>(reader: &mut Reader<'t>, value: Value<'t>) -> Option<Vec<ServerFeature>> {
    reader.list(value, |reader, item| {
        let name = if item.is_string() { reader.string(item)? } else { return None };
        ServerFeature::ALL.into_iter().find(|feature| feature.name() == name)
    })
}
