//! [`Token`]: a signed token's parts (RFC 7515 §7.1, RFC 7519).

use super::JwtError;
use super::der;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use std::fmt;
use std::sync::Arc;

/// A token that has its three parts. Nothing of it is proven.
pub struct Token {
    text: Arc<str>,
    /// Where the second dot is.
    signed: usize,
    algorithm: Algorithm,
    kid: Option<Box<str>>,
    pub(super) header: Map<String, Value>,
    pub(super) claims: Map<String, Value>,
    signature: Vec<u8>,
}

/// How a token is signed (RFC 7518 §3, RFC 8037). HMAC is not among them, nor `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    Rs512,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// RSASSA-PSS with SHA-384.
    Ps384,
    /// RSASSA-PSS with SHA-512.
    Ps512,
    /// ECDSA with P-256 and SHA-256.
    Es256,
    /// ECDSA with P-384 and SHA-384.
    Es384,
    /// ECDSA with P-521 and SHA-512.
    Es512,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    const ALL: [(&'static str, Self); 10] = [
        ("RS256", Self::Rs256),
        ("RS384", Self::Rs384),
        ("RS512", Self::Rs512),
        ("PS256", Self::Ps256),
        ("PS384", Self::Ps384),
        ("PS512", Self::Ps512),
        ("ES256", Self::Es256),
        ("ES384", Self::Es384),
        ("ES512", Self::Es512),
        ("EdDSA", Self::EdDsa),
    ];

    /// The name in a token's header (RFC 7518 §3.1).
    #[must_use]
    pub fn name(self) -> &'static str {
        let found = Self::ALL.iter().find(|(_, known)| *known == self);
        found.map_or("", |(name, _)| name)
    }

    /// The algorithm of this name.
    pub(super) fn of(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, algorithm)| *algorithm)
    }

    /// The bytes of each half of an ECDSA signature.
    const fn half(self) -> Option<usize> {
        match self {
            Self::Es256 => Some(32),
            Self::Es384 => Some(48),
            Self::Es512 => Some(66),
            _ => None,
        }
    }
}

impl Token {
    /// Takes a token apart. The text is at most what the provider allows.
    ///
    /// # Errors
    /// [`JwtError::Malformed`], [`JwtError::Algorithm`].
    pub fn parse(text: &str) -> Result<Self, JwtError> {
        let mut parts = text.split('.');
        let (Some(header), Some(claims), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(JwtError::Malformed("it has not three parts"));
        };
        let signed = header.len() + 1 + claims.len();
        let header = object(header, "its header is no JSON object in base64url")?;
        let name = header.get("alg").and_then(Value::as_str);
        let name = name.ok_or(JwtError::Malformed("its header has no `alg`"))?;
        let algorithm = Algorithm::of(name).ok_or(JwtError::Algorithm)?;
        // RFC 7515 §4.1.11: what must be understood and is not makes the token invalid.
        if header.contains_key("crit") {
            return Err(JwtError::Malformed(
                "its header has `crit`, of which nothing is known here",
            ));
        }
        let kid = match header.get("kid") {
            None | Some(Value::Null) => None,
            Some(Value::String(kid)) => Some(kid.as_str().into()),
            Some(_) => return Err(JwtError::Malformed("its `kid` is no text")),
        };
        let claims = object(claims, "its claims are no JSON object in base64url")?;
        let signature = URL_SAFE_NO_PAD
            .decode(signature)
            .ok()
            .filter(|signature| !signature.is_empty())
            .ok_or(JwtError::Malformed("its signature is not in base64url"))?;
        let signature = match algorithm.half() {
            None => signature,
            Some(half) => der::ecdsa_signature(&signature, half)
                .ok_or(JwtError::Malformed("its signature has the wrong length"))?,
        };
        Ok(Self { text: Arc::from(text), signed, algorithm, kid, header, claims, signature })
    }

    /// The whole token. It is a secret: who has it is whom it is about.
    #[must_use]
    pub const fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// How it says it is signed.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Which key it says it is signed with.
    #[must_use]
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// What is signed.
    #[must_use]
    pub fn signed(&self) -> &[u8] {
        self.text.as_bytes().get(..self.signed).unwrap_or_default()
    }

    /// The signature; of ECDSA in DER, as verifiers of certificates want it.
    #[must_use]
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// The claims as they were sent.
    pub(super) fn claims_text(&self) -> &str {
        self.text.split('.').nth(1).unwrap_or_default()
    }
}

fn object(part: &str, wrong: &'static str) -> Result<Map<String, Value>, JwtError> {
    let bytes = URL_SAFE_NO_PAD.decode(part).ok();
    bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).ok_or(JwtError::Malformed(wrong))
}

impl fmt::Debug for Token {
    /// Without what would let others use it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { algorithm, kid, .. } = self;
        f.debug_struct("Token")
            .field("algorithm", algorithm)
            .field("kid", kid)
            .finish_non_exhaustive()
    }
}
