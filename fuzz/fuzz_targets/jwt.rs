//! Tokens and key sets: whatever the bytes, there is a token that begins with what is signed, or an error;
//! keys are only asked about algorithms of their own kind, and HMAC and `none` are never algorithms.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mesh_core::filter::jwt::{KeySet, MAX_KEYS, Token};
use mesh_fuzz::split;

fuzz_target!(|bytes: &[u8]| {
    let (token, keys) = split(bytes, b"\n");
    let token = std::str::from_utf8(token).ok().map(Token::parse);
    if let Some(Err(error)) = &token {
        assert!(!error.to_string().is_empty() && error.code().starts_with("jwt_"));
    }
    let keys = match KeySet::parse(keys) {
        Ok(keys) => {
            assert!(!keys.is_empty() && keys.len() <= MAX_KEYS);
            keys
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            KeySet::default()
        }
    };
    let Some(Ok(token)) = token else { return };
    assert!(token.text().as_bytes().starts_with(token.signed()));
    assert_eq!(token.signed().iter().filter(|byte| **byte == b'.').count(), 1);
    assert!(!token.signature().is_empty());
    let name = token.algorithm().name();
    assert!(!name.is_empty() && !name.starts_with("HS"));
    for key in keys.for_token(&token) {
        assert!(!key.public().is_empty());
        assert!(key.algorithm.is_none_or(|own| own == token.algorithm()));
        assert!(key.kid.is_none() || token.kid().is_none() || key.kid.as_deref() == token.kid());
    }
    // Nothing of a token is in what logs may show.
    assert!(!format!("{token:?}").contains(&**token.text()));
});
