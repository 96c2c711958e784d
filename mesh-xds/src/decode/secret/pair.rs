//! Whether a key is that of its certificate, as far as there is crypto that tells.

use mesh_core::model::secret::SecretCertificate;

/// Why a pair is refused.
pub(super) const MISMATCH: &str =
    "it is not the key of the first certificate of certificate_chain: serve both of one issue";

/// Whether it is certain that the key is another's. What can't be read here is told by who reads it for a connection,
/// and files are read there alone: they change.
#[cfg(feature = "tls")]
pub(super) fn is_mismatch(pair: &SecretCertificate) -> bool {
    use mesh_core::model::secret::SecretSource::Inline;
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use rustls::sign::CertifiedKey;
    use rustls::{Error, InconsistentKeys};

    let (Inline(chain), Inline(key)) = (&pair.chain, &pair.private_key) else { return false };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain).collect();
    let (Ok(chain), Ok(key)) = (chain, PrivateKeyDer::from_pem_slice(key)) else { return false };
    let Ok(provider) = crate::tls::provider() else { return false };
    let pair = CertifiedKey::from_der(chain, key, &provider);
    matches!(pair, Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)))
}

/// Nobody can tell.
#[cfg(not(feature = "tls"))]
pub(super) const fn is_mismatch(_: &SecretCertificate) -> bool {
    false
}

#[cfg(test)]
#[cfg(any(feature = "tls-aws-lc", feature = "tls-ring"))]
mod tests {
    use super::*;
    use crate::decode::secret_testing::{decode_secret, named, text};
    use crate::decode::testing::check_refused;
    use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as proto;
    use mesh_core::model::secret::SecretSource;
    use proto::secret::Type;
    use rcgen::{CertificateParams, KeyPair};
    use std::path::Path;

    fn issued() -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::default().self_signed(&key).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    fn secret(chain: &str, key: &str) -> proto::Secret {
        let (certificate_chain, private_key) = (text(chain), text(key));
        let pair = proto::TlsCertificate { certificate_chain, private_key, ..Default::default() };
        named(Type::TlsCertificate(pair))
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let ((chain, key), (other_chain, other_key)) = (issued(), issued());
        assert!(decode_secret(&secret(&chain, &key)).resource.is_ok());
        // It is the first certificate's.
        assert!(decode_secret(&secret(&format!("{chain}{other_chain}"), &key)).resource.is_ok());
        let expected = "tls_certificate.private_key: it is not the key of the first certificate";
        let turned = format!("{other_chain}{chain}");
        for (rule, chain, key) in [("another", &chain, &other_key), ("turned", &turned, &key)] {
            let decoded = decode_secret(&secret(chain, key));
            check_refused(&decoded, rule, expected);
            let secret = key.lines().nth(1).unwrap();
            assert!(!format!("{decoded:?}").contains(secret), "{decoded:?}");
        }
    }

    #[test]
    fn what_is_not_here_is_not_looked_at() {
        let ((chain, _), (_, other_key)) = (issued(), issued());
        let inline = |text: &str| SecretSource::Inline(text.as_bytes().into());
        let file = || SecretSource::File(Path::new("/nowhere").into());
        let of = |chain, key| is_mismatch(&SecretCertificate::new(chain, key));
        assert!(of(inline(&chain), inline(&other_key)));
        assert!(!of(inline(&chain), file()) && !of(file(), inline(&other_key)));
        assert!(!of(inline("no PEM"), inline(&other_key)));
    }
}
