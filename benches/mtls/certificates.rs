//! One authority, a server's and a client's certificate (ECDSA P-256), and what rustls makes of them.

use crate::BoxError;
use mesh_tower::identity::Material;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, SanType,
};
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::sync::Arc;

/// Who serves.
pub(crate) const SERVER: &str = "spiffe://mesh.example/server";
/// The name by which rustls' own verifier knows the server.
pub(crate) const HOST: &str = "localhost";
const CLIENT: &str = "spiffe://mesh.example/client";

/// A certificate and its key, in PEM.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) chain: String,
    pub(crate) key: String,
}

/// All that both sides need.
#[derive(Clone, Debug)]
pub(crate) struct Certificates {
    pub(crate) roots: String,
    pub(crate) server: Pair,
    pub(crate) client: Pair,
}

impl Certificates {
    pub(crate) fn issue() -> Result<Self, BoxError> {
        let mut params = CertificateParams::default();
        // With rcgen's default both would have one name, and BoringSSL takes the others for self-signed.
        params.distinguished_name.push(DnType::CommonName, "the authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let ca = CertifiedIssuer::self_signed(params, key()?)?;
        let issue = |uri: &str| -> Result<Pair, BoxError> {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, uri);
            let (uri, host) = (uri.try_into()?, HOST.try_into()?);
            params.subject_alt_names = vec![SanType::URI(uri), SanType::DnsName(host)];
            let key = key()?;
            let chain = params.signed_by(&key, &ca)?.pem();
            Ok(Pair { chain, key: key.serialize_pem() })
        };
        Ok(Self { roots: ca.pem(), server: issue(SERVER)?, client: issue(CLIENT)? })
    }

    /// The mesh's identity.
    pub(crate) fn material(&self, pair: &Pair) -> Result<Material, BoxError> {
        let (chain, key) = (pair.chain.as_bytes(), pair.key.as_bytes());
        Ok(Material::from_pem(chain, key, self.roots.as_bytes())?)
    }

    /// A server that wants certificates of clients, and resumes nothing.
    pub(crate) fn server(&self, alpn: &[u8]) -> Result<Arc<ServerConfig>, BoxError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let roots = Arc::new(self.root_store()?);
        let verifier =
            WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider)).build()?;
        let (chain, key) = der(&self.server)?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)?;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.alpn_protocols = vec![alpn.to_vec()];
        Ok(Arc::new(config))
    }

    /// A client that shows its certificate, if it `shows` it, and resumes nothing.
    pub(crate) fn client(
        &self,
        alpn: &[u8],
        provider: CryptoProvider,
        shows: bool,
    ) -> Result<Arc<ClientConfig>, BoxError> {
        let builder = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(self.root_store()?);
        let mut config = if shows {
            let (chain, key) = der(&self.client)?;
            builder.with_client_auth_cert(chain, key)?
        } else {
            builder.with_no_client_auth()
        };
        config.resumption = Resumption::disabled();
        config.alpn_protocols = vec![alpn.to_vec()];
        Ok(Arc::new(config))
    }

    fn root_store(&self) -> Result<RootCertStore, BoxError> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.roots.as_bytes())?)?;
        Ok(roots)
    }
}

fn key() -> Result<KeyPair, BoxError> {
    Ok(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?)
}

fn der(pair: &Pair) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), BoxError> {
    let chain = CertificateDer::pem_slice_iter(pair.chain.as_bytes()).collect::<Result<_, _>>()?;
    Ok((chain, PrivateKeyDer::from_pem_slice(pair.key.as_bytes())?))
}
