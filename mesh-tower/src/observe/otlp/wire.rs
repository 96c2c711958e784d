//! Protobuf that is written, as far as OTLP needs it.
//!
//! By hand, as it is read (`protobuf.rs`): what OTLP has of it is ten messages of plain fields. Tests read them by
//! declarations of `prost`.

use crate::protobuf::{FIXED32, FIXED64, LENGTH, VARINT};

/// Writes fields to the end of `out`. Fields that have their default value are not left out.
pub(super) struct Message<'m>(pub(super) &'m mut Vec<u8>);

impl Message<'_> {
    /// A message in a field.
    pub(super) fn message(&mut self, field: u32, write: impl FnOnce(&mut Message<'_>)) {
        self.tag(field, LENGTH);
        let start = self.0.len();
        write(&mut Message(self.0));
        // The length stands before what it is of, and is known after it.
        let (length, count) = varint_bytes((self.0.len() - start) as u64);
        self.0.splice(start..start, length.into_iter().take(count));
    }

    /// A text.
    pub(super) fn text(&mut self, field: u32, text: &str) {
        self.bytes(field, text.as_bytes());
    }

    /// Bytes, or a message that is written already.
    pub(super) fn bytes(&mut self, field: u32, bytes: &[u8]) {
        self.tag(field, LENGTH);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    /// `fixed64`, or with the bits of it a `double`.
    pub(super) fn fixed64(&mut self, field: u32, value: u64) {
        self.tag(field, FIXED64);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// `fixed32`.
    pub(super) fn fixed32(&mut self, field: u32, value: u32) {
        self.tag(field, FIXED32);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// `repeated fixed64`, packed, of `count` values.
    pub(super) fn packed64(&mut self, field: u32, count: usize, values: impl Iterator<Item = u64>) {
        self.tag(field, LENGTH);
        self.varint(8 * count as u64);
        values.take(count).for_each(|value| self.0.extend_from_slice(&value.to_le_bytes()));
    }

    /// A number, an enum or a bool.
    pub(super) fn number(&mut self, field: u32, value: u64) {
        self.tag(field, VARINT);
        self.varint(value);
    }

    fn tag(&mut self, field: u32, kind: u32) {
        self.varint(u64::from(field << 3 | kind));
    }

    fn varint(&mut self, value: u64) {
        let (bytes, count) = varint_bytes(value);
        self.0.extend_from_slice(&bytes[..count]);
    }
}

/// Seven bits a byte, the lowest first, and how many there are.
fn varint_bytes(mut value: u64) -> ([u8; 10], usize) {
    let mut bytes = [0; 10];
    let mut count = 0;
    loop {
        let more = value >> 7 != 0;
        bytes[count] = (value & 0x7f) as u8 | u8::from(more) << 7;
        count += 1;
        value >>= 7;
        if !more {
            return (bytes, count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, PartialEq, prost::Message)]
    struct Inner {
        #[prost(string, tag = "1")]
        text: String,
        #[prost(message, optional, boxed, tag = "3")]
        inner: Option<Box<Self>>,
        #[prost(fixed64, repeated, tag = "6")]
        counts: Vec<u64>,
        #[prost(uint64, tag = "17")]
        number: u64,
        #[prost(double, tag = "5")]
        double: f64,
    }

    fn write(message: &Inner, to: &mut Message<'_>) {
        to.text(1, &message.text);
        if let Some(inner) = &message.inner {
            to.message(3, |to| write(inner, to));
        }
        to.packed64(6, message.counts.len(), message.counts.iter().copied());
        to.number(17, message.number);
        to.fixed64(5, message.double.to_bits());
    }

    proptest! {
        #[test]
        fn what_is_written_is_what_prost_reads(
            texts in prop::collection::vec(".{0,200}", 1..4),
            counts in prop::collection::vec(any::<u64>(), 0..40),
            number: u64,
        ) {
            let mut message = Inner { counts, number, double: 0.25, ..Inner::default() };
            for text in texts {
                message = Inner { text, inner: Some(Box::new(message)), ..Inner::default() };
            }
            let mut written = Vec::new();
            write(&message, &mut Message(&mut written));
            prop_assert_eq!(<Inner as prost::Message>::decode(&*written).unwrap(), message);
        }
    }
}
