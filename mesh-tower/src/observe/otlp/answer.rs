//! What collectors answer: how much of a request was not taken, and when to come again.

use crate::protobuf::{Field, fields};
use bytes::Bytes;
use std::time::Duration;

/// The longest wait that is believed: any batch is dropped long before.
const LONGEST: Duration = Duration::from_secs(86_400);

/// What a collector did not take of a request that it took (`ExportMetricsPartialSuccess`,
/// `ExportTracePartialSuccess`).
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Partial {
    pub(super) rejected: u64,
    pub(super) message: String,
}

/// Reads `ExportMetricsServiceResponse`, or its like. What is no message says nothing.
pub(super) fn partial(response: &Bytes) -> Partial {
    let mut partial = Partial::default();
    let _read = fields(response, |number, field| {
        let (1, Field::Bytes(inner)) = (number, field) else { return Ok(()) };
        fields(&inner, |number, field| {
            match (number, field) {
                (1, Field::Number(rejected)) => partial.rejected = rejected,
                (2, Field::Bytes(text)) => {
                    partial.message = String::from_utf8_lossy(&text).into_owned();
                }
                _ => {}
            }
            Ok(())
        })
    });
    partial
}

/// The wait that a collector asks for: `RetryInfo.retry_delay` of a `google.rpc.Status`, the details of gRPC's status.
pub(super) fn retry_delay(details: &[u8]) -> Option<Duration> {
    let mut delay = None;
    let _read = fields(&Bytes::copy_from_slice(details), |number, field| {
        let (3, Field::Bytes(any)) = (number, field) else { return Ok(()) };
        let (mut is_retry_info, mut value) = (false, Bytes::new());
        fields(&any, |number, field| {
            match (number, field) {
                (1, Field::Bytes(name)) => is_retry_info = name.ends_with(b"/google.rpc.RetryInfo"),
                (2, Field::Bytes(bytes)) => value = bytes,
                _ => {}
            }
            Ok(())
        })?;
        if is_retry_info {
            delay = Some(duration(&value));
        }
        Ok(())
    });
    delay
}

/// The first field of `RetryInfo`, a `Duration`; without it zero, and so is one that is negative.
fn duration(retry_info: &Bytes) -> Duration {
    let (mut seconds, mut nanos) = (0, 0);
    let _read = fields(retry_info, |number, field| {
        let (1, Field::Bytes(inner)) = (number, field) else { return Ok(()) };
        fields(&inner, |number, field| {
            match (number, field) {
                (1, Field::Number(number)) => seconds = number,
                (2, Field::Number(number)) => nanos = number,
                _ => {}
            }
            Ok(())
        })
    });
    match (i64::try_from(seconds), u32::try_from(nanos)) {
        (Ok(_positive), Ok(nanos)) => Duration::from_secs(seconds)
            .saturating_add(Duration::from_nanos(u64::from(nanos)))
            .min(LONGEST),
        _ => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::Message;
    use super::*;

    fn written(write: impl FnOnce(&mut Message<'_>)) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(&mut Message(&mut bytes));
        bytes
    }

    #[test]
    fn what_was_not_taken_is_read() {
        let response = written(|response| {
            response.message(1, |partial| {
                partial.number(1, 300);
                partial.text(2, "too old");
            });
        });
        let expected = Partial { rejected: 300, message: "too old".into() };
        assert_eq!(partial(&response.into()), expected);
        assert_eq!(partial(&Bytes::new()), Partial::default());
        assert_eq!(partial(&Bytes::from_static(&[10, 200])), Partial::default());
    }

    fn status(kind: &str, seconds: u64, nanos: u64) -> Vec<u8> {
        written(|status| {
            status.number(1, 14);
            status.text(2, "busy");
            status.message(3, |any| {
                any.text(1, kind);
                any.message(2, |info| {
                    info.message(1, |delay| {
                        delay.number(1, seconds);
                        delay.number(2, nanos);
                    });
                });
            });
        })
    }

    #[test]
    fn a_wait_is_read_where_it_is_asked_for() {
        const KIND: &str = "type.googleapis.com/google.rpc.RetryInfo";
        let told = retry_delay(&status(KIND, 2, 500_000_000));
        assert_eq!(told, Some(Duration::from_millis(2500)));
        assert_eq!(retry_delay(&status(KIND, -1_i64 as u64, 0)), Some(Duration::ZERO));
        assert_eq!(retry_delay(&status(KIND, u64::MAX / 2, 0)), Some(LONGEST));
        assert_eq!(retry_delay(&status("type.googleapis.com/google.rpc.Help", 2, 0)), None);
        assert_eq!(retry_delay(b""), None);
        assert_eq!(retry_delay(&[0xff; 20]), None);
    }
}
