//! Points in time and spans of it: what `request.time` is compared with.
//!
//! Both are whole seconds and nanoseconds after them. Texts with dates before 1970 are not read; dates
//! that are computed reach from year 1 to 9999, spans ten thousand years either way, as in CEL.

use super::Failure;
use crate::time::{WallTime, date};

const NANOS: i128 = 1_000_000_000;
const DAY: i64 = 86_400;
/// From 0001-01-01 to 9999-12-31 (protobuf: `Timestamp`).
const DATES: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;
/// protobuf: `Duration`.
const MAX_SPAN: i64 = 315_576_000_000;
/// Days from 0001-01-01 to 1970-01-01.
const YEAR_ONE: i64 = 719_162;
const DAYS_PER_ERA: i64 = 146_097;

/// Seconds, and nanoseconds after them: since 1970, or in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment {
    seconds: i64,
    nanos: u32,
}

impl Moment {
    pub(super) fn of_wall(time: WallTime) -> Self {
        Self { seconds: i64::try_from(time.as_unix_seconds()).unwrap_or(i64::MAX), nanos: 0 }
    }

    const fn total(self) -> i128 {
        self.seconds as i128 * NANOS + self.nanos as i128
    }

    fn of_total(nanos: i128) -> Option<Self> {
        let seconds = i64::try_from(nanos.div_euclid(NANOS)).ok()?;
        Some(Self { seconds, nanos: u32::try_from(nanos.rem_euclid(NANOS)).ok()? })
    }

    pub(super) const fn seconds(self) -> i64 {
        self.seconds
    }

    /// # Errors
    /// It is no date.
    pub(super) fn date_of_seconds(seconds: i64) -> Result<Self, Failure> {
        Self { seconds, nanos: 0 }.as_date()
    }

    /// # Errors
    /// It is not from year 1 to 9999.
    pub(super) fn as_date(self) -> Result<Self, Failure> {
        if DATES.contains(&self.seconds) { Ok(self) } else { Err(Failure::Overflow) }
    }

    /// # Errors
    /// It is longer than ten thousand years.
    pub(super) fn as_span(self) -> Result<Self, Failure> {
        let inside = (-MAX_SPAN..=MAX_SPAN).contains(&self.seconds);
        if inside { Ok(self) } else { Err(Failure::Overflow) }
    }

    pub(super) fn plus(self, other: Self) -> Result<Self, Failure> {
        Self::of_total(self.total() + other.total()).ok_or(Failure::Overflow)
    }

    pub(super) fn minus(self, other: Self) -> Result<Self, Failure> {
        Self::of_total(self.total() - other.total()).ok_or(Failure::Overflow)
    }

    /// `2026-12-31T08:00:00.5Z`.
    pub(super) fn parse_date(text: &str) -> Result<Self, Failure> {
        let parsed = || {
            // The time is not optional here.
            let (date, time) = text.split_once(['T', 't'])?;
            let Some((whole, rest)) = time.split_once('.') else {
                return Some((WallTime::parse_rfc3339(text)?, 0));
            };
            let zone = rest.find(|letter: char| !letter.is_ascii_digit())?;
            let nanos = fraction(&rest[..zone])?;
            let whole = format!("{date}T{whole}{}", &rest[zone..]);
            Some((WallTime::parse_rfc3339(&whole)?, nanos))
        };
        let (whole, nanos) = parsed().ok_or(Failure::Conversion)?;
        Self { nanos, ..Self::of_wall(whole) }.as_date()
    }

    /// `1h30m`, `-1.5s`, `100ms`; a unit after each number, and several of them add up.
    pub(super) fn parse_span(text: &str) -> Result<Self, Failure> {
        let parsed = || {
            let (sign, mut rest) = match text.strip_prefix('-') {
                Some(rest) => (-1, rest),
                None => (1, text.strip_prefix('+').unwrap_or(text)),
            };
            if rest == "0" {
                return Some(0);
            }
            if rest.is_empty() {
                return None;
            }
            let mut total: i128 = 0;
            while !rest.is_empty() {
                let (nanos, after) = span_part(rest)?;
                total = total.checked_add(nanos)?;
                rest = after;
            }
            Some(sign * total)
        };
        parsed().and_then(Self::of_total).ok_or(Failure::Conversion)?.as_span()
    }

    /// As a date, in UTC.
    pub(super) fn date_text(self) -> String {
        let (date, second) = (Date::of(self.seconds), self.seconds.rem_euclid(DAY));
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        let mut text = format!(
            "{:04}-{:02}-{:02}T{hour:02}:{minute:02}:{second:02}",
            date.year, date.month, date.day
        );
        add_fraction(self.nanos, &mut text);
        text.push('Z');
        text
    }

    /// As a span: `1.5s`.
    pub(super) fn span_text(self) -> String {
        let total = self.total();
        let sign = if total < 0 { "-" } else { "" };
        let mut text = format!("{sign}{}", total.unsigned_abs() / NANOS.unsigned_abs());
        let nanos = u32::try_from(total.unsigned_abs() % NANOS.unsigned_abs()).unwrap_or(0);
        add_fraction(nanos, &mut text);
        text.push('s');
        text
    }

    /// A part of a date, `offset` seconds east of UTC.
    pub(super) fn part(self, part: Part, offset: i64) -> i64 {
        let local = self.seconds.saturating_add(offset);
        let of_day = local.rem_euclid(DAY);
        let date = Date::of(local);
        match part {
            Part::FullYear => date.year,
            Part::Month => date.month - 1,
            Part::Date => date.day,
            Part::DayOfMonth => date.day - 1,
            // 1970-01-01 was a Thursday.
            Part::DayOfWeek => (local.div_euclid(DAY) + 4).rem_euclid(7),
            Part::DayOfYear => date.day_of_year,
            Part::Hours => of_day / 3600,
            Part::Minutes => of_day / 60 % 60,
            Part::Seconds => of_day % 60,
            Part::Milliseconds => i64::from(self.nanos / 1_000_000),
        }
    }

    /// A part of a span: all of it in whole units, but for milliseconds; `None`: a span has no such part.
    pub(super) fn span_part(self, part: Part) -> Option<i64> {
        let nanos = match part {
            Part::Hours => 3600 * NANOS,
            Part::Minutes => 60 * NANOS,
            Part::Seconds => NANOS,
            Part::Milliseconds => return i64::try_from(self.total() / 1_000_000 % 1000).ok(),
            _ => return None,
        };
        i64::try_from(self.total() / nanos).ok()
    }
}

/// What dates are asked for, by the names of CEL's methods without `get`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    FullYear,
    /// From 0.
    Month,
    /// Of the month, from 1.
    Date,
    /// From 0.
    DayOfMonth,
    /// From 0, Sunday.
    DayOfWeek,
    /// From 0.
    DayOfYear,
    Hours,
    Minutes,
    Seconds,
    Milliseconds,
}

/// `+02:00`, `-02:00`, `02:00`, `UTC` and `Z` in seconds; `None`: another zone, and there is no table of
/// them here.
pub(super) fn zone_offset(text: &str) -> Option<i64> {
    if matches!(text, "UTC" | "Z" | "z" | "") {
        return Some(0);
    }
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (hours, minutes) = rest.split_once(':')?;
    let two = |digits: &str| {
        let is_number = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| digits.parse::<i64>().ok()).flatten()
    };
    let (hours, minutes) = (two(hours)?, two(minutes)?);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

struct Date {
    year: i64,
    month: i64,
    day: i64,
    day_of_year: i64,
}

impl Date {
    fn of(seconds: i64) -> Self {
        let days = seconds.div_euclid(DAY);
        // The calendar repeats after an era, so that there are no days before 1970 to be counted.
        let eras = YEAR_ONE.div_euclid(DAYS_PER_ERA) + 1;
        let shifted = |days: i64| {
            let shifted = u64::try_from(days + eras * DAYS_PER_ERA).unwrap_or(0);
            let (year, month, day) = date::civil(shifted);
            let signed = |part: u64| i64::try_from(part).unwrap_or(0);
            (signed(year) - eras * 400, signed(month), signed(day))
        };
        let (year, month, day) = shifted(days);
        // Back to the first of January: at most 366 days, by months of which the year tells the length.
        let leap = i64::from(year % 4 == 0 && (year % 100 != 0 || year % 400 == 0));
        let before = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
        let at = usize::try_from(month - 1).unwrap_or(0).min(11);
        let day_of_year = before[at] + if month > 2 { leap } else { 0 } + day - 1;
        Self { year, month, day, day_of_year }
    }
}

/// Digits after the point, as nanoseconds; further ones are cut off.
fn fraction(digits: &str) -> Option<u32> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let kept = &digits[..digits.len().min(9)];
    let scale = 10_u32.pow(u32::try_from(9 - kept.len()).ok()?);
    Some(kept.parse::<u32>().ok()? * scale)
}

fn add_fraction(nanos: u32, text: &mut String) {
    if nanos > 0 {
        let digits = format!(".{nanos:09}");
        text.push_str(digits.trim_end_matches('0'));
    }
}

/// One number with its unit, in nanoseconds, and what follows.
fn span_part(text: &str) -> Option<(i128, &str)> {
    let after_number = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
    let (number, rest) = text.split_at(after_number);
    let after_unit = rest.find(|letter: char| letter.is_ascii_digit() || letter == '.');
    let (unit, rest) = rest.split_at(after_unit.unwrap_or(rest.len()));
    let unit: i128 = match unit {
        "h" => 3600 * NANOS,
        "m" => 60 * NANOS,
        "s" => NANOS,
        "ms" => 1_000_000,
        "us" | "µs" => 1000,
        "ns" => 1,
        _ => return None,
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let whole: i128 = if whole.is_empty() { 0 } else { i128::from(whole.parse::<u64>().ok()?) };
    let part = if part.is_empty() { 0 } else { i128::from(fraction(part)?) };
    Some((whole.checked_mul(unit)?.checked_add(part * unit / NANOS)?, rest))
}
