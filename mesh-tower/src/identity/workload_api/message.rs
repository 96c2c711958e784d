//! The messages of the Workload API that are needed here (SPIFFE: `standards/workloadapi.proto`).
//!
//! Read by hand: they are three with eight fields, all of them texts, bytes or messages. So this crate has no
//! protobuf of its own, nor a client library whose types change with each of its versions.
//!
//! Rules (protobuf, "Encoding"): unknown fields are passed over, the last of a text or bytes counts, and what
//! is cut off or has a group is no message. Nothing is larger than the message, which tonic bounds.

use bytes::{Buf as _, Bytes};
use std::collections::BTreeMap;
use std::fmt;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

/// The method of the X.509-SVID profile.
pub(in crate::identity) const FETCH: &str = "/SpiffeWorkloadAPI/FetchX509SVID";

/// What each request must carry, so that nobody can be tricked into asking (SPIFFE Workload Endpoint,
/// section 5).
pub(in crate::identity) const SECURITY_HEADER: (&str, &str) = ("workload.spiffe.io", "true");

/// `X509SVIDResponse`: all that the workload has, each time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Response {
    pub(super) svids: Vec<Svid>,
    /// Lists of revoked certificates, each in DER.
    pub(super) crl: Vec<Bytes>,
    /// Certificates in DER, one after the other, by the SPIFFE id of their trust domain.
    pub(super) federated_bundles: BTreeMap<String, Bytes>,
}

/// `X509SVID`.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Svid {
    pub(super) spiffe_id: String,
    /// Certificates in DER, one after the other; the workload's own is the first.
    pub(super) x509_svid: Bytes,
    /// In PKCS #8.
    pub(super) x509_svid_key: Bytes,
    /// Certificates in DER, one after the other.
    pub(super) bundle: Bytes,
    pub(super) hint: String,
}

/// It is no such message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the message is broken: {0}")]
pub(super) struct Malformed(&'static str);

impl Response {
    /// Reads a response.
    ///
    /// # Errors
    /// [`Malformed`]: it is cut off, or a text is not UTF-8.
    pub(super) fn read(message: &Bytes) -> Result<Self, Malformed> {
        let mut response = Self::default();
        fields(message, |number, value| {
            match number {
                1 => response.svids.push(Svid::read(&value)?),
                2 => response.crl.push(value),
                3 => {
                    let (mut of, mut bundle) = (String::new(), Bytes::new());
                    fields(&value, |number, value| {
                        match number {
                            1 => of = text(&value)?,
                            2 => bundle = value,
                            _ => {}
                        }
                        Ok(())
                    })?;
                    response.federated_bundles.insert(of, bundle);
                }
                _ => {}
            }
            Ok(())
        })?;
        Ok(response)
    }
}

impl Svid {
    fn read(message: &Bytes) -> Result<Self, Malformed> {
        let mut svid = Self::default();
        fields(message, |number, value| {
            match number {
                1 => svid.spiffe_id = text(&value)?,
                2 => svid.x509_svid = value,
                3 => svid.x509_svid_key = value,
                4 => svid.bundle = value,
                5 => svid.hint = text(&value)?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(svid)
    }
}

impl fmt::Debug for Svid {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Svid")
            .field("spiffe_id", &self.spiffe_id)
            .field("hint", &self.hint)
            .finish_non_exhaustive()
    }
}

fn text(value: &Bytes) -> Result<String, Malformed> {
    let text = std::str::from_utf8(value).map_err(|_at| Malformed("a text is not UTF-8"))?;
    Ok(text.to_owned())
}

/// Gives `visit` each field that has a length, with its number.
fn fields(
    message: &Bytes,
    mut visit: impl FnMut(u64, Bytes) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    let mut rest = message.clone();
    while rest.has_remaining() {
        let tag = varint(&mut rest)?;
        let length = match tag & 7 {
            0 => {
                varint(&mut rest)?;
                continue;
            }
            1 => 8,
            2 => usize::try_from(varint(&mut rest)?).unwrap_or(usize::MAX),
            5 => 4,
            _ => return Err(Malformed("a field has an unknown type")),
        };
        if length > rest.remaining() {
            return Err(Malformed("it is cut off"));
        }
        let value = rest.split_to(length);
        if tag & 7 == 2 {
            visit(tag >> 3, value)?;
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

/// How requests, which are empty, and responses are written and read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Messages;

impl Codec for Messages {
    type Encode = ();
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

impl Encoder for Messages {
    type Item = ();
    type Error = Status;

    /// `X509SVIDRequest` has no fields, so there is nothing to write.
    fn encode(&mut self, (): (), _: &mut EncodeBuf<'_>) -> Result<(), Status> {
        Ok(())
    }
}

impl Decoder for Messages {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(message: &[u8], expected: Result<Response, &'static str>) {
        let read = Response::read(&Bytes::copy_from_slice(message));
        assert_eq!(read, expected.map_err(Malformed), "{message:?}");
    }

    #[test]
    fn messages_are_read_as_protobuf_writes_them() {
        check(&[], Ok(Response::default()));
        let svid = Svid { spiffe_id: "a".into(), hint: "h".into(), ..Svid::default() };
        // The id twice: the last one counts.
        let written = [10, 9, 10, 1, b'x', 10, 1, b'a', 42, 1, b'h'];
        let one = Response { svids: vec![svid], ..Response::default() };
        check(&written, Ok(one.clone()));
        // Unknown fields of each type, before and after.
        let mut around = vec![0x78, 0x96, 0x01, 0x79, 1, 2, 3, 4, 5, 6, 7, 8];
        around.extend(written);
        around.extend([0x7a, 2, 0, 0, 0x7d, 1, 2, 3, 4]);
        check(&around, Ok(one));
        let bundle = ("b".to_owned(), Bytes::from_static(&[7]));
        let federated_bundles = BTreeMap::from([bundle]);
        let written = [26, 6, 10, 1, b'b', 18, 1, 7];
        check(&written, Ok(Response { federated_bundles, ..Response::default() }));
    }

    #[test]
    fn what_is_broken_is_no_message() {
        for cut in [&[10][..], &[10, 5], &[10, 2, 10, 9], &[0x79, 1], &[0x7d, 1], &[0x80]] {
            check(cut, Err("it is cut off"));
        }
        check(&[10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], Err("it is cut off"));
        check(&[0xff; 11], Err("a number is too long"));
        check(&[11], Err("a field has an unknown type"));
        check(&[10, 3, 10, 1, 0xff], Err("a text is not UTF-8"));
    }

    #[test]
    fn no_key_is_shown() {
        let svid = Svid { x509_svid_key: Bytes::from_static(b"secret"), ..Svid::default() };
        let response = Response { svids: vec![svid], ..Response::default() };
        assert!(
            !format!("{response:?}").contains("secret") && !format!("{response:?}").contains("115")
        );
    }
}
