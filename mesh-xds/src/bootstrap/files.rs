//! [`CertificateFiles`]: certificates that are read from files, and read again.

use super::duration::proto_duration;
use super::json::{Object, Reader, Value};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How often files are read again when nothing is said (gRFC A29, A65).
pub const DEFAULT_REFRESH_INTERVAL: Duration = Duration::from_secs(600);

/// The shortest time until files are read again: less is raised to it (C-core: one second).
pub const MIN_REFRESH_INTERVAL: Duration = Duration::from_secs(1);

/// The files of an identity and of the roots that peers are verified by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CertificateFiles {
    identity: Option<IdentityFiles>,
    ca_certificate: Option<Arc<Path>>,
    spiffe_trust_bundle_map: Option<Arc<Path>>,
    refresh_interval: Duration,
}

/// A certificate chain and its key, which go together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct IdentityFiles {
    /// `certificate_file`: the chain, in PEM.
    pub certificate: Arc<Path>,
    /// `private_key_file`: the key, in PEM.
    pub private_key: Arc<Path>,
}

impl IdentityFiles {
    /// A chain and its key.
    #[must_use]
    pub fn new(certificate: impl Into<Arc<Path>>, private_key: impl Into<Arc<Path>>) -> Self {
        Self { certificate: certificate.into(), private_key: private_key.into() }
    }
}

impl CertificateFiles {
    /// No files.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            identity: None,
            ca_certificate: None,
            spiffe_trust_bundle_map: None,
            refresh_interval: DEFAULT_REFRESH_INTERVAL,
        }
    }

    /// With an identity.
    #[must_use]
    pub fn with_identity(mut self, identity: IdentityFiles) -> Self {
        self.identity = Some(identity);
        self
    }

    /// With roots in PEM.
    #[must_use]
    pub fn with_ca_certificate(mut self, path: impl Into<Arc<Path>>) -> Self {
        self.ca_certificate = Some(path.into());
        self
    }

    /// With roots by trust domain, which come before those in PEM (gRFC A87).
    #[must_use]
    pub fn with_spiffe_trust_bundle_map(mut self, path: impl Into<Arc<Path>>) -> Self {
        self.spiffe_trust_bundle_map = Some(path.into());
        self
    }

    /// Read again after this long; at least [`MIN_REFRESH_INTERVAL`].
    #[must_use]
    pub fn with_refresh_interval(mut self, interval: Duration) -> Self {
        self.refresh_interval = interval.max(MIN_REFRESH_INTERVAL);
        self
    }

    /// Who we are.
    #[must_use]
    pub const fn identity(&self) -> Option<&IdentityFiles> {
        self.identity.as_ref()
    }

    /// `ca_certificate_file`: the roots. Without effect beside [`Self::spiffe_trust_bundle_map`].
    #[must_use]
    pub fn ca_certificate(&self) -> Option<&Path> {
        self.ca_certificate.as_deref()
    }

    /// `spiffe_trust_bundle_map_file`: the roots by trust domain (gRFC A87).
    #[must_use]
    pub fn spiffe_trust_bundle_map(&self) -> Option<&Path> {
        self.spiffe_trust_bundle_map.as_deref()
    }

    /// After how long they are read again.
    #[must_use]
    pub const fn refresh_interval(&self) -> Duration {
        self.refresh_interval
    }

    /// Whether there is no file at all.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.identity.is_none()
            && self.ca_certificate.is_none()
            && self.spiffe_trust_bundle_map.is_none()
    }
}

impl Default for CertificateFiles {
    fn default() -> Self {
        Self::new()
    }
}

/// Reads the configuration of `tls` credentials or of a `file_watcher`, which have the same fields (gRFC
/// A65). An empty path is as good as none (grpc-go, C-core).
pub(super) fn read<'t>(reader: &mut Reader<'t>, value: Value<'t>) -> Option<CertificateFiles> {
    let object = reader.object(value)?;
    let certificate = path(reader, &object, "certificate_file");
    let private_key = path(reader, &object, "private_key_file");
    let mut files = CertificateFiles::new();
    files.ca_certificate = path(reader, &object, "ca_certificate_file");
    files.spiffe_trust_bundle_map = path(reader, &object, "spiffe_trust_bundle_map_file");
    if let Some(interval) = reader.optional(&object, "refresh_interval", proto_duration) {
        files = files.with_refresh_interval(interval);
    }
    let (there, missing) = match (certificate, private_key) {
        (Some(certificate), Some(private_key)) => {
            files.identity = Some(IdentityFiles { certificate, private_key });
            return Some(files);
        }
        (None, None) => return Some(files),
        (Some(_), None) => ("certificate_file", "private_key_file"),
        (None, Some(_)) => ("private_key_file", "certificate_file"),
    };
    // gRFC A29, A65: both or neither.
    reader.report(value, format_args!("`{there}` without `{missing}`: set both, or neither"));
    None
}

fn path<'t>(reader: &mut Reader<'t>, object: &Object<'t>, name: &'static str) -> Option<Arc<Path>> {
    let path = reader.optional(object, name, Reader::string)?;
    (!path.is_empty()).then(|| Path::new(&path).into())
}
