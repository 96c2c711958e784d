//! The `date` of answers (RFC 9110 section 6.6.1), written once a second on each thread.

use crate::clock;
use http::HeaderValue;
use mesh_core::{Timestamp, WallTime};
use std::cell::RefCell;
use std::time::{Duration, UNIX_EPOCH};

thread_local! {
    static WRITTEN: RefCell<Option<(WallTime, HeaderValue)>> = const { RefCell::new(None) };
}

/// Today's date, as of `now` or a moment before.
pub(super) fn date(now: Timestamp) -> HeaderValue {
    let wall = clock::wall_near(now);
    WRITTEN.with_borrow_mut(|written| match written {
        Some((at, value)) if *at == wall => value.clone(),
        _ => {
            let value = write(wall);
            *written = Some((wall, value.clone()));
            value
        }
    })
}

fn write(wall: WallTime) -> HeaderValue {
    let time = UNIX_EPOCH + Duration::from_secs(wall.as_unix_seconds());
    // It is ASCII.
    HeaderValue::try_from(httpdate::fmt_http_date(time)).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_written_as_http_has_it() {
        let noon = WallTime::from_unix_seconds(784_111_777);
        assert_eq!(write(noon), "Sun, 06 Nov 1994 08:49:37 GMT");
        clock::pretend(noon);
        assert_eq!(date(clock::now()), "Sun, 06 Nov 1994 08:49:37 GMT");
        clock::pretend(WallTime::from_unix_seconds(784_111_779));
        assert_eq!(date(clock::now()), "Sun, 06 Nov 1994 08:49:39 GMT");
    }
}
