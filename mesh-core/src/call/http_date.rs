//! HTTP dates (RFC 9110 §5.6.7), as `Retry-After` may carry them.
//!
//! The three forms that a recipient must accept: IMF-fixdate, RFC 850 and asctime. Numbers are checked
//! strictly, separators are not, and the weekday is not compared with the date.

use crate::time::WallTime;

const SECONDS_PER_DAY: u64 = 86_400;

/// The date that `text` names; nothing when it is none, or is before 1970.
///
/// `today` settles the century of a two-digit year: a date that would be more than 50 years ahead is
/// in the past (RFC 9110 §5.6.7).
#[must_use]
pub fn parse(text: &str, today: WallTime) -> Option<WallTime> {
    let mut words = [""; 8];
    let mut count = 0;
    for word in text.split([' ', ',', '-', ':']).filter(|word| !word.is_empty()) {
        *words.get_mut(count)? = word;
        count += 1;
    }
    let [weekday, a, b, c, d, e, f, g] = words;
    if !is_weekday(weekday) {
        return None;
    }
    let (day, month, year, time) = match count {
        8 if g == "GMT" => (a, b, c, [d, e, f]),
        7 => (b, a, f, [c, d, e]),
        _ => return None,
    };
    let month = month_number(month)?;
    let [hour, minute, second] = [number(time[0])?, number(time[1])?, number(time[2])?];
    // RFC 9110: a leap second is 60.
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let year = match year.len() {
        4 => number(year)?,
        2 => full_year(number(year)?, today),
        _ => return None,
    };
    let days = days_since_epoch(year, month, number(day)?)?;
    Some(WallTime::from_unix_seconds(days * SECONDS_PER_DAY + hour * 3600 + minute * 60 + second))
}

fn number(digits: &str) -> Option<u64> {
    let plain = digits.len() <= 4 && digits.bytes().all(|byte| byte.is_ascii_digit());
    if plain { digits.parse().ok() } else { None }
}

fn is_weekday(word: &str) -> bool {
    const DAYS: [&str; 7] =
        ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
    DAYS.iter().any(|day| word == *day || word == &day[..3])
}

fn month_number(word: &str) -> Option<u64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    MONTHS.iter().position(|month| *month == word).map(|index| index as u64 + 1)
}

/// The year that ends in `two_digits`, at most 50 years after `today`'s.
fn full_year(two_digits: u64, today: WallTime) -> u64 {
    // Within a day of the true year, which is near enough to choose a century.
    let this_year = 1970 + today.as_unix_seconds() / (SECONDS_PER_DAY * 1461 / 4);
    let year = this_year - this_year % 100 + two_digits;
    if year > this_year + 50 { year - 100 } else { year }
}

/// Days from 1970-01-01 to the date, when there is such a date.
fn days_since_epoch(year: u64, month: u64, day: u64) -> Option<u64> {
    const BEFORE_MONTH: [u64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let length = match month {
        2 => 28 + u64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if year < 1970 || day == 0 || day > length {
        return None;
    }
    let leap_days_before = |year: u64| (year - 1) / 4 - (year - 1) / 100 + (year - 1) / 400;
    let leap_days = leap_days_before(year) - leap_days_before(1970);
    let in_year = BEFORE_MONTH[month as usize - 1] + u64::from(leap && month > 2) + day - 1;
    Some((year - 1970) * 365 + leap_days + in_year)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TODAY: WallTime = WallTime::from_unix_seconds(1_767_225_600); // 2026-01-01

    #[test]
    fn the_three_forms_of_the_rfc_are_one_instant() {
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            assert_eq!(
                parse(text, TODAY),
                Some(WallTime::from_unix_seconds(784_111_777)),
                "{text}"
            );
        }
    }

    #[test]
    fn two_digit_years_are_at_most_fifty_years_ahead() {
        let year = |text| parse(text, TODAY).map(|date| 1970 + date.as_unix_seconds() / 31_556_952);
        assert_eq!(year("Sunday, 06-Nov-76 08:49:37 GMT"), Some(2076));
        assert_eq!(year("Sunday, 06-Nov-77 08:49:37 GMT"), Some(1977));
    }

    #[test]
    fn what_is_no_date_is_refused() {
        for text in [
            "",
            "120",
            "soon",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun, 00 Nov 1994 08:49:37 GMT",
            "Sun, 31 Nov 1994 08:49:37 GMT",
            "Sun, 29 Feb 2100 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:49:37 GMT",
            "Sun, 06 Nov 1994 08:60:37 GMT",
            "Sun, 06 Nov 1994 08:49:61 GMT",
            "Sun, 06 Nov 1969 08:49:37 GMT",
            "Sun, +6 Nov 1994 08:49:37 GMT",
            "Son, 06 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 GMT GMT",
        ] {
            assert_eq!(parse(text, TODAY), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn dates_agree_with_counting_days_one_by_one(
            year in 1970u64..2400, month in 1u64..=12, day in 1u64..=31,
        ) {
            let lengths = |year: u64| {
                let leap =
                    year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
                [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
            };
            let years: u64 = (1970..year).map(|year| lengths(year).iter().sum::<u64>()).sum();
            let months: u64 = lengths(year)[..month as usize - 1].iter().sum();
            let exists = day <= lengths(year)[month as usize - 1];
            let expected = exists.then_some(years + months + day - 1);
            prop_assert_eq!(days_since_epoch(year, month, day), expected);
        }

        #[test]
        fn any_text_reads_or_is_refused(text in ".{0,40}") {
            let date = parse(&text, TODAY);
            prop_assert!(date.is_none() || text.len() >= 8);
        }
    }
}
