//! [`TimeSpec`]: how `%START_TIME(…)%` writes a date, by the specifiers of `strftime` in English and UTC.

use crate::time::{WallTime, date};
use std::fmt::{self, Write as _};

/// A date's form, compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TimeSpec(Box<[Part]>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(char),
    Specifier(char),
    /// So many digits of the fraction of the second.
    Fraction(u8),
}

/// What stands for what may be written after `%`.
const SPECIFIERS: &str = "YymBbhdeHIMSpjAaFTDRsZz";
/// Those of a fraction without a number: nanoseconds.
const ALL_DIGITS: u8 = 9;

impl TimeSpec {
    /// ISO 8601 with milliseconds: `2016-04-15T20:17:00.310Z`.
    pub(super) fn iso() -> Self {
        let mut parts = vec![Part::Specifier('F'), Part::Literal('T'), Part::Specifier('T')];
        parts.extend([Part::Literal('.'), Part::Fraction(3), Part::Literal('Z')]);
        Self(parts.into())
    }

    /// `None`: there is a specifier that is none of ours, or a character that is none of a line.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = Vec::new();
        let mut letters = text.chars();
        while let Some(letter) = letters.next() {
            parts.push(match letter {
                '%' => match letters.next()? {
                    '%' => Part::Literal('%'),
                    'f' => Part::Fraction(ALL_DIGITS),
                    digit @ '1'..='9' if letters.next()? == 'f' => {
                        Part::Fraction(digit.to_digit(10).and_then(|digit| digit.try_into().ok())?)
                    }
                    known if SPECIFIERS.contains(known) => Part::Specifier(known),
                    _ => return None,
                },
                letter if letter.is_control() => return None,
                letter => Part::Literal(letter),
            });
        }
        (!parts.is_empty()).then(|| Self(parts.into()))
    }

    /// A time in this form.
    pub(super) const fn show(&self, at: WallTime, nanos: u32) -> Shown<'_> {
        Shown { spec: self, at, nanos }
    }
}

/// A time in a form.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shown<'a> {
    spec: &'a TimeSpec,
    at: WallTime,
    nanos: u32,
}

/// A time in the parts of a calendar and a clock.
struct Civil {
    seconds: u64,
    year: u64,
    month: u64,
    day: u64,
    weekday: usize,
    day_of_year: u64,
}

impl Civil {
    const fn of(at: WallTime) -> Self {
        let seconds = at.as_unix_seconds();
        let days = seconds / 86_400;
        let (year, month, day) = date::civil(days);
        // 1970-01-01 was a Thursday.
        let weekday = ((days % 7 + 4) % 7) as usize;
        let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let before = BEFORE[(month - 1) as usize] + (is_leap && month > 2) as u64;
        Self { seconds, year, month, day, weekday, day_of_year: before + day }
    }

    fn write(&self, specifier: char, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seconds, year, month, day, weekday, day_of_year } = *self;
        let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
        let hour_of_12 = if hour % 12 == 0 { 12 } else { hour % 12 };
        let name = |name: &'static str, short: bool| if short { &name[..3] } else { name };
        match specifier {
            'Y' => write!(f, "{year}"),
            'y' => write!(f, "{:02}", year % 100),
            'm' => write!(f, "{month:02}"),
            'B' => f.write_str(name(MONTHS[(month - 1) as usize], false)),
            'b' | 'h' => f.write_str(name(MONTHS[(month - 1) as usize], true)),
            'd' => write!(f, "{day:02}"),
            'e' => write!(f, "{day:2}"),
            'H' => write!(f, "{hour:02}"),
            'I' => write!(f, "{hour_of_12:02}"),
            'M' => write!(f, "{minute:02}"),
            'S' => write!(f, "{second:02}"),
            'p' => f.write_str(if hour < 12 { "AM" } else { "PM" }),
            'j' => write!(f, "{day_of_year:03}"),
            'A' => f.write_str(name(WEEKDAYS[weekday], false)),
            'a' => f.write_str(name(WEEKDAYS[weekday], true)),
            'F' => write!(f, "{year}-{month:02}-{day:02}"),
            'T' => write!(f, "{hour:02}:{minute:02}:{second:02}"),
            'D' => write!(f, "{month:02}/{day:02}/{:02}", year % 100),
            'R' => write!(f, "{hour:02}:{minute:02}"),
            's' => write!(f, "{seconds}"),
            'Z' => f.write_str("UTC"),
            _ => f.write_str("+0000"),
        }
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let civil = Civil::of(self.at);
        let nanos = self.nanos.min(999_999_999);
        for part in &self.spec.0 {
            match part {
                Part::Literal(letter) => f.write_char(*letter)?,
                Part::Specifier(specifier) => civil.write(*specifier, f)?,
                Part::Fraction(digits) => {
                    let (width, cut) = (usize::from(*digits), u32::from(ALL_DIGITS - *digits));
                    write!(f, "{:0width$}", nanos / 10_u32.pow(cut))?;
                }
            }
        }
        Ok(())
    }
}

/// The days of a year before each month, in a year without a leap day.
const BEFORE: [u64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

const WEEKDAYS: [&str; 7] =
    ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(at: &str, nanos: u32, spec: &str, expected: &str) {
        let at = WallTime::parse_rfc3339(at).unwrap();
        let spec = TimeSpec::parse(spec).unwrap();
        assert_eq!(spec.show(at, nanos).to_string(), expected);
    }

    #[test]
    fn specifiers_mean_what_strftime_says() {
        let at = "2016-04-15T20:07:09Z";
        check(at, 310_000_000, "%Y/%m/%dT%H:%M:%S%z %s", "2016/04/15T20:07:09+0000 1460750829");
        // Envoy's own examples.
        check("2018-05-29T06:03:10Z", 528_000_000, "%s.%3f", "1527573790.528");
        check(at, 310_020_003, "%f %1f %6f %9f", "310020003 3 310020 310020003");
        check(at, 0, "%a %A %b %B %h %y %e", "Fri Friday Apr April Apr 16 15");
        check(
            at,
            0,
            "%I:%M %p %j %D %R %F %T %Z",
            "08:07 PM 106 04/15/16 20:07 2016-04-15 20:07:09 UTC",
        );
        check("2024-12-31T00:30:00Z", 0, "%j %I%p %e %%", "366 12AM 31 %");
        check("2023-03-01T12:00:00Z", 0, "%j %I%p %e", "060 12PM  1");
        check("1970-01-01", 0, "%A", "Thursday");
    }

    #[test]
    fn the_default_has_milliseconds() {
        let at = WallTime::parse_rfc3339("2016-04-15T20:17:00Z").unwrap();
        let text = TimeSpec::iso().show(at, 310_999_999).to_string();
        assert_eq!(text, "2016-04-15T20:17:00.310Z");
    }

    #[test]
    fn what_is_no_specifier_is_refused() {
        for text in ["", "%", "%q", "%0f", "%3", "%3d", "%n", "a\nb", "%E3S"] {
            assert_eq!(TimeSpec::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn any_time_is_shown() {
        let spec = TimeSpec::parse("%F %j %A %f").unwrap();
        for seconds in [u64::MAX, u64::MAX / 2, 0] {
            let at = WallTime::from_unix_seconds(seconds);
            assert!(!spec.show(at, u32::MAX).to_string().is_empty());
        }
    }
}
