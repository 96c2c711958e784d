//! Where configuration comes from: [`Source`], and the ones that are built in.
//!
//! A mesh doesn't care whether its configuration was in a file, came from a control plane or was
//! made in code. A source is started once with a [`Sink`] and publishes complete configurations into
//! it, for as long as it likes; the mesh holds the other end.
//!
//! | source | publishes |
//! |---|---|
//! | [`StaticSource`] | one configuration, once |
//! | [`Updates`] | what the program hands over while it runs |
//! | [`FileSource`] | one or more files, whenever their content changes |
//! | [`XdsSource`] | what an xDS control plane says of the authorities that calls are made to, or all that it has |
//!
//! Rules:
//!
//! - The newest configuration wins: one that nobody took yet is replaced, never queued behind.
//! - What is rejected is reported and changes nothing: the last good configuration stays in force.
//! - A source never publishes what it knows to be in force already.
//!
//! A file is a `mesh.yaml`, or with feature `json` one of Envoy's: a bootstrap, or resources with `@type`
//! ([`load`]).
//!
//! What it doesn't do: combine several sources. Files unite inside [`FileSource`]'s parser.
//!
//! # Examples
//! A source of one's own is a future that publishes:
//! ```
//! use futures_core::future::BoxFuture;
//! use mesh_core::ConfigUpdate;
//! use mesh_tower::source::{Sink, Source};
//!
//! #[derive(Debug)]
//! struct Nightly;
//!
//! impl Source for Nightly {
//!     fn start(self: Box<Self>, sink: Sink) -> BoxFuture<'static, ()> {
//!         Box::pin(async move {
//!             sink.publish(ConfigUpdate::default());
//!             sink.closed().await;
//!         })
//!     }
//! }
//! ```

#[cfg(feature = "xds")]
pub(crate) mod ask_codec;
mod beside;
pub(crate) mod content_hash;
pub(crate) mod demand;
pub(crate) mod directory;
pub(crate) mod environment;
#[cfg(feature = "json")]
pub(crate) mod envoy_json;
mod file;
mod fixed;
pub(crate) mod learnt;
#[cfg(feature = "xds")]
mod load_report;
pub(crate) mod mesh_yaml;
pub(crate) mod read;
pub(crate) mod reload;
mod sink;
mod trouble;
pub(crate) mod watch_file;
#[cfg(feature = "xds")]
mod xds;
#[cfg(feature = "xds")]
mod xds_status;

pub use beside::Beside;
pub use demand::{Demand, Interest, MAX_AUTHORITIES, MAX_LISTENERS};
pub use directory::files_of;
pub use environment::EnvironmentError;
pub use file::FileSource;
pub use fixed::{StaticSource, Updates, UpdatesSource};
#[doc(no_inline)]
pub use mesh_yaml::load;
pub use mesh_yaml::read_beside;
pub use sink::{RejectCause, Rejected, Sink, SinkReceiver, SourceEvent};
#[cfg(feature = "xds")]
pub use xds::{Bootstrap, BootstrapError, Variant, XdsSource};
#[cfg(all(feature = "xds", feature = "tonic"))]
pub use xds_status::Csds;
#[cfg(feature = "xds")]
pub use xds_status::{
    ResourceDump, ResourceFailure, ResourceState, ResourceType, ServeStatusError, XdsStatus,
};

use futures_core::future::BoxFuture;
use std::fmt;

/// A place that configuration comes from.
pub trait Source: Send + fmt::Debug + 'static {
    /// Publishes into `sink`, until there is nothing more to say or the sink is
    /// [closed](Sink::closed).
    ///
    /// The future runs on the mesh's runtime, apart from calls; that it ends changes nothing of what
    /// was published.
    fn start(self: Box<Self>, sink: Sink) -> BoxFuture<'static, ()>;

    /// Whether it answers for authorities as calls ask for them, and will call
    /// [`Sink::on_demand`]: then calls wait for it from the start. Default: no.
    fn is_on_demand(&self) -> bool {
        false
    }

    /// The certificate providers that its configurations may name, by their names (gRFC A29). Those that the
    /// program gives the mesh come before them. Default: none.
    #[cfg(feature = "tls")]
    fn certificate_providers(
        &self,
    ) -> Vec<(std::sync::Arc<str>, Box<dyn crate::identity::IdentitySource>)> {
        Vec::new()
    }
}
