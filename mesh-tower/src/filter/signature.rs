//! Whether a token's signature is good: by the crypto that verifies certificates, whichever that is.
//!
//! A token is signed as certificates are, so the program's one provider of crypto does both, and no other
//! library has to be trusted. What it can't do is refused: `ring` has no ES512.
//!
//! A token that was good is remembered. Looking for one takes no lock and looks at a few of them: they are in
//! [`SHARDS`] lists by the hash of their signatures, which no two tokens share but on purpose, and whoever remembers
//! another one makes its list anew.

use crate::identity::crypto;
use arc_swap::ArcSwap;
use mesh_core::filter::jwt::{Algorithm, JwtError, Key, KeySet, Token, TokenCheck};
use parking_lot::Mutex;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{AlgorithmIdentifier, alg_id};
use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

/// The most tokens that are remembered, of all providers together and whatever they allow.
const MAX_REMEMBERED: usize = 1024;

/// Lists of those, of sixteen each when there are as many as may be.
const SHARDS: usize = 64;

/// Checks signatures, and remembers good ones.
pub(super) struct Verifier {
    algorithms: Option<WebPkiSupportedAlgorithms>,
    /// What is remembered, by hash. Signatures only: claims are looked at for every request.
    good: [ArcSwap<Vec<Remembered>>; SHARDS],
    /// The same, the newest first: for those who remember another one.
    order: Mutex<VecDeque<Remembered>>,
    hasher: RandomState,
}

#[derive(Clone)]
struct Remembered {
    /// Of its signature.
    hash: u64,
    token: Arc<str>,
    /// The keys that it was good by, and no others.
    keys: Arc<KeySet>,
    /// Whose it is.
    provider: Arc<str>,
}

impl Remembered {
    fn is(&self, hash: u64, token: &Token, keys: &Arc<KeySet>) -> bool {
        self.hash == hash && Arc::ptr_eq(&self.keys, keys) && self.token == *token.text()
    }
}

impl Verifier {
    pub(super) fn new() -> Self {
        let provider = crypto::provider();
        let algorithms = provider.map(|provider| provider.signature_verification_algorithms);
        let good = std::array::from_fn(|_| ArcSwap::default());
        Self { algorithms, good, order: Mutex::default(), hasher: RandomState::new() }
    }

    /// Checks a token's signature by the keys that may have made it.
    ///
    /// # Errors
    /// [`JwtError::NoKey`], [`JwtError::Signature`]; [`JwtError::Algorithm`] when the crypto has it not.
    pub(super) fn check(&self, check: &TokenCheck, keys: &Arc<KeySet>) -> Result<(), JwtError> {
        let token = &check.token;
        let size = usize::try_from(check.cache_size).unwrap_or(usize::MAX).min(MAX_REMEMBERED);
        if size > 0 && self.remembers(token, keys) {
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

    fn remembers(&self, token: &Token, keys: &Arc<KeySet>) -> bool {
        let hash = self.hash(token);
        self.good[shard(hash)].load().iter().any(|known| known.is(hash, token, keys))
    }

    fn hash(&self, token: &Token) -> u64 {
        self.hasher.hash_one(token.signature())
    }

    /// The tokens that are remembered, by whichever keys.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> Vec<Arc<str>> {
        let known = self.good.iter().flat_map(|shard| shard.load_full().to_vec());
        known.map(|known| known.token).collect()
    }

    /// Remembers a good token, as one of `size` of its provider's. One that says that it wants few costs others none of
    /// theirs.
    pub(super) fn remember(&self, check: &TokenCheck, keys: &Arc<KeySet>, size: usize) {
        let hash = self.hash(&check.token);
        let mut order = self.order.lock();
        if order.iter().any(|known| known.is(hash, &check.token, keys)) {
            // Somebody has checked it at the same time.
            return;
        }
        let (token, provider) = (Arc::clone(check.token.text()), Arc::clone(&check.provider));
        order.push_front(Remembered { hash, token, keys: Arc::clone(keys), provider });
        let mut changed = BTreeSet::from([shard(hash)]);
        let (mut all, mut own) = (0, 0);
        order.retain(|known| {
            let is_own = Arc::ptr_eq(&known.keys, keys) && known.provider == check.provider;
            own += usize::from(is_own);
            let stays = all < MAX_REMEMBERED && (!is_own || own <= size);
            all += usize::from(stays);
            if !stays {
                changed.insert(shard(known.hash));
            }
            stays
        });
        for at in changed {
            let known = order.iter().filter(|known| shard(known.hash) == at);
            self.good[at].store(Arc::new(known.cloned().collect()));
        }
    }
}

const fn shard(hash: u64) -> usize {
    hash as usize % SHARDS
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
