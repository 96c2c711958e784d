//! [`CertificateProvider`]: where certificates come from that resources name (gRFC A29).

use super::error::shorten;
use super::files::{self, CertificateFiles};
use super::json::{Reader, Value};
use std::sync::Arc;

/// An entry of `certificate_providers`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CertificateProvider {
    /// `file_watcher`: from files. Made by [`CertificateProvider::file_watcher`].
    FileWatcher(CertificateFiles),
    /// Another plugin. That is an error only for what names it.
    Unsupported {
        /// `plugin_name`.
        plugin: Arc<str>,
        /// `config`, as it was written.
        config: Option<Arc<str>>,
    },
}

/// A file watcher without files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "nothing to watch: set `certificate_file` with `private_key_file`, `ca_certificate_file`, or \
     `spiffe_trust_bundle_map_file` (gRFC A29, A87)"
)]
#[non_exhaustive]
pub struct NothingToWatch;

/// A certificate provider that can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProviderError {
    /// The bootstrap has no provider of this name.
    #[error(
        "there is no certificate provider `{}` in the bootstrap, only {known}: add it to \
         `certificate_providers` (gRFC A29)", shorten(.name)
    )]
    Unknown {
        /// The name.
        name: String,
        /// The names that there are.
        known: String,
    },
    /// Its plugin is not supported.
    #[error(
        "the certificate provider `{}` has the plugin `{}`, which is not supported: use `file_watcher`",
        shorten(.name), shorten(.plugin)
    )]
    Unsupported {
        /// The provider's name.
        name: String,
        /// Its plugin.
        plugin: Arc<str>,
    },
}

impl CertificateProvider {
    /// A watcher of files.
    ///
    /// # Errors
    ///
    /// When there is no file (gRFC A29).
    pub fn file_watcher(files: CertificateFiles) -> Result<Self, NothingToWatch> {
        match files.is_empty() {
            true => Err(NothingToWatch),
            false => Ok(Self::FileWatcher(files)),
        }
    }

    /// Whether it can be used.
    #[must_use]
    pub const fn is_supported(&self) -> bool {
        matches!(self, Self::FileWatcher(_))
    }
}

/// Reads an entry of `certificate_providers`.
pub(super) fn read<'t>(reader: &mut Reader<'t>, value: Value<'t>) -> Option<CertificateProvider> {
    let object = reader.object(value)?;
    let rule = "it says where the certificates come from, for example `file_watcher`";
    let plugin = reader.required(&object, "plugin_name", rule, Reader::string)?;
    if plugin != "file_watcher" {
        let config = object.field("config").map(|config| config.text().into());
        return Some(CertificateProvider::Unsupported { plugin: plugin.into(), config });
    }
    let rule = "it says which files to watch (gRFC A29)";
    reader.required(&object, "config", rule, |reader, config| {
        let files = files::read(reader, config)?;
        reader.checked(config, CertificateProvider::file_watcher(files))
    })
}
