//! Certificates of this run: an authority, the server's, and the caller's.

use crate::BoxError;
use mesh_tower::identity::Material;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
    SanType,
};
use rustls::RootCertStore;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::sync::Arc;

/// The crypto of both sides and all servers.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// Issues them.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key, and who issued it; in PEM.
pub(crate) struct Pair {
    roots: String,
    chain: String,
    key: String,
}

impl Authority {
    pub(crate) fn new() -> Result<Self, BoxError> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "bench");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Ok(Self(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?))
    }

    /// A certificate for `id`, a SPIFFE id, and for `localhost`.
    pub(crate) fn issue(&self, id: &str) -> Result<Pair, BoxError> {
        let mut params = CertificateParams::default();
        params.subject_alt_names =
            vec![SanType::URI(id.try_into()?), SanType::DnsName("localhost".try_into()?)];
        let key = KeyPair::generate()?;
        let chain = params.signed_by(&key, &self.0)?.pem();
        Ok(Pair { roots: self.0.pem(), chain, key: key.serialize_pem() })
    }
}

impl Pair {
    /// The certificate and its key.
    pub(crate) fn own(
        &self,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), BoxError> {
        let chain = CertificateDer::pem_slice_iter(self.chain.as_bytes());
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes())?;
        Ok((chain.collect::<Result<_, _>>()?, key))
    }

    /// Whom to believe.
    pub(crate) fn trusted(&self) -> Result<RootCertStore, BoxError> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.roots.as_bytes())?)?;
        Ok(roots)
    }

    /// The same as a mesh's identity.
    pub(crate) fn material(&self) -> Result<Material, BoxError> {
        let (chain, key) = (self.chain.as_bytes(), self.key.as_bytes());
        Ok(Material::from_pem(chain, key, self.roots.as_bytes())?)
    }
}
