//! [`Value`]: what one operator gives of one record, before it is written.

use super::record::Attempt;
use super::start_time;
use crate::local_reply::ResponseFlag;
use crate::model::Address;
use std::fmt::{self, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// What one operator gives.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'r> {
    /// It is not known, or there is none.
    Absent,
    /// A number.
    Number(u64),
    /// A duration, in milliseconds with fractions.
    Millis(Duration),
    /// A text, which may be the request's.
    Bytes(&'r [u8]),
    /// A text that is made as it is written.
    Shown(Shown<'r>),
    /// The attempts of a call.
    Attempts(&'r [Attempt<'r>]),
    /// Phases.
    Phases(&'r [(&'r str, Duration)]),
}

impl<'r> Value<'r> {
    /// A text.
    pub(super) const fn text(text: &'r str) -> Self {
        Self::Bytes(text.as_bytes())
    }

    /// A text, unless it is empty or there is none.
    pub(super) fn some_text(text: Option<&'r str>) -> Self {
        text.map_or(Self::Absent, Self::text).unless_empty()
    }

    /// A number, if there is one.
    pub(super) fn some_number(number: Option<u64>) -> Self {
        number.map_or(Self::Absent, Self::Number)
    }

    /// What is shown, if there is something.
    pub(super) fn some_shown(shown: Option<Shown<'r>>) -> Self {
        shown.map_or(Self::Absent, Self::Shown)
    }

    /// Nothing, in place of an empty text.
    pub(super) const fn unless_empty(self) -> Self {
        match self {
            Self::Bytes([]) => Self::Absent,
            other => other,
        }
    }
}

/// Where values are written, escaped as it wants.
pub(super) trait Put: fmt::Write {
    /// Writes a text that may be anybody's, and no UTF-8.
    fn put_bytes(&mut self, bytes: &[u8]);
}

impl Value<'_> {
    /// Writes it as text; nothing where there is none.
    pub(super) fn put(self, out: &mut impl Put) -> fmt::Result {
        match self {
            Self::Absent => Ok(()),
            Self::Number(number) => write!(out, "{number}"),
            Self::Millis(duration) => write!(out, "{}", Millis(duration)),
            Self::Bytes(bytes) => {
                out.put_bytes(bytes);
                Ok(())
            }
            Self::Shown(shown) => write!(out, "{shown}"),
            Self::Attempts(attempts) => write!(out, "{}", AttemptsText(attempts)),
            Self::Phases(phases) => write!(out, "{}", PhasesText(phases)),
        }
    }
}

/// A text that is made as it is written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shown<'r> {
    Time(start_time::Shown<'r>),
    Endpoint(&'r Address),
    Socket(SocketAddr),
    Ip(IpAddr),
    Flags(&'r [ResponseFlag]),
    FlagsLong(&'r [ResponseFlag]),
    List(&'r [&'r str]),
    TraceId([u8; 16]),
    /// With `_` for each white space.
    Underscored(&'r str),
    Decimal(u64),
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Time(time) => time.fmt(f),
            Self::Endpoint(address) => address.fmt(f),
            // A port that is not known is none.
            Self::Socket(address) if address.port() == 0 => address.ip().fmt(f),
            Self::Socket(address) => address.fmt(f),
            Self::Ip(address) => address.fmt(f),
            Self::Flags(flags) => list(f, flags.iter().map(|flag| flag.as_str())),
            Self::FlagsLong(flags) => list(f, flags.iter().map(|flag| flag.long_name())),
            Self::List(texts) => list(f, texts.iter().copied()),
            Self::TraceId(id) => write!(f, "{:032x}", u128::from_be_bytes(id)),
            Self::Underscored(text) => text.chars().try_for_each(|letter| {
                f.write_char(if letter.is_whitespace() { '_' } else { letter })
            }),
            Self::Decimal(number) => number.fmt(f),
        }
    }
}

fn list<'a>(f: &mut fmt::Formatter<'_>, texts: impl Iterator<Item = &'a str>) -> fmt::Result {
    for (at, text) in texts.enumerate() {
        if at > 0 {
            f.write_char(',')?;
        }
        f.write_str(text)?;
    }
    Ok(())
}

/// A duration in milliseconds, to the microsecond.
pub(super) struct Millis(pub(super) Duration);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.as_micros();
        write!(f, "{}.{:03}", micros / 1_000, micros % 1_000)
    }
}

/// Attempts in text: `10.0.0.1:80=UF/connect_refused/0.070,10.0.0.2:80=200/4.000`.
struct AttemptsText<'r>(&'r [Attempt<'r>]);

impl fmt::Display for AttemptsText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, attempt) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_char(',')?;
            }
            match attempt.endpoint {
                Some(endpoint) => write!(f, "{endpoint}=")?,
                None => f.write_str("-=")?,
            }
            if let Some(status) = attempt.status {
                write!(f, "{}/", status.as_u16())?;
            }
            if let Some(status) = attempt.grpc_status {
                write!(f, "grpc-status-{status}/")?;
            }
            if let Some(flag) = attempt.flag {
                write!(f, "{flag}/")?;
            }
            if let Some(reason) = attempt.reason {
                write!(f, "{reason}/")?;
            }
            Millis(attempt.duration).fmt(f)?;
        }
        Ok(())
    }
}

/// Phases in text: `routing=0.001,connect=2.000`.
struct PhasesText<'r>(&'r [(&'r str, Duration)]);

impl fmt::Display for PhasesText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (phase, duration)) in self.0.iter().enumerate() {
            let separator = if at > 0 { "," } else { "" };
            write!(f, "{separator}{phase}={}", Millis(*duration))?;
        }
        Ok(())
    }
}
