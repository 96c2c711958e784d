//! Text, so that a value ends where the format says.

use super::value::{Put, Shown, Value};
use std::fmt::{self, Write};

/// The most bytes of one value that are written, where the format gives no length.
pub const MAX_VALUE_BYTES: usize = 4_096;

/// Appends `value`, or `-` where there is none. `quoted`: it stands in quotation marks of the format.
pub(super) fn write(value: Value<'_>, length: Option<usize>, quoted: bool, out: &mut String) {
    let before = out.len();
    // The spaces of a date are the format's own.
    let quoted = quoted || matches!(value, Value::Shown(Shown::Time(_)));
    let mut escaped = Escaped { left: length.unwrap_or(MAX_VALUE_BYTES), quoted, out };
    // Writing to a string can't fail.
    value.put(&mut escaped).unwrap_or_default();
    if out.len() == before {
        out.push('-');
    }
}

/// Writes bytes as a line may have them.
struct Escaped<'o> {
    out: &'o mut String,
    /// How many bytes may still come.
    left: usize,
    quoted: bool,
}

impl Put for Escaped<'_> {
    fn put_bytes(&mut self, bytes: &[u8]) {
        let bytes = &bytes[..bytes.len().min(self.left)];
        self.left -= bytes.len();
        for byte in bytes {
            match byte {
                b'"' | b'\\' => self.out.extend(['\\', char::from(*byte)]),
                b'!'..=b'~' => self.out.push(char::from(*byte)),
                b' ' if self.quoted => self.out.push(' '),
                other => self.hex(*other),
            }
        }
    }
}

impl Escaped<'_> {
    fn hex(&mut self, byte: u8) {
        let digit = |nibble: u8| char::from(HEX[usize::from(nibble & 0xf)]);
        self.out.extend(['\\', 'x', digit(byte >> 4), digit(byte)]);
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.put_bytes(text.as_bytes());
        Ok(())
    }
}
