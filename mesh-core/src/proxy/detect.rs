//! What a connection carries, by its first bytes: HTTP/1, HTTP/2, or something else.
//!
//! Most protocols are known by who configures a port. Where they are not, a guess must never cost a policy: what is
//! taken for HTTP stays HTTP, and what becomes of the rest is decided elsewhere
//! ([`Detection`](crate::inbound::Detection)).
//!
//! - HTTP/2 begins with its preface, all 24 bytes of it (RFC 9113 section 3.4).
//! - HTTP/1 begins with a request line (RFC 9112 section 3): a method of 1 to [`MAX_METHOD`] characters (RFC 9110
//!   section 5.6.2: `tchar`), one space, a target without spaces and controls, one space, `HTTP/1.` and a digit, CR LF
//!   or LF alone. Whether it is a good one is for who reads it to say: `HTTP/1.9` is HTTP, and answered 400 or 505.
//! - What keeps to that for [`MAX_LINE`] bytes, with a target that has not ended by then, is HTTP/1: long queries are
//!   known, and nothing else that begins so.
//! - All else is something else, at the first byte that tells: TLS at its first one (0x16), `SSH-2.0-` at its line's end,
//!   empty lines before a request, a request line of HTTP/0.9.
//!
//! Envoy's `http_inspector` reads as much (8,192 bytes), and takes what has no end by then for something else.
//!
//! How bytes are cut into pieces changes nothing: each is looked at once, in its order. What it does not do: wait, or say
//! what silence means.

/// The most bytes that are looked at.
pub const MAX_LINE: usize = 8192;

/// The longest method; of those that IANA knows the longest has 17.
pub const MAX_METHOD: usize = 32;

const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What stands before the last digit of a version of HTTP/1.
const VERSION: &[u8; 7] = b"HTTP/1.";

/// How a connection begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "closed: HTTP, something else, or nothing")]
pub enum Beginning {
    /// With a request line of HTTP/1.
    Http1,
    /// With the preface of HTTP/2.
    Http2,
    /// With something else; or it ended before that was known.
    Other,
    /// Too little came in the time for it, or nothing: who connects may wait for the other to speak.
    Silence,
    /// It ended without a byte.
    Nothing,
}

/// Looks at the first bytes of a connection.
#[derive(Clone, Debug)]
pub struct Detector {
    /// How many bytes it has seen.
    seen: usize,
    /// Whether they are those of the preface of HTTP/2.
    is_preface: bool,
    line: Line,
}

/// Where in a request line of HTTP/1 it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Method,
    /// Behind the first space; whether there is a target yet.
    Target(bool),
    /// So many bytes of `HTTP/1.` were there.
    Version(usize),
    /// Behind the digit.
    End,
    /// Behind the CR.
    Return,
    /// It was whole.
    Whole,
    /// It is none.
    None,
}

impl Detector {
    /// One that has seen nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { seen: 0, is_preface: true, line: Line::Method }
    }

    /// Looks at the bytes that follow those that it has seen. `None`: it takes more to tell; then they were fewer than
    /// [`MAX_LINE`] in all. Once it has told, it is not to be asked again.
    #[must_use]
    pub fn look(&mut self, bytes: &[u8]) -> Option<Beginning> {
        bytes.iter().find_map(|byte| self.next(*byte))
    }

    fn next(&mut self, byte: u8) -> Option<Beginning> {
        self.is_preface = self.is_preface && PREFACE.get(self.seen) == Some(&byte);
        self.line = self.line.next(byte, self.seen);
        self.seen += 1;
        match self.line {
            _ if self.is_preface && self.seen == PREFACE.len() => Some(Beginning::Http2),
            Line::Whole => Some(Beginning::Http1),
            Line::None if !self.is_preface => Some(Beginning::Other),
            Line::Target(_) if self.seen == MAX_LINE => Some(Beginning::Http1),
            // Such a line ends a few bytes later, if it is one.
            _ if self.seen == MAX_LINE => Some(Beginning::Other),
            _ => None,
        }
    }
}

impl Default for Detector {
    fn default() -> Self {
        Self::new()
    }
}

impl Line {
    /// Where it is behind `byte`, before which there were so many.
    const fn next(self, byte: u8, seen: usize) -> Self {
        match (self, byte) {
            (Self::Method, b' ') if seen > 0 => Self::Target(false),
            (Self::Method, byte) if seen < MAX_METHOD && is_tchar(byte) => Self::Method,
            (Self::Target(true), b' ') => Self::Version(0),
            // Servers take what is not ASCII, too.
            (Self::Target(_), 0x21..=0x7e | 0x80..) => Self::Target(true),
            (Self::Version(at), byte) if at < VERSION.len() => {
                if byte == VERSION[at] {
                    Self::Version(at + 1)
                } else {
                    Self::None
                }
            }
            (Self::Version(_), b'0'..=b'9') => Self::End,
            (Self::End, b'\r') => Self::Return,
            // RFC 9112 section 2.2.
            (Self::End | Self::Return, b'\n') => Self::Whole,
            _ => Self::None,
        }
    }
}

/// RFC 9110 section 5.6.2.
const fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+')
        || matches!(byte, b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~')
}

#[cfg(test)]
mod tests;
