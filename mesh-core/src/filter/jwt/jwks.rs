//! [`KeySet`]: public keys, as JSON has them (RFC 7517, RFC 7518 §6, RFC 8037).

use super::{Algorithm, Token, der};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

/// The most bytes of a key set's JSON.
pub const MAX_JWKS: usize = 256 * 1024;
/// The most keys of a set; every one that fits a token is tried.
pub const MAX_KEYS: usize = 64;
/// The sizes of RSA moduli that are taken, in bytes: 2048 to 8192 bits.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

/// Public keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeySet {
    keys: Box<[Key]>,
}

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Key {
    /// Its id; `None`: it may have signed any token.
    pub kid: Option<Box<str>>,
    /// The only algorithm that it is for; `None`: any of its kind.
    pub algorithm: Option<Algorithm>,
    kind: Kind,
    public: Box<[u8]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Rsa,
    P256,
    P384,
    P521,
    Ed25519,
}

/// Why a key set can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeySetError {
    /// It is too large.
    #[error("the key set is larger than {MAX_JWKS} bytes")]
    TooLarge,
    /// It is no key set.
    #[error("it is no key set: a JSON object with a list `keys` is expected (RFC 7517)")]
    NotJson,
    /// It has too many keys.
    #[error("the key set has {0} keys, at most {MAX_KEYS} are taken")]
    TooManyKeys(usize),
    /// None of its keys can be used.
    #[error("the key set has no key that can be used: {0}")]
    NoKey(&'static str),
}

impl KeySet {
    /// Reads a key set. Keys of other kinds or uses than signatures are passed over, as RFC 7517 §5
    /// says; HMAC's shared secrets are among them.
    ///
    /// # Errors
    /// [`KeySetError`]; a set without any key that can be used is one, so that it replaces no good one.
    pub fn parse(json: &[u8]) -> Result<Self, KeySetError> {
        if json.len() > MAX_JWKS {
            return Err(KeySetError::TooLarge);
        }
        let value: Value = serde_json::from_slice(json).ok().ok_or(KeySetError::NotJson)?;
        let list = value.get("keys").and_then(Value::as_array).ok_or(KeySetError::NotJson)?;
        if list.len() > MAX_KEYS {
            return Err(KeySetError::TooManyKeys(list.len()));
        }
        let mut keys = Vec::with_capacity(list.len());
        let mut first_wrong = None;
        for key in list {
            match read(key) {
                Ok(key) => keys.push(key),
                Err(wrong) => first_wrong = first_wrong.or(Some(wrong)),
            }
        }
        if keys.is_empty() {
            return Err(KeySetError::NoKey(first_wrong.unwrap_or("it is empty")));
        }
        Ok(Self { keys: keys.into() })
    }

    /// The keys that may have signed `token`: of its kind, and of its id where both have one.
    pub fn for_token<'k>(&'k self, token: &'k Token) -> impl Iterator<Item = &'k Key> {
        self.keys.iter().filter(|key| key.may_have_signed(token.algorithm(), token.kid()))
    }

    /// How many keys it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether it has none; one that was read has some.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

impl Key {
    /// The `subjectPublicKey` of an X.509 certificate with this key: what verifiers take.
    #[must_use]
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    fn may_have_signed(&self, algorithm: Algorithm, kid: Option<&str>) -> bool {
        let same_id = match (&self.kid, kid) {
            (Some(own), Some(asked)) => **own == *asked,
            _ => true,
        };
        same_id && self.kind.signs(algorithm) && self.algorithm.is_none_or(|own| own == algorithm)
    }
}

impl Kind {
    const fn signs(self, algorithm: Algorithm) -> bool {
        match algorithm {
            Algorithm::Rs256
            | Algorithm::Rs384
            | Algorithm::Rs512
            | Algorithm::Ps256
            | Algorithm::Ps384
            | Algorithm::Ps512 => matches!(self, Self::Rsa),
            Algorithm::Es256 => matches!(self, Self::P256),
            Algorithm::Es384 => matches!(self, Self::P384),
            Algorithm::Es512 => matches!(self, Self::P521),
            Algorithm::EdDsa => matches!(self, Self::Ed25519),
        }
    }
}

fn read(key: &Value) -> Result<Key, &'static str> {
    let text = |name| key.get(name).and_then(Value::as_str);
    if text("use").is_some_and(|used| used != "sig") {
        return Err("a key's `use` is not `sig`");
    }
    let algorithm = match text("alg") {
        None => None,
        Some(name) => Some(Algorithm::of(name).ok_or("a key's `alg` is not supported")?),
    };
    let (kind, public) = match text("kty").ok_or("a key has no `kty`")? {
        "RSA" => (Kind::Rsa, rsa(key)?),
        "EC" => ec(key, text("crv"))?,
        "OKP" if text("crv") == Some("Ed25519") => {
            (Kind::Ed25519, number(key, "x", 32).ok_or("an Ed25519 key has not 32 bytes of `x`")?)
        }
        "oct" => return Err("shared secrets (`oct`, HMAC) are not supported: use public keys"),
        _ => return Err("a key's `kty` or `crv` is not supported"),
    };
    let kid = text("kid").map(Box::from);
    Ok(Key { kid, algorithm, kind, public: public.into() })
}

fn rsa(key: &Value) -> Result<Vec<u8>, &'static str> {
    let modulus = bytes(key, "n").ok_or("an RSA key has no `n` in base64url")?;
    let exponent = bytes(key, "e").ok_or("an RSA key has no `e` in base64url")?;
    let size = modulus.iter().skip_while(|byte| **byte == 0).count();
    if !RSA_BYTES.contains(&size) || exponent.len() > 8 {
        return Err("an RSA key has not 2048 to 8192 bits");
    }
    Ok(der::rsa_public_key(&modulus, &exponent))
}

/// An uncompressed point (SEC 1 §2.3.3).
fn ec(key: &Value, curve: Option<&str>) -> Result<(Kind, Vec<u8>), &'static str> {
    let (kind, size) = match curve {
        Some("P-256") => (Kind::P256, 32),
        Some("P-384") => (Kind::P384, 48),
        Some("P-521") => (Kind::P521, 66),
        _ => return Err("an EC key's `crv` is not supported"),
    };
    let coordinate =
        |name| number(key, name, size).ok_or("an EC key's `x` or `y` has another length");
    let mut point = vec![4];
    point.extend(coordinate("x")?);
    point.extend(coordinate("y")?);
    Ok((kind, point))
}

fn bytes(key: &Value, name: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(key.get(name)?.as_str()?).ok()
}

/// Bytes of a fixed number (RFC 7518 §6.2.1.2).
fn number(key: &Value, name: &str, size: usize) -> Option<Vec<u8>> {
    bytes(key, name).filter(|bytes| bytes.len() == size)
}
