//! Whether a token's signature is good: by the crypto that verifies certificates, whichever that is.
//!
//! A token is signed as certificates are, so the program's one provider of crypto does both, and no other
//! library has to be trusted. What it can't do is refused: `ring` has no ES512.

use crate::identity::crypto;
use mesh_core::filter::jwt::{Algorithm, JwtError, Key, KeySet, TokenCheck};
use parking_lot::Mutex;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{AlgorithmIdentifier, alg_id};
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

/// The most tokens that are remembered, of all providers together and whatever they allow.
const MAX_REMEMBERED: usize = 1024;

/// Checks signatures, and remembers good ones.
pub(super) struct Verifier {
    algorithms: Option<WebPkiSupportedAlgorithms>,
    /// The newest first. Signatures only: claims are looked at for every request.
    good: Mutex<VecDeque<Remembered>>,
}

struct Remembered {
    token: Arc<str>,
    /// The keys that it was good by, and no others.
    keys: Arc<KeySet>,
    /// Whose it is.
    provider: Arc<str>,
}

impl Verifier {
    pub(super) fn new() -> Self {
        let provider = crypto::provider();
        let algorithms = provider.map(|provider| provider.signature_verification_algorithms);
        Self { algorithms, good: Mutex::default() }
    }

    /// Checks a token's signature by the keys that may have made it.
    ///
    /// # Errors
    /// [`JwtError::NoKey`], [`JwtError::Signature`]; [`JwtError::Algorithm`] when the crypto has it not.
    pub(super) fn check(&self, check: &TokenCheck, keys: &Arc<KeySet>) -> Result<(), JwtError> {
        let token = &check.token;
        let size = usize::try_from(check.cache_size).unwrap_or(usize::MAX).min(MAX_REMEMBERED);
        if size > 0 && self.remembers(token.text(), keys) {
            return Ok(());
        }
        let mut result = Err(JwtError::NoKey);
        for key in keys.for_token(token) {
            result = self.by(key, check);
            if result.is_ok() {
                break;
            }
        }
        if size > 0 && result.is_ok() {
            self.remember(check, keys, size);
        }
        result
    }

    fn by(&self, key: &Key, check: &TokenCheck) -> Result<(), JwtError> {
        let token = &check.token;
        let ids = ids(token.algorithm()).ok_or(JwtError::Algorithm)?;
        let all = self.algorithms.iter().flat_map(|algorithms| algorithms.all);
        let known =
            all.filter(|known| (known.public_key_alg_id(), known.signature_alg_id()) == ids);
        let mut result = Err(JwtError::Algorithm);
        for known in known {
            let good = known.verify_signature(key.public(), token.signed(), token.signature());
            if good.is_ok() {
                return Ok(());
            }
            result = Err(JwtError::Signature);
        }
        result
    }

    fn remembers(&self, token: &Arc<str>, keys: &Arc<KeySet>) -> bool {
        let good = self.good.lock();
        good.iter().any(|known| Arc::ptr_eq(&known.keys, keys) && known.token == *token)
    }

    /// Whether it is remembered, by whichever keys.
    #[cfg(test)]
    pub(super) fn knows(&self, token: &str) -> bool {
        self.good.lock().iter().any(|known| &*known.token == token)
    }

    /// Remembers a good token, as one of `size` of its provider's. One that says that it wants few costs others none of
    /// theirs.
    fn remember(&self, check: &TokenCheck, keys: &Arc<KeySet>, size: usize) {
        let (token, provider) = (Arc::clone(check.token.text()), Arc::clone(&check.provider));
        let mut good = self.good.lock();
        good.push_front(Remembered { token, keys: Arc::clone(keys), provider });
        let mut own = 0;
        good.retain(|known| {
            let is_own = Arc::ptr_eq(&known.keys, keys) && known.provider == check.provider;
            own += usize::from(is_own);
            !is_own || own <= size
        });
        good.truncate(MAX_REMEMBERED);
    }
}

/// How the crypto names an algorithm (RFC 8017, RFC 5758, RFC 8410).
const fn ids(algorithm: Algorithm) -> Option<(AlgorithmIdentifier, AlgorithmIdentifier)> {
    Some(match algorithm {
        Algorithm::Rs256 => (alg_id::RSA_ENCRYPTION, alg_id::RSA_PKCS1_SHA256),
        Algorithm::Rs384 => (alg_id::RSA_ENCRYPTION, alg_id::RSA_PKCS1_SHA384),
        Algorithm::Rs512 => (alg_id::RSA_ENCRYPTION, alg_id::RSA_PKCS1_SHA512),
        Algorithm::Ps256 => (alg_id::RSA_ENCRYPTION, alg_id::RSA_PSS_SHA256),
        Algorithm::Ps384 => (alg_id::RSA_ENCRYPTION, alg_id::RSA_PSS_SHA384),
        Algorithm::Ps512 => (alg_id::RSA_ENCRYPTION, alg_id::RSA_PSS_SHA512),
        Algorithm::Es256 => (alg_id::ECDSA_P256, alg_id::ECDSA_SHA256),
        Algorithm::Es384 => (alg_id::ECDSA_P384, alg_id::ECDSA_SHA384),
        Algorithm::Es512 => (alg_id::ECDSA_P521, alg_id::ECDSA_SHA512),
        Algorithm::EdDsa => (alg_id::ED25519, alg_id::ED25519),
        _ => return None,
    })
}

impl fmt::Debug for Verifier {
    /// Without what it remembers: tokens are secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").finish_non_exhaustive()
    }
}
