//! Protobuf's wire format, written: numbers, lengths, fields in the order of their numbers.
//!
//! The same content gives the same bytes, however a file orders its keys: `mesh ads` makes versions of them.

/// The four wire types that are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    Varint = 0,
    Fixed64 = 1,
    Length = 2,
    Fixed32 = 5,
}

/// A value without its field: how it is written, its bytes, and whether it is its type's default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Value {
    pub(super) wire: Wire,
    pub(super) bytes: Vec<u8>,
    pub(super) is_default: bool,
}

impl Value {
    /// A number, truth value or enumeration.
    pub(super) fn varint(value: u64) -> Self {
        let mut bytes = Vec::new();
        varint(&mut bytes, value);
        Self { wire: Wire::Varint, bytes, is_default: value == 0 }
    }

    pub(super) fn fixed64(value: u64) -> Self {
        let bytes = value.to_le_bytes().to_vec();
        Self { wire: Wire::Fixed64, bytes, is_default: value == 0 }
    }

    pub(super) fn fixed32(value: u32) -> Self {
        let bytes = value.to_le_bytes().to_vec();
        Self { wire: Wire::Fixed32, bytes, is_default: value == 0 }
    }

    /// A text or bytes.
    pub(super) fn bytes(value: impl Into<Vec<u8>>) -> Self {
        let bytes = value.into();
        let is_default = bytes.is_empty();
        Self { wire: Wire::Length, bytes, is_default }
    }

    /// A message, which is never a default: that it is there says something.
    pub(super) const fn message(bytes: Vec<u8>) -> Self {
        Self { wire: Wire::Length, bytes, is_default: false }
    }
}

/// The fields of a message while they are collected.
#[derive(Debug, Default)]
pub(super) struct Fields(Vec<(u32, Vec<u8>)>);

impl Fields {
    /// Adds a field.
    pub(super) fn push(&mut self, number: u32, value: &Value) {
        let mut bytes = Vec::with_capacity(value.bytes.len() + 6);
        varint(&mut bytes, u64::from(number) << 3 | value.wire as u64);
        if value.wire == Wire::Length {
            varint(&mut bytes, value.bytes.len() as u64);
        }
        bytes.extend_from_slice(&value.bytes);
        self.0.push((number, bytes));
    }

    /// Adds a field, unless it is its type's default.
    pub(super) fn push_set(&mut self, number: u32, value: &Value) {
        if !value.is_default {
            self.push(number, value);
        }
    }

    /// The message: fields by their numbers, those of one number as they came.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.0.sort_by_key(|(number, _)| *number);
        self.0.into_iter().flat_map(|(_, bytes)| bytes).collect()
    }
}

fn varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use envoy_types::pb::google::protobuf::{Any, BoolValue, DoubleValue, FloatValue, UInt64Value};
    use prost::Message;

    #[test]
    fn it_is_what_protobuf_reads() {
        for number in [1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut fields = Fields::default();
            fields.push(1, &Value::varint(number));
            assert_eq!(UInt64Value::decode(&*fields.finish()), Ok(UInt64Value { value: number }));
        }
        let mut fields = Fields::default();
        fields.push(2, &Value::bytes(vec![7; 200]));
        fields.push(1, &Value::bytes("a/b"));
        let any = Any { type_url: "a/b".to_owned(), value: vec![7; 200] };
        assert_eq!(fields.finish(), any.encode_to_vec(), "in the order of numbers");
        let mut fields = Fields::default();
        fields.push(1, &Value::fixed64(1.5_f64.to_bits()));
        assert_eq!(DoubleValue::decode(&*fields.finish()), Ok(DoubleValue { value: 1.5 }));
        let mut fields = Fields::default();
        fields.push(1, &Value::fixed32(1.5_f32.to_bits()));
        assert_eq!(FloatValue::decode(&*fields.finish()), Ok(FloatValue { value: 1.5 }));
        let mut fields = Fields::default();
        fields.push_set(1, &Value::varint(0));
        assert_eq!(fields.finish(), BoolValue::default().encode_to_vec());
    }
}
