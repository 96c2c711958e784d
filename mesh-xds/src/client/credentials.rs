//! [`Credentials`]: what a server is shown of us, and by what we know it.
//!
//! One for each server, for as long as it is one: what was good last outlives the connections.

use super::token::TokenFile;
use crate::bootstrap::{CallCreds, ChannelCreds, Server};
use std::sync::Arc;
use tonic::metadata::{Ascii, MetadataValue};

#[cfg(feature = "tls")]
use super::tls::ClientTls;
#[cfg(feature = "tls")]
use rustls::ClientConfig;

/// The credentials of a server. Cheap to clone; clones share what was good last.
#[derive(Clone, Debug)]
pub(super) struct Credentials {
    channel: Channel,
    tokens: Arc<[TokenFile]>,
}

#[derive(Clone, Debug)]
enum Channel {
    Insecure,
    #[cfg(feature = "tls")]
    Tls(ClientTls),
    /// This build can't.
    #[cfg(not(feature = "tls"))]
    Impossible,
}

/// How the connections of one attempt are secured.
#[derive(Clone, Debug)]
pub(super) enum Security {
    None,
    #[cfg(feature = "tls")]
    Tls(ClientTls, Arc<ClientConfig>),
}

impl Credentials {
    /// Reads no file yet.
    pub(super) fn new(server: &Server) -> Self {
        let channel = match server.channel_creds() {
            ChannelCreds::Insecure => Channel::Insecure,
            #[cfg(feature = "tls")]
            ChannelCreds::Tls(files) => Channel::Tls(ClientTls::new(files)),
            #[cfg(not(feature = "tls"))]
            ChannelCreds::Tls(_) => Channel::Impossible,
        };
        let token = |creds: &CallCreds| match creds {
            CallCreds::JwtTokenFile(path) => TokenFile::new(Arc::clone(path)),
        };
        Self { channel, tokens: server.call_creds().iter().map(token).collect() }
    }

    /// What connections that are made now are secured by.
    ///
    /// # Errors
    /// What is wrong with a file when nothing was ever good, or that this build can't, in words.
    #[cfg_attr(not(feature = "tls"), expect(clippy::unused_async, reason = "only TLS reads files"))]
    pub(super) async fn security(&self) -> Result<Security, String> {
        match &self.channel {
            Channel::Insecure => Ok(Security::None),
            #[cfg(feature = "tls")]
            Channel::Tls(tls) => Ok(Security::Tls(tls.clone(), tls.read().await?)),
            #[cfg(not(feature = "tls"))]
            Channel::Impossible => {
                Err("this build has no TLS: build with the feature `tls-aws-lc` or \
                                        `tls-ring`, or use the channel credentials `insecure`"
                    .to_owned())
            }
        }
    }

    /// The values of `authorization` for a stream that is opened now: one for each token.
    ///
    /// # Errors
    /// A token is not there, in words.
    pub(super) async fn authorization(&self) -> Result<Vec<MetadataValue<Ascii>>, String> {
        let mut values = Vec::new();
        for token in &*self.tokens {
            values.push(token.authorization().await.map_err(|error| error.to_string())?);
        }
        Ok(values)
    }
}
