//! [`TokenFile`]: call credentials `jwt_token_file` (gRFC A97).
//!
//! ```text
//! a stream is opened ── file read ──> JWT with `exp` ── not over yet ──> authorization: Bearer …
//!                          │ not readable, no JWT, over
//!                          └──> the last one that was good, until 30 s before its end; else the stream fails
//! ```
//!
//! - The file is read for each stream. gRFC A97 keeps a token until a minute before its end; streams are
//!   opened at least a second apart, so reading is cheap, and a wrong token that was replaced is not sent
//!   for another hour.
//! - 30 s before its end a token is over: clocks differ, and the server takes time.
//! - `UNAVAILABLE` when the file can't be read, `UNAUTHENTICATED` when what it holds is of no use. The
//!   stream's back-off is that of the file.
//! - Nothing is verified: that is the server's part.
//!
//! That the connection is secure is the rule of [`Server`](crate::bootstrap::Server): there is no token
//! without `tls`.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use serde_json::{Map, Value};
use std::fmt;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tonic::metadata::{Ascii, MetadataValue};

/// The largest token, in bytes: a server takes no longer headers.
const MAX_TOKEN: u64 = 64 << 10;

/// So long before its end a token is over (gRFC A97).
const SKEW: Duration = Duration::from_secs(30);

/// A file with a token.
#[derive(Debug)]
pub(super) struct TokenFile {
    path: Arc<Path>,
    last_good: Mutex<Option<Token>>,
}

/// A token. `Debug` shows only when it ends.
#[derive(Clone, PartialEq)]
struct Token {
    header: MetadataValue<Ascii>,
    /// After the Unix epoch.
    end: Duration,
}

/// Why there is no token, as the status that a stream without it ends with.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(super) enum NoToken {
    #[error("Unavailable: the token file `{}` can't be read: {reason}; check `jwt_token_file`, and that \
             the file is readable for this process", path.display())]
    Unreadable { path: Arc<Path>, reason: String },
    #[error("Unauthenticated: the token file `{}` holds no JWT: {reason} (gRFC A97)", path.display())]
    NoJwt { path: Arc<Path>, reason: &'static str },
    #[error(
        "Unauthenticated: the token in `{}` ended {seconds} s ago (30 s count as over): does something \
         still renew it?", path.display()
    )]
    Over { path: Arc<Path>, seconds: u64 },
}

impl TokenFile {
    pub(super) const fn new(path: Arc<Path>) -> Self {
        Self { path, last_good: Mutex::new(None) }
    }

    /// The value of `authorization` for a stream that is opened now.
    ///
    /// # Errors
    /// There is none, and the last good one is over.
    pub(super) async fn authorization(&self) -> Result<MetadataValue<Ascii>, NoToken> {
        let path = Arc::clone(&self.path);
        let read = tokio::task::spawn_blocking(move || read(&path)).await;
        let unreadable = |reason| NoToken::Unreadable { path: Arc::clone(&self.path), reason };
        let read = match read {
            Ok(Ok(text)) => parse(&text, &self.path),
            Ok(Err(error)) => Err(unreadable(error.to_string())),
            Err(_ended) => Err(unreadable("the runtime ends".to_owned())),
        };
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let mut last_good = self.last_good.lock();
        let token = choose(read, last_good.as_ref(), now, &self.path)?;
        let header = token.header.clone();
        *last_good = Some(token);
        Ok(header)
    }
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Error;
    // Before it is opened: opening a pipe waits for who writes it.
    if !std::fs::metadata(path)?.is_file() {
        return Err(Error::other("it is no regular file"));
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MAX_TOKEN + 1).read_to_end(&mut bytes)?;
    match u64::try_from(bytes.len()).is_ok_and(|length| length <= MAX_TOKEN) {
        true => Ok(bytes),
        false => Err(Error::other("it has more than 64 KiB")),
    }
}

/// Which token is sent: what was read, if it is good for anything, else the last good one.
fn choose(
    read: Result<Token, NoToken>,
    last_good: Option<&Token>,
    now: Duration,
    path: &Arc<Path>,
) -> Result<Token, NoToken> {
    let lives = |token: &Token| token.end.saturating_sub(SKEW) > now;
    let error = match read {
        Ok(token) if lives(&token) => return Ok(token),
        Ok(token) => {
            let over = now.saturating_sub(token.end.saturating_sub(SKEW));
            NoToken::Over { path: Arc::clone(path), seconds: over.as_secs() }
        }
        Err(error) => error,
    };
    match last_good.filter(|token| lives(token)) {
        Some(token) => {
            tracing::warn!(target: "mesh::xds", "the token that was read before stays: {error}");
            Ok(token.clone())
        }
        None => Err(error),
    }
}

/// A token and its end. Its signature is the server's affair.
fn parse(text: &[u8], path: &Arc<Path>) -> Result<Token, NoToken> {
    let refused = |reason| NoToken::NoJwt { path: Arc::clone(path), reason };
    let text = std::str::from_utf8(text).map_err(|_invalid| refused("it is no text"))?.trim_ascii();
    let parts: Vec<_> = text.splitn(4, '.').collect();
    let [_, claims, _] = parts[..] else {
        return Err(refused("a JWT has three parts with dots between them"));
    };
    let claims = BASE64_URL_SAFE_NO_PAD.decode(claims.trim_end_matches('='));
    let claims = claims.map_err(|_invalid| refused("its second part is no base64url"))?;
    let claims: Option<Map<String, Value>> = serde_json::from_slice(&claims).ok();
    let end = claims.and_then(|claims| claims.get("exp")?.as_f64());
    let end =
        end.ok_or_else(|| refused("its second part is no JSON object with a number `exp`"))?;
    let end = Duration::try_from_secs_f64(end);
    let end = end.map_err(|_invalid| refused("its `exp` is no time after 1970"))?;
    let header = MetadataValue::try_from(format!("Bearer {text}"));
    let mut header =
        header.map_err(|_invalid| refused("it has characters that a header can't have"))?;
    header.set_sensitive(true);
    Ok(Token { header, end })
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("end", &self.end).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
