//! `Retry-After` and its relatives: seconds or a date, never a pause above the limit's 1.5 fold; and a
//! date that is read reads the same when it is written in the preferred form.
#![no_main]

use http::HeaderValue;
use libfuzzer_sys::fuzz_target;
use mesh_core::WallTime;
use mesh_core::call::backoff::{MAX_PUSHBACK, Pushback, asked_for, pushback};
use mesh_core::call::http_date;
use mesh_core::model::RateLimitedBackOff;
use mesh_core::model::retry_policy::{ResetHeader, ResetHeaderFormat};
use mesh_core::outcome::ResponseOutcome;
use mesh_core::random::SplitMix64;

const TODAY: WallTime = WallTime::from_unix_seconds(1_790_000_000);

fuzz_target!(|text: &str| {
    if let Some(date) = http_date::parse(text, TODAY) {
        let written = imf_fixdate(date);
        assert_eq!(http_date::parse(&written, TODAY), Some(date), "{text:?} is {written}");
    }
    let Ok(value) = HeaderValue::from_str(text) else { return };
    let mut headers = http::HeaderMap::new();
    headers.insert("retry-after", value.clone());
    headers.insert("grpc-retry-pushback-ms", value);
    for format in [
        ResetHeaderFormat::RetryAfter,
        ResetHeaderFormat::Seconds,
        ResetHeaderFormat::UnixTimestamp,
    ] {
        let name = http::HeaderName::from_static("retry-after");
        let policy = RateLimitedBackOff::new(vec![ResetHeader { name, format }]);
        let pause = asked_for(&policy, &headers, || TODAY, &mut SplitMix64::new(1));
        assert!(pause.is_none_or(|pause| pause <= policy.max_interval * 3 / 2), "{pause:?}");
    }
    let response = ResponseOutcome::new(http::StatusCode::OK, &headers, None, true);
    match pushback(&response) {
        Some(Pushback::After(pause)) => assert!(pause <= MAX_PUSHBACK),
        Some(Pushback::Never) => {}
        None => panic!("the header is there"),
    }
});

/// RFC 9110 §5.6.7, the weekday left at one that is not compared.
fn imf_fixdate(date: WallTime) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let epoch = WallTime::from_unix_seconds(0);
    let seconds = date.saturating_duration_since(epoch).as_secs();
    let (mut days, time) = (seconds / 86_400, seconds % 86_400);
    let leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let mut year = 1970;
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let february = 28 + u64::from(leap(year));
    let mut month = 0;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    let month = MONTHS[month];
    format!("Thu, {:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT", days + 1)
}
