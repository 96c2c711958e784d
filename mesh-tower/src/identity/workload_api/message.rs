//! The messages of the Workload API that are needed here (SPIFFE: `standards/workloadapi.proto`).
//!
//! Read by hand (`protobuf.rs`): they are three with eight fields, all of them texts, bytes or messages. The last of a
//! text or bytes counts.

use crate::protobuf::{Field, Malformed, fields};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fmt;

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

impl Response {
    /// Reads a response.
    ///
    /// # Errors
    /// [`Malformed`]: it is cut off, or a text is not UTF-8.
    pub(super) fn read(message: &Bytes) -> Result<Self, Malformed> {
        let mut response = Self::default();
        texts(message, |number, value| {
            match number {
                1 => response.svids.push(Svid::read(&value)?),
                2 => response.crl.push(value),
                3 => {
                    let (mut of, mut bundle) = (String::new(), Bytes::new());
                    texts(&value, |number, value| {
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
        texts(message, |number, value| {
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

/// Gives `visit` each field that is a text, bytes or a message; there is no other kind.
fn texts(
    message: &Bytes,
    mut visit: impl FnMut(u64, Bytes) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    fields(message, |number, field| match field {
        Field::Bytes(value) => visit(number, value),
        Field::Number(_) => Ok(()),
    })
}

fn text(value: &Bytes) -> Result<String, Malformed> {
    let text = std::str::from_utf8(value).map_err(|_at| Malformed("a text is not UTF-8"))?;
    Ok(text.to_owned())
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
        // Also within.
        for cut in [&[10, 5][..], &[10, 2, 10, 9]] {
            check(cut, Err("it is cut off"));
        }
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
