//! The client's half of TLS to a control plane: channel credentials `tls` (gRFC A65).
//!
//! The server must prove that it is the host of the target, by a root of `ca_certificate_file` or else of
//! the system; with an identity we prove who we are. The files are read for each connection: that is at most
//! once a second, and what was rotated serves the next connection. So `refresh_interval` has nothing left to
//! bound.

use super::noted::LOST;
use crate::bootstrap::CertificateFiles;
use crate::tls::{CertificateError, H2, Material, Reload, provider, refused_crypto, refused_pair};
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, CertificateError as Refused, ClientConfig, RootCertStore};
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const NO_TLS: &str = "; does the server speak TLS on this port?";

/// What a server says that does not like our certificate, or that there is none.
const ABOUT_US: [AlertDescription; 10] = [
    AlertDescription::CertificateRequired,
    AlertDescription::BadCertificate,
    AlertDescription::CertificateExpired,
    AlertDescription::CertificateRevoked,
    AlertDescription::CertificateUnknown,
    AlertDescription::UnknownCA,
    AlertDescription::AccessDenied,
    AlertDescription::HandshakeFailure,
    AlertDescription::DecryptError,
    AlertDescription::UnsupportedCertificate,
];

/// How connections to one server are secured.
#[derive(Clone, Debug)]
pub(super) struct ClientTls {
    shared: Arc<Reload<ClientConfig>>,
}

impl ClientTls {
    pub(super) fn new(files: &CertificateFiles) -> Self {
        Self { shared: Arc::new(Reload::new(files.clone(), build, Duration::ZERO)) }
    }

    /// What the files say now, or said last. For one connection.
    ///
    /// # Errors
    /// What is wrong with a file, when there never was something good.
    pub(super) async fn read(&self) -> Result<Arc<ClientConfig>, String> {
        let shared = Arc::clone(&self.shared);
        let read = tokio::task::spawn_blocking(move || shared.read(Instant::now()));
        match read.await {
            Ok(read) => read.map_err(|error| error.to_string()),
            Err(_ended) => Err("the certificates were not read: the runtime ends".to_owned()),
        }
    }

    /// What may help against an error of HTTP/2, which keeps only the text of TLS's: the server judges our
    /// certificate after the handshake (TLS 1.3).
    /// One that closes the socket at once may be faster than its own alert.
    pub(super) fn way_out_of(&self, text: &str) -> Option<String> {
        let Some((_, alert)) = text.split_once("received fatal alert: ") else {
            let may_want_ours = text.contains(LOST) && self.shared.files().identity().is_none();
            return may_want_ours.then(|| {
                "; if the server wants to know who we are, set `certificate_file` and \
                 `private_key_file`"
                    .to_owned()
            });
        };
        let alert = ABOUT_US.into_iter().find(|known| alert.starts_with(&format!("{known:?}")))?;
        refused_by_peer(alert, self.shared.files())
    }

    fn way_out(&self, error: &rustls::Error) -> Option<String> {
        way_out(error, self.shared.files())
    }
}

/// Makes a stream to `host` secure.
///
/// # Errors
/// Why not, in words.
pub(super) async fn secure<S>(
    stream: S,
    host: &str,
    config: Arc<ClientConfig>,
    tls: &ClientTls,
) -> Result<TlsStream<S>, String>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let name = server_name(host)?;
    let stream = TlsConnector::from(config).connect(name, stream).await.map_err(|error| {
        let refused = error.get_ref().and_then(|inner| inner.downcast_ref());
        let way_out = match refused {
            Some(refused) => tls.way_out(refused),
            None if error.kind() == ErrorKind::UnexpectedEof => Some(NO_TLS.to_owned()),
            None => None,
        };
        format!("TLS with `{host}`: {error}{}", way_out.unwrap_or_default())
    })?;
    match stream.get_ref().1.alpn_protocol() {
        Some(H2) => Ok(stream),
        _ => Err(format!(
            "TLS with `{host}`: the server does not offer HTTP/2 (ALPN `h2`): is this the port of gRPC?"
        )),
    }
}

/// What the certificate must be for.
fn server_name(host: &str) -> Result<ServerName<'static>, String> {
    // A certificate has the name without the dot that makes it absolute.
    let host = host.strip_suffix('.').unwrap_or(host);
    ServerName::try_from(host.to_owned())
        .map_err(|_invalid| format!("TLS: `{host}` is no name that a certificate can have"))
}

fn build(files: &CertificateFiles, held: Material) -> Result<ClientConfig, CertificateError> {
    let roots = held.roots.map_or_else(system_roots, |roots| Ok(roots.store))?;
    let builder = ClientConfig::builder_with_provider(provider()?)
        .with_safe_default_protocol_versions()
        .map_err(|error| refused_crypto(&error))?
        .with_root_certificates(roots);
    let mut config = match held.identity {
        Some((chain, key)) => builder
            .with_client_auth_cert(chain, key)
            .map_err(|error| refused_pair(files, &error))?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![H2.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn system_roots() -> Result<RootCertStore, CertificateError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (_, left_out) = roots.add_parsable_certificates(found.certs);
    tracing::debug!(target: "mesh::xds", count = roots.len(), left_out, "roots of the system");
    match roots.is_empty() {
        false => Ok(roots),
        true => {
            let reason = found.errors.first().map(|error| format!(" ({error})"));
            Err(CertificateError::NoSystemRoots { reason: reason.unwrap_or_default() })
        }
    }
}

fn way_out(error: &rustls::Error, files: &CertificateFiles) -> Option<String> {
    let roots = match files.ca_certificate() {
        Some(path) => format!("`{}`", path.display()),
        None => "the system's roots".to_owned(),
    };
    Some(match error {
        rustls::Error::InvalidCertificate(refused) => match refused {
            Refused::UnknownIssuer | Refused::BadSignature => {
                format!("; no root of {roots} has signed it: set `ca_certificate_file` to its CA")
            }
            Refused::NotValidForName | Refused::NotValidForNameContext { .. } => {
                "; write a name into `server_uri` that the certificate has".to_owned()
            }
            Refused::Expired | Refused::ExpiredContext { .. } => {
                "; renew the server's certificate, and look at the clocks".to_owned()
            }
            Refused::NotValidYet | Refused::NotValidYetContext { .. } => {
                "; look at the clocks".to_owned()
            }
            _ => return None,
        },
        rustls::Error::AlertReceived(alert) => refused_by_peer(*alert, files)?,
        rustls::Error::InvalidMessage(_) => NO_TLS.to_owned(),
        _ => return None,
    })
}

/// The server has refused: mostly who we are.
fn refused_by_peer(alert: AlertDescription, files: &CertificateFiles) -> Option<String> {
    match (ABOUT_US.contains(&alert), files.identity()) {
        (false, _) => None,
        (true, None) => Some(
            "; the server wants to know who we are: set `certificate_file` and `private_key_file`"
                .to_owned(),
        ),
        (true, Some(identity)) => Some(format!(
            "; the server does not take the certificate of `{}`: is it of a CA that it trusts, and not \
             expired?",
            identity.certificate.display()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bootstrap::IdentityFiles;
    use std::path::Path;

    fn files() -> CertificateFiles {
        CertificateFiles::new()
            .with_identity(IdentityFiles::new(Path::new("our.pem"), Path::new("our.key")))
            .with_ca_certificate(Path::new("ca.pem"))
    }

    #[test]
    fn names_that_certificates_have() {
        for (host, expected) in [
            ("a.example", Some("a.example")),
            ("a.example.", Some("a.example")),
            ("a_b.example", Some("a_b.example")),
            ("10.0.0.1", Some("10.0.0.1")),
            ("::1", Some("::1")),
            ("a..b", None),
        ] {
            let found = server_name(host).ok().map(|name| name.to_str().into_owned());
            assert_eq!(found.as_deref(), expected, "{host}");
        }
    }

    #[test]
    fn an_error_has_a_way_out() {
        use rustls::Error::{AlertReceived, InvalidCertificate};
        let none = CertificateFiles::new();
        for (error, files, expected) in [
            (InvalidCertificate(Refused::UnknownIssuer), files(), "no root of `ca.pem`"),
            (InvalidCertificate(Refused::UnknownIssuer), none.clone(), "of the system's roots"),
            (InvalidCertificate(Refused::NotValidForName), files(), "`server_uri`"),
            (InvalidCertificate(Refused::Expired), files(), "renew"),
            (InvalidCertificate(Refused::NotValidYet), files(), "clocks"),
            (
                AlertReceived(AlertDescription::CertificateRequired),
                none.clone(),
                "set `certificate_file`",
            ),
            (AlertReceived(AlertDescription::UnknownCA), files(), "`our.pem`"),
        ] {
            let found = way_out(&error, &files).unwrap_or_default();
            assert!(found.contains(expected), "{error:?}: {found}");
        }
        let others = [
            rustls::Error::HandshakeNotComplete,
            AlertReceived(AlertDescription::InternalError),
            InvalidCertificate(Refused::Revoked),
        ];
        for error in others {
            assert_eq!(way_out(&error, &none), None, "{error:?}");
        }
    }
}
