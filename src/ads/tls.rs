//! The options of `mesh ads` about TLS.

use crate::cli::Failure;
use mesh_xds::bootstrap::{CertificateFiles, IdentityFiles};
use mesh_xds::server::ServerTls;
use std::path::PathBuf;

/// Which files secure the connections of clients. They are followed: what is replaced serves the next
/// connection.
#[derive(Debug, clap::Args)]
pub(super) struct TlsArguments {
    /// Serve over TLS, with the certificates and the key of the next two options.
    #[arg(long, requires = "tls_cert", requires = "tls_key")]
    tls: bool,
    /// The chain of certificates that clients are shown, in PEM. It is read again when it changes.
    #[arg(long, value_name = "FILE", requires = "tls")]
    tls_cert: Option<PathBuf>,
    /// The private key of --tls-cert, in PEM.
    #[arg(long, value_name = "FILE", requires = "tls")]
    tls_key: Option<PathBuf>,
    /// Clients must show a certificate of a CA in this file, in PEM (mTLS). Without it anybody may connect.
    #[arg(long, value_name = "FILE", requires = "tls")]
    tls_client_ca: Option<PathBuf>,
}

impl TlsArguments {
    /// Reads the files; `None`: TLS is not asked for.
    pub(super) fn load(&self) -> Result<Option<ServerTls>, Failure> {
        let (Some(certificate), Some(key)) = (&self.tls_cert, &self.tls_key) else {
            return Ok(None);
        };
        let identity = IdentityFiles::new(certificate.as_path(), key.as_path());
        let mut files = CertificateFiles::new().with_identity(identity);
        if let Some(roots) = &self.tls_client_ca {
            files = files.with_ca_certificate(roots.as_path());
        }
        ServerTls::new(files).map(Some).map_err(|error| Failure::new("tls", error.to_string()))
    }

    /// How connections are secured, after the address that is listened on.
    pub(super) const fn told(&self) -> &'static str {
        match (self.tls, &self.tls_client_ca) {
            (false, _) => "",
            (true, None) => " with TLS",
            (true, Some(_)) => " with TLS and client certificates",
        }
    }
}
