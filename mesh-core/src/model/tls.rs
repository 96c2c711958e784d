//! How a cluster's connections are secured.
//!
//! A [`TlsPolicy`] is what the configuration says; where it names secrets, [`UpstreamTls::resolve`] puts them
//! in: the one thing that a TLS implementation has to look at. It is a function of the policy and of the
//! secrets that are in force, so that a secret that rotates changes no policy.

mod matches;
mod resolve;
mod spiffe;

pub use matches::{TlsLabels, TlsMatch};
pub use resolve::{ResolvedIdentity, ResolvedRoots, ResolvedTls, SecretError};
pub use spiffe::SpiffeBundles;

use super::SanMatcher;
use super::secret::{SecretCertificate, SecretRoots, SecretSource};
use std::path::Path;
use std::sync::Arc;

/// How a cluster's connections are secured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsPolicy {
    /// Plaintext.
    #[default]
    Off,
    /// TLS; what the peer must prove is said inside. A transport that can't do it fails closed.
    On(Arc<UpstreamTls>),
}

/// What a TLS peer must prove, and what we show (Envoy: `UpstreamTlsContext`).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UpstreamTls {
    /// Who signs the peer's certificate. Default: whom the system trusts.
    pub roots: TlsRoots,
    /// The name sent as SNI. Default: none.
    pub sni: Option<Arc<str>>,
    /// The endpoint's hostname is sent in place of [`sni`](Self::sni), where it has one (Envoy:
    /// `auto_host_sni`; gRFC A101). Default true, other than Envoy's: where a name is set, it counts only
    /// for endpoints without one, unless this is false.
    pub auto_host_sni: bool,
    /// Any of these must match a subject alternative name; empty: the SNI must. Those of a secret come
    /// after them ([`ValidationSecret`]). If it is empty and no SNI is sent, the certificate must be for
    /// the endpoint's hostname, or without one for its IP address; but by roots of an identity
    /// ([`TlsRoots::Mesh`], [`TlsRoots::Provider`], [`TlsRoots::Spiffe`]) whoever they sign for is accepted
    /// (gRFC A29).
    pub san: Vec<SanMatcher>,
    /// The [server name](Self::server_name) must be proven in place of all names, also if it is an IP address, which
    /// is not sent (RFC 6066 section 3); where there is none, the names count (Envoy: `auto_sni_san_validation`;
    /// gRFC A101). Default false.
    pub auto_sni_san_validation: bool,
    /// The protocols that are offered (ALPN), the best first (Envoy: `alpn_protocols`), in place of what
    /// follows from the cluster's `protocol`. Default: empty, so those that follow. Of Istio's own
    /// tokens, `istio-http/1.0`, `istio-http/1.1` and `istio-h2` stand for the protocol in their name,
    /// and `istio` for none; `istio-peer-exchange` is never offered, for nobody here speaks what follows it.
    pub alpn: Vec<Arc<str>>,
    /// Our own identity that the peer may ask for (mutual TLS). Default: none.
    pub identity: TlsIdentity,
    /// Certificates that were revoked, as lists in PEM (Envoy: `crl`); those of a secret take their place.
    /// With a list, one that is not over has to be there for each issuer in a peer's chain. Default: none.
    pub crl: Option<SecretSource>,
}

/// What a server shows, and what its clients must prove (Envoy: `DownstreamTlsContext`).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DownstreamTls {
    /// What we show. [`TlsIdentity::None`] can't serve: every handshake fails.
    pub identity: TlsIdentity,
    /// Who signs clients' certificates; `None`: they are not asked for.
    pub roots: Option<TlsRoots>,
    /// Any of these must match a name of a client's certificate; empty: any that is signed.
    pub san: Vec<SanMatcher>,
    /// Whether a client without a certificate is refused (Envoy: `require_client_certificate`). It is as well where names
    /// are wanted, or SPIFFE's validator is asked ([`wants_certificate`](Self::wants_certificate)).
    /// Default true.
    pub require_client_certificate: bool,
    /// The protocols that are agreed on, ours first (Envoy: `alpn_protocols`). Default: `h2`,
    /// `http/1.1`. A client that offers none of them is served nevertheless, as Envoy does.
    pub alpn: Vec<Arc<str>>,
    /// Certificates that were revoked, as lists in PEM (Envoy: `crl`); `None`: none. Those of a secret take
    /// their place. With a list, one that is not over has to be there for each issuer in a client's chain.
    pub crl: Option<SecretSource>,
}

impl DownstreamTls {
    /// Mutual TLS by the mesh's own identity and roots.
    #[must_use]
    pub fn mutual() -> Self {
        Self {
            identity: TlsIdentity::Mesh,
            roots: Some(TlsRoots::Mesh),
            san: Vec::new(),
            require_client_certificate: true,
            alpn: ["h2", "http/1.1"].map(Arc::from).into(),
            crl: None,
        }
    }
}

/// The identity that we show to a peer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsIdentity {
    /// None: a peer that asks for one gets an empty list of certificates.
    #[default]
    None,
    /// The mesh's own, whichever is in force. Of a control plane it is the certificate provider that the
    /// bootstrap file calls `default` (gRFC A29).
    Mesh,
    /// Another certificate provider of the bootstrap file, by its name (gRFC A29).
    Provider(Arc<str>),
    /// The secret of this name, which must be a certificate (Envoy:
    /// `tls_certificate_sds_secret_configs`).
    Secret(Arc<str>),
    /// This one (Envoy: `tls_certificates`). It is a part of the cluster: another one is another cluster.
    Certificate(Arc<SecretCertificate>),
}

/// Who signs the peer's certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsRoots {
    /// The public certificate authorities that the system trusts.
    #[default]
    System,
    /// The mesh's own, of the identity in force. Of a control plane they are those of the certificate
    /// provider that the bootstrap file calls `default` (gRFC A29).
    Mesh,
    /// Those of another certificate provider of the bootstrap file, by its name (gRFC A29).
    Provider(Arc<str>),
    /// The certificates of a PEM text.
    Pem(Arc<str>),
    /// The certificates of a file in PEM, which may be replaced.
    File(Arc<Path>),
    /// Those of each trust domain, for its members only.
    Spiffe(Arc<SpiffeBundles>),
    /// What a secret says.
    Secret(ValidationSecret),
}

/// A secret that says what a peer must prove (Envoy: `validation_context_sds_secret_config`), alone or beside
/// a default (Envoy: `combined_validation_context`).
///
/// Envoy merges the secret into the default: its roots take the place of the default's, and its names come
/// after those. The default's names are [`UpstreamTls::san`]. The checks that a secret may ask for beyond
/// that are refused when it is decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ValidationSecret {
    /// Its name. It must be a validation context.
    pub name: Arc<str>,
    /// The default's own roots: they count where the secret says none, and certificates in PEM also where it says the
    /// system's, as `trusted_ca` counts before `system_root_certs` (Envoy).
    pub roots: SecretRoots,
}

impl ValidationSecret {
    /// The secret of this name, without a default.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self { name: name.into(), roots: SecretRoots::Unsaid }
    }
}

impl DownstreamTls {
    /// Whether a client without a certificate is refused. Envoy: where one is required, where names of it are wanted, and
    /// where SPIFFE's validator is asked, which wants an id. `resolved`: what the secrets in force add; without it
    /// only what the policy itself says is known.
    #[must_use]
    pub fn wants_certificate(&self, resolved: Option<&ResolvedTls>) -> bool {
        let Some(roots) = &self.roots else { return false };
        let are_wanted = |tls: &ResolvedTls| {
            !tls.san.is_empty() || matches!(tls.roots, ResolvedRoots::Spiffe(_))
        };
        self.require_client_certificate
            || !self.san.is_empty()
            || matches!(roots, TlsRoots::Spiffe(_))
            || resolved.is_some_and(are_wanted)
    }

    /// The names of the secrets that it needs: that of the identity first, then that of the roots.
    pub fn secrets(&self) -> impl Iterator<Item = &Arc<str>> {
        secrets(&self.identity, self.roots.as_ref())
    }
}

/// The names of the secrets among these.
fn secrets<'t>(
    identity: &'t TlsIdentity,
    roots: Option<&'t TlsRoots>,
) -> impl Iterator<Item = &'t Arc<str>> {
    let identity = match identity {
        TlsIdentity::Secret(name) => Some(name),
        TlsIdentity::None
        | TlsIdentity::Mesh
        | TlsIdentity::Provider(_)
        | TlsIdentity::Certificate(_) => None,
    };
    let roots = match roots {
        Some(TlsRoots::Secret(secret)) => Some(&secret.name),
        Some(
            TlsRoots::System
            | TlsRoots::Mesh
            | TlsRoots::Provider(_)
            | TlsRoots::Pem(_)
            | TlsRoots::File(_)
            | TlsRoots::Spiffe(_),
        )
        | None => None,
    };
    identity.into_iter().chain(roots)
}

impl TlsPolicy {
    /// The names of the secrets that it needs: none, one, or two.
    pub fn secrets(&self) -> impl Iterator<Item = &Arc<str>> {
        let tls = match self {
            Self::Off => None,
            Self::On(tls) => Some(tls),
        };
        tls.into_iter().flat_map(|tls| tls.secrets())
    }
}

impl Default for UpstreamTls {
    fn default() -> Self {
        Self {
            roots: TlsRoots::default(),
            sni: None,
            auto_host_sni: true,
            san: Vec::new(),
            auto_sni_san_validation: false,
            alpn: Vec::new(),
            identity: TlsIdentity::default(),
            crl: None,
        }
    }
}

impl UpstreamTls {
    /// The names of the secrets that it needs: that of the identity first, then that of the roots, which
    /// may be the same.
    pub fn secrets(&self) -> impl Iterator<Item = &Arc<str>> {
        secrets(&self.identity, Some(&self.roots))
    }

    /// The name to send to an endpoint of this hostname, in the order of gRFC A101: the hostname, if
    /// `auto_host_sni`, then `sni`, then none. An empty name is none.
    #[must_use]
    pub fn server_name<'n>(&'n self, hostname: Option<&'n str>) -> Option<&'n str> {
        let hostname = hostname.filter(|name| self.auto_host_sni && !name.is_empty());
        hostname.or(self.sni.as_deref()).filter(|name| !name.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grfc_a101_which_name_is_sent() {
        let table = [
            (None, false, None, None),
            (None, false, Some("host"), None),
            (Some("sni"), false, None, Some("sni")),
            (Some("sni"), false, Some("host"), Some("sni")),
            (None, true, None, None),
            (None, true, Some("host"), Some("host")),
            (Some("sni"), true, None, Some("sni")),
            (Some("sni"), true, Some(""), Some("sni")),
            (Some("sni"), true, Some("host"), Some("host")),
            (Some(""), false, Some("host"), None),
        ];
        for (sni, auto_host_sni, hostname, expected) in table {
            let sni = sni.map(Arc::from);
            let tls = UpstreamTls { sni, auto_host_sni, ..UpstreamTls::default() };
            assert_eq!(tls.server_name(hostname), expected, "{tls:?} {hostname:?}");
        }
    }
}
