//! Messages of HTTP/1.1, read as they came: nothing of them is corrected, and nothing is lost.

use std::time::Duration;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};

/// How long anybody waits for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// The most of a head that is read.
const MAX_HEAD: usize = 1 << 20;

/// A head: its first line, and names and values as they came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Head {
    pub(crate) first: String,
    pub(crate) headers: Vec<(String, String)>,
}

/// A body with what is known of how it came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Body {
    pub(crate) framing: &'static str,
    pub(crate) bytes: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
    /// It ended before it should have.
    pub(crate) broken: bool,
}

impl Head {
    /// The next head; `None`: there is none.
    pub(crate) async fn read(reader: &mut (impl AsyncBufRead + Unpin)) -> Option<Self> {
        let first = line(reader).await?;
        let headers = lines(reader).await?;
        Some(Self { first, headers })
    }

    /// The head of a text.
    pub(crate) async fn of(mut text: &[u8]) -> Option<(Self, &[u8])> {
        let head = Self::read(&mut text).await?;
        Some((head, text))
    }

    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers.find(|(header, _)| header.eq_ignore_ascii_case(name)).map(|(_, value)| &**value)
    }

    /// Status of an answer, 0 if it is none.
    pub(crate) fn status(&self) -> u16 {
        self.first.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
    }

    /// Its body, by what the head says. `to_the_end`: without a length it ends with the connection.
    pub(crate) async fn body(
        &self,
        reader: &mut (impl AsyncBufRead + Unpin),
        to_the_end: bool,
    ) -> Body {
        let coding = self.value("transfer-encoding");
        if coding.is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
            return chunks(reader).await;
        }
        if let Some(length) = self.value("content-length").and_then(|l| l.parse::<u64>().ok()) {
            let mut bytes = Vec::new();
            let _read = reader.take(length).read_to_end(&mut bytes).await;
            let broken = (bytes.len() as u64) < length;
            return Body { framing: "length", bytes, broken, ..Body::default() };
        }
        if !to_the_end {
            return Body { framing: "none", ..Body::default() };
        }
        let mut bytes = Vec::new();
        let broken = reader.read_to_end(&mut bytes).await.is_err();
        Body { framing: "to the end", bytes, broken, ..Body::default() }
    }
}

async fn chunks(reader: &mut (impl AsyncBufRead + Unpin)) -> Body {
    let mut body = Body { framing: "chunks", broken: true, ..Body::default() };
    while let Some(size) = line(reader).await {
        let digits = size.split(';').next().unwrap_or_default();
        let Ok(size) = u64::from_str_radix(digits, 16) else { return body };
        if size == 0 {
            let trailers = lines(reader).await;
            body.broken = trailers.is_none();
            body.trailers = trailers.unwrap_or_default();
            return body;
        }
        let read = (&mut *reader).take(size).read_to_end(&mut body.bytes).await;
        if !read.is_ok_and(|read| read as u64 == size) || line(reader).await.is_none() {
            return body;
        }
    }
    body
}

/// Lines of headers up to an empty one.
async fn lines(reader: &mut (impl AsyncBufRead + Unpin)) -> Option<Vec<(String, String)>> {
    let mut headers = Vec::new();
    loop {
        let line = line(reader).await?;
        if line.is_empty() {
            return Some(headers);
        }
        let (name, value) = line.split_once(':').unwrap_or((&line, ""));
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
}

/// A line without its end; what is no text is written as `\xNN`.
async fn line(reader: &mut (impl AsyncBufRead + Unpin)) -> Option<String> {
    let mut line = Vec::new();
    let read = reader.take(MAX_HEAD as u64).read_until(b'\n', &mut line).await.ok()?;
    if read == 0 || line.pop() != Some(b'\n') {
        return None;
    }
    line.pop_if(|last| *last == b'\r');
    Some(shown(&line))
}

/// Bytes as text; what is none is escaped.
pub(crate) fn shown(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        for char in chunk.valid().chars() {
            match char {
                '\r' | '\n' | '\0'..='\x1f' => text.push_str(&format!("\\x{:02x}", char as u32)),
                _ => text.push(char),
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}
