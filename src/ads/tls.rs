//! The options of `mesh ads` about TLS.

use crate::cli::Failure;
use mesh_xds::bootstrap::{CertificateFiles, IdentityFiles};
use mesh_xds::server::{InvalidReaderId, ReaderId, Readers, ServerTls};
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
    /// Clients must show a certificate of a CA in this file, in PEM (mTLS). A CA whose own certificate has a
    /// SPIFFE id vouches for the ids of that trust domain alone; another one, for all. Without the option
    /// anybody may connect.
    #[arg(long, value_name = "FILE", requires = "tls")]
    tls_client_ca: Option<PathBuf>,
    /// Clients of this SPIFFE id may read the virtual hosts, inbound listeners and, of Envoy's files,
    /// listeners of these names, with what they lead to: `spiffe://example.org/web=reviews,ratings-*`. The
    /// id may end with `/*`, a name may be `*` or end with `*`. May be given several times; the first that
    /// is for a client counts. Without any, whoever has a certificate of the CA reads everything; with one,
    /// whom none is for reads nothing.
    #[arg(long = "allow", value_name = "ID=NAMES", requires = "tls_client_ca", value_parser = allowed)]
    allow: Vec<Allowed>,
}

/// What clients of an id may read.
#[derive(Clone, Debug)]
pub(super) struct Allowed {
    id: ReaderId,
    names: Vec<String>,
}

impl Allowed {
    /// Who.
    pub(super) const fn id(&self) -> &ReaderId {
        &self.id
    }

    /// Whether they may read what is called `name`.
    pub(super) fn may_read(&self, name: &str) -> bool {
        self.names.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => pattern == name,
        })
    }
}

fn allowed(text: &str) -> Result<Allowed, String> {
    let (id, names) = text.split_once('=').ok_or("write `spiffe://example.org/web=name,name`")?;
    let id = id.parse().map_err(|error: InvalidReaderId| error.to_string())?;
    let names: Vec<String> = names.split(',').map(|name| name.trim().to_owned()).collect();
    match names.iter().find(|name| name.is_empty() || name.trim_end_matches('*').contains('*')) {
        Some(name) => {
            Err(format!("`{name}` is no name: write one, or `*`, or the beginning of one and `*`"))
        }
        None => Ok(Allowed { id, names }),
    }
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

    /// Who may read what; empty: everyone everything.
    pub(super) fn allowed(&self) -> &[Allowed] {
        &self.allow
    }

    /// The same, for a server; `None`: everyone reads everything.
    pub(super) fn readers(&self) -> Option<Readers> {
        let rules = self.allow.iter().map(|allowed| vec![allowed.id.clone()]);
        (!self.allow.is_empty()).then(|| Readers::new(rules))
    }

    /// How connections are secured, after the address that is listened on.
    pub(super) fn told(&self) -> &'static str {
        match (self.tls, &self.tls_client_ca) {
            (false, _) => "",
            (true, None) => " with TLS",
            (true, Some(_)) if !self.allow.is_empty() => {
                " with TLS, client certificates and an allow-list"
            }
            (true, Some(_)) => " with TLS and client certificates",
        }
    }
}
