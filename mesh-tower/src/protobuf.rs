//! Protobuf that is read by hand, and gRPC over bytes: this crate has no protobuf of its own (`.ci/steps/purity`), nor
//! client libraries whose types change with each of their versions. What it reads are some messages of plain fields.
//!
//! Rules (protobuf, "Encoding"): unknown fields are passed over, and what is cut off or has a group is no message.
//! Nothing is larger than the message, which tonic bounds.

use bytes::{Buf as _, BufMut as _, Bytes};
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

/// Numbers, enums and bools.
pub(crate) const VARINT: u32 = 0;
/// `fixed64`, `double`.
pub(crate) const FIXED64: u32 = 1;
/// Texts, bytes, messages, and packed numbers.
pub(crate) const LENGTH: u32 = 2;
/// `fixed32`, `float`.
pub(crate) const FIXED32: u32 = 5;

/// A field of a message.
pub(crate) enum Field {
    /// A number, an enum or a bool.
    Number(#[cfg_attr(not(feature = "otlp"), expect(dead_code, reason = "SPIFFE has none"))] u64),
    /// A text, bytes or a message.
    Bytes(Bytes),
}

/// It is no such message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the message is broken: {0}")]
pub(crate) struct Malformed(pub(crate) &'static str);

/// Gives `visit` each field with its number, but for those of fixed length.
///
/// # Errors
/// [`Malformed`]: it is no message, or `visit` says so. Fields before that were given.
pub(crate) fn fields(
    message: &Bytes,
    mut visit: impl FnMut(u64, Field) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    let mut rest = message.clone();
    while rest.has_remaining() {
        let tag = varint(&mut rest)?;
        let kind = (tag & 7) as u32;
        let length = match kind {
            VARINT => {
                visit(tag >> 3, Field::Number(varint(&mut rest)?))?;
                continue;
            }
            FIXED64 => 8,
            LENGTH => usize::try_from(varint(&mut rest)?).unwrap_or(usize::MAX),
            FIXED32 => 4,
            _ => return Err(Malformed("a field has an unknown type")),
        };
        if length > rest.remaining() {
            return Err(Malformed("it is cut off"));
        }
        let value = rest.split_to(length);
        if kind == LENGTH {
            visit(tag >> 3, Field::Bytes(value))?;
        }
    }
    Ok(())
}

/// At most ten bytes, seven bits each, the lowest first.
fn varint(rest: &mut Bytes) -> Result<u64, Malformed> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = rest.try_get_u8().map_err(|_end| Malformed("it is cut off"))?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(Malformed("a number is too long"))
}

/// How tonic writes and reads messages that are bytes already.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(message);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn is_message(bytes: &[u8]) -> Result<(), Malformed> {
        fields(&Bytes::copy_from_slice(bytes), |_, _| Ok(()))
    }

    #[test]
    fn what_is_broken_is_no_message() {
        for cut in [&[10][..], &[10, 5], &[0x79, 1], &[0x7d, 1], &[0x80]] {
            assert_eq!(is_message(cut), Err(Malformed("it is cut off")), "{cut:?}");
        }
        let endless = [10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
        assert_eq!(is_message(&endless), Err(Malformed("it is cut off")));
        assert_eq!(is_message(&[0xff; 11]), Err(Malformed("a number is too long")));
        assert_eq!(is_message(&[11]), Err(Malformed("a field has an unknown type")));
        assert_eq!(is_message(&[]), Ok(()));
    }

    proptest! {
        #[test]
        fn any_bytes_are_fields_or_none(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let length = bytes.len();
            let _read = fields(&bytes.into(), |_, field| {
                if let Field::Bytes(bytes) = field {
                    assert!(bytes.len() <= length);
                }
                Ok(())
            });
        }
    }
}
