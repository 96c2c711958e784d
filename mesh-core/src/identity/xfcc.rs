//! `x-forwarded-client-cert`: who the client of each hop was, as Envoy writes it down.
//!
//! An application, or an authorizer, learns from it whose request it answers. That is worth something only
//! if nobody can say it of himself; so what a request says comes in only as far as
//! [`ForwardClientCert`] lets it.
//!
//! ```text
//! x-forwarded-client-cert: By=spiffe://m/web;Hash=ab12…;Subject="CN=a, O=\"b\"";URI=spiffe://m/shop,By=…
//!                          └───────────────── one element for each hop ─────────────────────────┘
//! ```
//!
//! - Elements are separated by `,`, pairs by `;`, a key from its value by `=`. A value with one of these is in
//!   double quotes, and a `"` in it is written `\"` (Envoy: "x-forwarded-client-cert"). Envoy leaves By, URI
//!   and DNS as they are; here they are quoted as well where they have to be, so that no name in a
//!   certificate can be read as another pair or element. A `\` before a `"`, or at the end, is doubled for
//!   the same reason. What no header can hold is percent-encoded.
//! - The order is Envoy's: every By, Hash, Subject, every URI, every DNS. Subject is there even when empty.
//! - Keys are read whatever their case is.
//!
//! What it does not do: `Cert` and `Chain`, the certificates themselves, are read and never written.

use super::Peer;
use crate::model::filter_chain::ForwardClientCert;
use std::fmt::{self, Write};

/// The header's name.
pub const X_FORWARDED_CLIENT_CERT: http::HeaderName =
    http::HeaderName::from_static("x-forwarded-client-cert");

/// The most bytes of a value that are read: what a head may have altogether by default.
pub const MAX_XFCC: usize = 60 * 1024;

/// What becomes of the header of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "closed by Envoy's `mutateXfccRequestHeader`")]
pub enum XfccAction {
    /// It stays as it came.
    Keep,
    /// It is taken off.
    Remove,
    /// It is replaced by the peer's element.
    Set,
    /// The peer's element is put behind it.
    Append,
}

impl XfccAction {
    /// What `mode` does on a connection with `peer`. Whatever a connection without a verified certificate
    /// brings is taken off, but for [`ForwardClientCert::AlwaysForwardOnly`].
    #[must_use]
    pub const fn of(mode: ForwardClientCert, peer: &Peer) -> Self {
        match (mode, peer) {
            (ForwardClientCert::AlwaysForwardOnly, _) => Self::Keep,
            (ForwardClientCert::Sanitize, _) | (_, Peer::Plaintext | Peer::Tls) => Self::Remove,
            (ForwardClientCert::ForwardOnly, Peer::Certified(_)) => Self::Keep,
            (ForwardClientCert::AppendForward, Peer::Certified(_)) => Self::Append,
            (ForwardClientCert::SanitizeSet, Peer::Certified(_)) => Self::Set,
        }
    }
}

/// One element, as it is written: who the client of this hop is, and who it talked to.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "what Envoy writes by default, nothing else")]
pub struct XfccElement<'a, N> {
    /// The URI names of the certificate that this end showed.
    pub by: &'a [N],
    /// SHA-256 of the peer's certificate; `None`: it is not known.
    pub hash: Option<&'a [u8]>,
    /// The peer.
    pub peer: &'a Peer,
}

impl<N: AsRef<str>> fmt::Display for XfccElement<'_, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for by in self.by {
            write!(f, "By={};", Value { text: by.as_ref(), quoted: false })?;
        }
        if let Some(hash) = self.hash {
            f.write_str("Hash=")?;
            hash.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
            f.write_char(';')?;
        }
        let Some(certificate) = self.peer.certificate() else { return f.write_str("Subject=\"\"") };
        write!(f, "Subject={}", Value { text: &certificate.subject, quoted: true })?;
        for uri in &certificate.uris {
            write!(f, ";URI={}", Value { text: uri, quoted: false })?;
        }
        for name in &certificate.dns_names {
            write!(f, ";DNS={}", Value { text: name, quoted: false })?;
        }
        Ok(())
    }
}

/// A value as it is written.
struct Value<'a> {
    text: &'a str,
    /// In quotes whatever it is.
    quoted: bool,
}

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let special = |byte| matches!(byte, b',' | b';' | b'=' | b'"' | b'\\' | b' ');
        if !self.quoted && !self.text.bytes().any(special) {
            return self.text.chars().try_for_each(|letter| visible(letter, f));
        }
        f.write_char('"')?;
        let mut letters = self.text.chars().peekable();
        while let Some(letter) = letters.next() {
            match (letter, letters.peek()) {
                ('"', _) => f.write_str("\\\"")?,
                // Any other backslash is as RFC 2253 has it in a subject, and as Envoy writes it.
                ('\\', None | Some('"' | '\\')) => f.write_str("\\\\")?,
                (letter, _) => visible(letter, f)?,
            }
        }
        f.write_char('"')
    }
}

/// A header can't hold control characters, and what is not ASCII is read in many ways.
fn visible(letter: char, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match letter {
        ' '..='~' => f.write_char(letter),
        _ => {
            let mut bytes = [0; 4];
            letter.encode_utf8(&mut bytes).bytes().try_for_each(|byte| write!(f, "%{byte:02X}"))
        }
    }
}

/// One element, as it was read. Values are without quotes; nothing is percent-decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ForwardedClient {
    /// The URI names of who took the request (`By`).
    pub by: Vec<String>,
    /// SHA-256 of the client's certificate, in hexadecimal (`Hash`).
    pub hash: Option<String>,
    /// The client's certificate, PEM that is percent-encoded (`Cert`).
    pub cert: Option<String>,
    /// Its whole chain, the same way (`Chain`).
    pub chain: Option<String>,
    /// The subject (`Subject`).
    pub subject: Option<String>,
    /// URI names (`URI`).
    pub uris: Vec<String>,
    /// DNS names (`DNS`).
    pub dns_names: Vec<String>,
}

/// Why a value of the header can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(clippy::exhaustive_enums, reason = "closed by the header's grammar")]
pub enum XfccError {
    /// It is longer than [`MAX_XFCC`].
    #[error("x-forwarded-client-cert has {0} bytes, and {MAX_XFCC} are read")]
    TooLong(usize),
    /// There is no `=` in a pair.
    #[error("x-forwarded-client-cert: the pair at byte {0} has no `=`")]
    NoValue(usize),
    /// A key is none that there is.
    #[error(
        "x-forwarded-client-cert: the key at byte {0} is none of By, Hash, Cert, Chain, Subject, URI, DNS"
    )]
    UnknownKey(usize),
    /// A key that may be there once is there twice.
    #[error("x-forwarded-client-cert: the key at byte {0} is in its element already")]
    Repeated(usize),
    /// A quoted value has no end, or something behind it.
    #[error("x-forwarded-client-cert: the quotes at byte {0} don't enclose a whole value")]
    Quotes(usize),
}

/// Reads a value of the header, the first hop first.
///
/// # Errors
/// [`XfccError`] says what is wrong, and where.
pub fn parse(value: &str) -> Result<Vec<ForwardedClient>, XfccError> {
    if value.len() > MAX_XFCC {
        return Err(XfccError::TooLong(value.len()));
    }
    let mut elements = vec![ForwardedClient::default()];
    let mut at = 0;
    loop {
        let start = at;
        let Some(equals) = value[at..].find(['=', ',', ';']) else {
            return Err(XfccError::NoValue(start));
        };
        let key = value[at..at + equals].trim();
        at += equals;
        if !value[at..].starts_with('=') {
            return Err(XfccError::NoValue(start));
        }
        let (text, end) = read_value(value, at + 1)?;
        if let Some(element) = elements.last_mut() {
            element.put(key, text, start)?;
        }
        match value.as_bytes().get(end) {
            None => return Ok(elements),
            Some(b',') => elements.push(ForwardedClient::default()),
            Some(_) => {}
        }
        at = end + 1;
    }
}

/// The value that begins at `at`, and where it ends: at a separator or at the end.
fn read_value(all: &str, at: usize) -> Result<(String, usize), XfccError> {
    let rest = &all[at..];
    let Some(quoted) = rest.strip_prefix('"') else {
        let end = rest.find([',', ';']).unwrap_or(rest.len());
        return match rest[..end].find('"') {
            Some(quote) => Err(XfccError::Quotes(at + quote)),
            None => Ok((rest[..end].to_owned(), at + end)),
        };
    };
    let mut text = String::new();
    let mut letters = quoted.char_indices().peekable();
    while let Some((index, letter)) = letters.next() {
        match (letter, letters.peek()) {
            ('\\', Some((_, next @ ('"' | '\\')))) => {
                text.push(*next);
                letters.next();
            }
            ('"', after) => {
                return match after {
                    None | Some((_, ',' | ';')) => Ok((text, at + 1 + index + 1)),
                    Some(_) => Err(XfccError::Quotes(at)),
                };
            }
            (letter, _) => text.push(letter),
        }
    }
    Err(XfccError::Quotes(at))
}

impl ForwardedClient {
    fn put(&mut self, key: &str, text: String, at: usize) -> Result<(), XfccError> {
        let once = match &*key.to_ascii_lowercase() {
            "by" => return many(&mut self.by, text),
            "uri" => return many(&mut self.uris, text),
            "dns" => return many(&mut self.dns_names, text),
            "hash" => &mut self.hash,
            "cert" => &mut self.cert,
            "chain" => &mut self.chain,
            "subject" => &mut self.subject,
            _ => return Err(XfccError::UnknownKey(at)),
        };
        match once.replace(text) {
            None => Ok(()),
            Some(_) => Err(XfccError::Repeated(at)),
        }
    }
}

fn many(names: &mut Vec<String>, text: String) -> Result<(), XfccError> {
    names.push(text);
    Ok(())
}

#[cfg(test)]
mod tests;
