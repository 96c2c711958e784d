//! Dates as people write them: RFC 3339, in UTC.
//!
//! The calendar is counted in eras of 400 years that begin in March, so that a leap day is the last day of
//! its year and no table of months is needed.

use super::WallTime;
use std::fmt;

const SECONDS_PER_DAY: u64 = 86_400;
/// From 0000-03-01 to 1970-01-01, in days.
const EPOCH: u64 = 719_468;
const DAYS_PER_ERA: u64 = 146_097;

/// The year, month and day that `days` after 1970-01-01 is.
pub(crate) const fn civil(days: u64) -> (u64, u64, u64) {
    let days = days.saturating_add(EPOCH);
    let (era, day_of_era) = (days / DAYS_PER_ERA, days % DAYS_PER_ERA);
    let year = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year + era * 400 + (month <= 2) as u64, month, day)
}

/// The days from 1970-01-01 to a date that is not before it; `None`: there is no such date.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    let shifted = if month > 2 { month - 3 } else { month + 9 };
    let year_of_march = if month > 2 { year } else { year.checked_sub(1)? };
    let (era, of_era) = (year_of_march / 400, year_of_march % 400);
    let day_of_year = (153 * shifted + 2) / 5 + day.checked_sub(1)?;
    let counted = era * DAYS_PER_ERA + of_era * 365 + of_era / 4 - of_era / 100 + day_of_year;
    let counted = counted.checked_sub(EPOCH)?;
    // A day that the month does not have is one of the next month.
    (civil(counted) == (year, month, day)).then_some(counted)
}

/// So many digits, and what follows.
fn digits(text: &str, count: usize) -> Option<(u64, &str)> {
    let (digits, rest) = text.split_at_checked(count)?;
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    Some((is_number.then(|| digits.parse().ok())??, rest))
}

impl WallTime {
    /// Reads `2026-12-31`, which is its first second in UTC, or `2026-12-31T08:00:00Z`, with seconds or
    /// without, and with an offset (`+01:00`) in the place of the `Z`. A fraction of a second is not read,
    /// nor is a date before 1970 or after 9999.
    ///
    /// # Examples
    /// ```
    /// use mesh_core::WallTime;
    ///
    /// let time = WallTime::parse_rfc3339("2026-12-31T01:00+01:00").unwrap();
    /// assert_eq!(time.to_string(), "2026-12-31T00:00:00Z");
    /// assert_eq!(WallTime::parse_rfc3339("2026-02-30"), None);
    /// ```
    #[must_use]
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let (year, rest) = digits(text, 4)?;
        let (month, rest) = digits(rest.strip_prefix('-')?, 2)?;
        let (day, rest) = digits(rest.strip_prefix('-')?, 2)?;
        let midnight = days(year, month, day)? * SECONDS_PER_DAY;
        if rest.is_empty() {
            return Some(Self::from_unix_seconds(midnight));
        }
        let (hour, rest) = digits(rest.strip_prefix(['T', 't', ' '])?, 2)?;
        let (minute, rest) = digits(rest.strip_prefix(':')?, 2)?;
        let (second, rest) = match rest.strip_prefix(':') {
            Some(rest) => digits(rest, 2)?,
            None => (0, rest),
        };
        if hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let local = midnight + hour * 3_600 + minute * 60 + second;
        let seconds = match (rest.strip_prefix('+'), rest.strip_prefix('-')) {
            (Some(offset), _) => local.checked_sub(offset_seconds(offset)?)?,
            (None, Some(offset)) => local + offset_seconds(offset)?,
            (None, None) => matches!(rest, "Z" | "z").then_some(local)?,
        };
        Some(Self::from_unix_seconds(seconds))
    }
}

/// `01:00`, in seconds.
fn offset_seconds(text: &str) -> Option<u64> {
    let (hours, rest) = digits(text, 2)?;
    let (minutes, rest) = digits(rest.strip_prefix(':')?, 2)?;
    (hours < 24 && minutes < 60 && rest.is_empty()).then_some(hours * 3_600 + minutes * 60)
}

impl fmt::Display for WallTime {
    /// As RFC 3339 writes it, in UTC: `2026-12-31T08:00:00Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.as_unix_seconds();
        let (year, month, day) = civil(seconds / SECONDS_PER_DAY);
        let (hour, minute) = (seconds / 3_600 % 24, seconds / 60 % 60);
        let second = seconds % 60;
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(text: &str, expected: Option<&str>) {
        let read = WallTime::parse_rfc3339(text).map(|time| time.to_string());
        assert_eq!(read.as_deref(), expected, "{text}");
    }

    #[test]
    fn a_date_with_and_without_a_time() {
        check("2026-12-31", Some("2026-12-31T00:00:00Z"));
        check("2026-12-31T08:09Z", Some("2026-12-31T08:09:00Z"));
        check("2026-12-31 08:09:10z", Some("2026-12-31T08:09:10Z"));
        check("2026-12-31T23:00:00-02:30", Some("2027-01-01T01:30:00Z"));
        check("2024-02-29T00:00+01:00", Some("2024-02-28T23:00:00Z"));
        check("1970-01-01", Some("1970-01-01T00:00:00Z"));
    }

    #[test]
    fn seconds_are_dates() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_709_164_800, "2024-02-29T00:00:00Z"),
            (1_798_761_599, "2026-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(WallTime::from_unix_seconds(seconds).to_string(), expected);
        }
    }

    #[test]
    fn what_is_no_date_is_refused() {
        for text in [
            "",
            "2026",
            "2026-12",
            "2026-1-1",
            "2026-13-01",
            "2026-00-01",
            "2026-02-29",
            "2026-01-00",
            "1969-12-31",
            "2026-12-31T",
            "2026-12-31T24:00Z",
            "2026-12-31T08:60Z",
            "2026-12-31T08:00",
            "2026-12-31T08:00:60Z",
            "2026-12-31T08:00:00.5Z",
            "+026-12-31",
            "2026-12-31T08:00+1:00",
            "2026-12-31T08:00+24:00",
            "1970-01-01T00:00+01:00",
            "20é6-1-1",
        ] {
            check(text, None);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(seconds in 0_u64..253_402_300_800) {
            let time = WallTime::from_unix_seconds(seconds);
            prop_assert_eq!(WallTime::parse_rfc3339(&time.to_string()), Some(time));
        }

        #[test]
        fn each_day_is_followed_by_the_next(day in 0_u64..2_932_896) {
            let (before, after) = (civil(day), civil(day + 1));
            let same_month = (before.0, before.1, before.2 + 1);
            let next_month = (before.0, before.1 + 1, 1);
            prop_assert!([same_month, next_month, (before.0 + 1, 1, 1)].contains(&after));
            prop_assert_eq!(days(before.0, before.1, before.2), Some(day));
        }

        #[test]
        fn any_text_reads_or_is_refused(text in ".{0,40}") {
            // `2026-01-01T00:00:00Z` is as short as they are.
            let found = WallTime::parse_rfc3339(&text);
            prop_assert!(found.is_none() || text.len() >= 20, "{:?}", found);
        }
    }
}
