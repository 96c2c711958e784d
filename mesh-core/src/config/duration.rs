//! Durations as they are written: `500ms`, `1.5s`, `2m`, `1h`.
//!
//! One number and one unit. A bare number is refused, because half of the readers would take it for
//! seconds and the other half for milliseconds.

use std::time::Duration;

/// The longest duration that is accepted: 8760 hours, a year.
pub(super) const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// Why a text is no duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InvalidDuration {
    /// A number without a unit.
    NoUnit,
    /// A number with a unit that is not `ms`, `s`, `m` or `h`.
    UnknownUnit,
    /// A minus sign.
    Negative,
    /// Not a number at all.
    NotANumber,
    /// More than [`LONGEST`].
    TooLong,
}

/// Reads a duration; more than nine digits after the point are refused as not a number.
pub(super) fn parse(text: &str) -> Result<Duration, InvalidDuration> {
    let end = text.bytes().position(|byte| !byte.is_ascii_digit() && byte != b'.');
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    if number.is_empty() {
        let negative = text.starts_with('-') && text.len() > 1;
        return Err(if negative { InvalidDuration::Negative } else { InvalidDuration::NotANumber });
    }
    let nanos_per_unit: u128 = match unit {
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60 * 1_000_000_000,
        "h" => 3600 * 1_000_000_000,
        "" => return Err(InvalidDuration::NoUnit),
        _ => return Err(InvalidDuration::UnknownUnit),
    };
    let (whole, fraction) = match number.split_once('.') {
        None => (number, ""),
        Some((whole, fraction)) if !whole.is_empty() && (1..=9).contains(&fraction.len()) => {
            (whole, fraction)
        }
        Some(_) => return Err(InvalidDuration::NotANumber),
    };
    // Thirteen digits hold a year in milliseconds; longer numbers can't fit and might overflow.
    if whole.trim_start_matches('0').len() > 13 {
        return Err(InvalidDuration::TooLong);
    }
    let digits = |text: &str| match text.trim_start_matches('0') {
        "" => Ok(0),
        text => text.parse::<u128>().map_err(|_not_digits| InvalidDuration::NotANumber),
    };
    let scale = 10_u128.pow(u32::try_from(fraction.len()).unwrap_or(9));
    let nanos = digits(whole)? * nanos_per_unit + digits(fraction)? * nanos_per_unit / scale;
    if nanos > LONGEST.as_nanos() {
        return Err(InvalidDuration::TooLong);
    }
    Ok(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
}

/// A duration as it would be written.
pub(super) fn show(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if duration.subsec_nanos() != 0 {
        format!("{}ms", duration.as_nanos() as f64 / 1e6)
    } else if seconds >= 3600 && seconds.is_multiple_of(3600) {
        format!("{}h", seconds / 3600)
    } else if seconds >= 60 && seconds.is_multiple_of(60) {
        format!("{}m", seconds / 60)
    } else {
        format!("{seconds}s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_a_duration_and_what_is_not() {
        let ok =
            |text, millis| assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        ok("0s", 0);
        ok("500ms", 500);
        ok("1.5s", 1500);
        ok("2m", 120_000);
        ok("1h", 3_600_000);
        ok("0.25h", 900_000);
        ok("8760h", 31_536_000_000);
        assert_eq!(parse("1.000000001s"), Ok(Duration::from_nanos(1_000_000_001)));
        let err = |text, error| assert_eq!(parse(text), Err(error), "{text}");
        err("15", InvalidDuration::NoUnit);
        err("1.5", InvalidDuration::NoUnit);
        err("2sec", InvalidDuration::UnknownUnit);
        err("2 s", InvalidDuration::UnknownUnit);
        err("1h30m", InvalidDuration::UnknownUnit);
        err("-1s", InvalidDuration::Negative);
        err("", InvalidDuration::NotANumber);
        err("soon", InvalidDuration::NotANumber);
        err(".5s", InvalidDuration::NotANumber);
        err("1.s", InvalidDuration::NotANumber);
        err("1.2.3s", InvalidDuration::NotANumber);
        err("1.0000000001s", InvalidDuration::NotANumber);
        err("8761h", InvalidDuration::TooLong);
        err("99999999999999999999999999999999999999999999s", InvalidDuration::TooLong);
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(millis in 0..=LONGEST.as_millis() as u64) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse(&show(duration)), Ok(duration));
        }

        #[test]
        fn no_text_panics_or_exceeds_the_longest(text in "[0-9.]{0,40}(ms|s|m|h|x)?|\\PC{0,12}") {
            prop_assert!(parse(&text).is_ok_and(|found| found <= LONGEST) || parse(&text).is_err());
        }
    }
}
