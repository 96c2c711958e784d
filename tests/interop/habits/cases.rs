//! The requests, as they stand in `cases/*.http`.
//!
//! ```text
//! ### PORT…: NAME          which ports are asked
//! the request              its lines end with CR LF; with HTTP/2 in its first line it is made one
//! ---
//! the answer of the application; each further one is for the next request that comes
//! ```
//!
//! In braces: `{N*text}` is the text N times, `{0a}` a byte; the rest are marks of [`Mark`].

use std::fmt;

/// One request, and what is answered.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// The ports that are asked.
    pub(crate) ports: Vec<&'static str>,
    pub(crate) ask: Vec<u8>,
    /// Whether it is looked at what the application gets.
    pub(crate) is_seen: bool,
    pub(crate) answers: Vec<Vec<u8>>,
}

/// What is no text in a case.
#[derive(Clone, Copy)]
pub(crate) enum Mark {
    /// The rest of the request waits for an interim answer.
    Wait,
    /// The answer comes before the request's body has been read.
    Early,
    /// The connection is closed after the answer.
    End,
    /// There is no answer, and the connection stays.
    Silence,
    /// A header of HTTP/2 that is a trailer.
    Trailer,
    /// Whether the application gets any of it is a matter of time.
    Unseen,
}

impl Mark {
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Wait => "{wait}",
            Self::Early => "{early}",
            Self::End => "{end}",
            Self::Silence => "{silence}",
            Self::Trailer => " {trailer}",
            Self::Unseen => "{unseen}",
        }
    }

    /// `text` before and after this mark.
    pub(crate) fn cut(self, text: &[u8]) -> Option<(&[u8], &[u8])> {
        let mark = self.text().as_bytes();
        let at = text.windows(mark.len()).position(|window| window == mark)?;
        Some((&text[..at], &text[at + mark.len()..]))
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

const FILES: [&str; 4] = [
    include_str!("cases/heads.http"),
    include_str!("cases/targets.http"),
    include_str!("cases/framing.http"),
    include_str!("cases/replies.http"),
];

/// What is answered where a case says nothing.
const ANSWER: &str = "HTTP/1.1 200 OK\nServer: app\nDate: Mon, 01 Jan 2024 00:00:00 GMT\nContent-Type: text/plain\nContent-Length: 2\n\nok";

/// All of them.
pub(crate) fn all() -> Vec<Case> {
    let cases = FILES.iter().flat_map(|file| file.split("### ").skip(1));
    cases.map(read).collect()
}

fn read(text: &'static str) -> Case {
    let (title, rest) = text.split_once('\n').unwrap();
    let (ports, name) = title.split_once(": ").unwrap();
    let mut parts: Vec<_> = rest.split("---\n").map(message).collect();
    let mut ask = parts.remove(0);
    let unseen = Mark::Unseen.cut(&ask).map(|(_, ask)| ask.to_vec());
    let is_seen = unseen.is_none();
    ask = unseen.unwrap_or(ask);
    if parts.is_empty() {
        parts.push(message(ANSWER));
    }
    Case { name, ports: ports.split(' ').collect(), ask, is_seen, answers: parts }
}

/// A message. A head without a body ends with an empty line, whether that stands there or not.
fn message(text: &str) -> Vec<u8> {
    let mut bytes = bytes(text.strip_suffix('\n').unwrap_or(text));
    let is_whole = [&b"\r\n\r\n"[..], b"\n\n", b"{"]
        .iter()
        .any(|end| bytes.windows(end.len()).any(|window| window == *end));
    if is_whole && bytes.ends_with(b"\r\n") && !bytes.ends_with(b"\r\n\r\n") {
        // The end of a second head, or of chunks.
        bytes.extend(b"\r\n");
    }
    if !is_whole {
        while bytes.ends_with(b"\r\n") {
            bytes.truncate(bytes.len() - 2);
        }
        bytes.extend(b"\r\n\r\n");
    }
    bytes
}

/// A text with CR LF, its braces read.
fn bytes(mut text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(open) = text.find('{') {
        bytes.extend(text[..open].replace('\n', "\r\n").into_bytes());
        let (inside, after) = braces(&text[open..]);
        bytes.extend(braced(inside));
        text = after;
    }
    bytes.extend(text.replace('\n', "\r\n").into_bytes());
    bytes
}

/// What is in the braces that `text` begins with, and what follows them.
fn braces(text: &str) -> (&str, &str) {
    let mut depth = 0;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return (&text[1..at], &text[at + 1..]);
        }
    }
    panic!("a brace is not closed: {text}");
}

fn braced(inside: &str) -> Vec<u8> {
    if let Some((count, text)) = inside.split_once('*') {
        return bytes(text).repeat(count.parse().unwrap());
    }
    match u8::from_str_radix(inside, 16) {
        Ok(byte) if inside.len() == 2 => vec![byte],
        _ => format!("{{{inside}}}").into_bytes(),
    }
}
