//! Why a connection ended before its time, as it is counted: what hyper, h2 and the system say, in one word.

use super::guarded::Found;
use super::head_timer::Late;
use super::serve::ServeError;
use crate::observe::port::Broken;
use mesh_core::inbound::flood::Flood;
use std::error::Error;
use std::io;

/// What was found out about a connection says more than that it broke, or that h2 has had too much.
pub(super) fn found(error: ServeError, found: &Found) -> ServeError {
    let is_excessive = reason(&error) == Some(Broken::Excessive);
    let last = || if is_excessive { found.last() } else { None };
    found.flood().or_else(last).map_or(error, ServeError::Flood)
}

/// The word for it; `None`: it is counted elsewhere.
pub(super) fn reason(error: &ServeError) -> Option<Broken> {
    Some(match error {
        ServeError::Accept(_) | ServeError::Silent => return None,
        ServeError::Deadline => Broken::Deadline,
        ServeError::Flood(flood) => of_flood(*flood),
        ServeError::Http(error) => of(&**error),
    })
}

const fn of_flood(flood: Flood) -> Broken {
    match flood {
        Flood::Resets => Broken::ResetFlood,
        Flood::Pings => Broken::PingFlood,
        Flood::Settings => Broken::SettingsFlood,
        Flood::EmptyData => Broken::EmptyDataFlood,
        Flood::WindowUpdates => Broken::WindowUpdateFlood,
        Flood::Priorities => Broken::PriorityFlood,
        Flood::Continuations => Broken::ContinuationFlood,
        Flood::Unknown => Broken::UnknownFlood,
    }
}

fn of(error: &(dyn Error + 'static)) -> Broken {
    let mut next = Some(error);
    while let Some(error) = next {
        let said = if let Some(late) = error.downcast_ref::<Late>() {
            Some(match late {
                Late::Silent => Broken::Silent,
                Late::Stalled => Broken::WriteStalled,
            })
        } else if let Some(error) = error.downcast_ref::<hyper::Error>() {
            of_hyper(error)
        } else if let Some(error) = error.downcast_ref::<h2::Error>() {
            Some(of_h2(error))
        } else {
            error.is::<io::Error>().then_some(Broken::Closed)
        };
        if let Some(said) = said {
            return said;
        }
        next = error.source();
    }
    Broken::Other
}

/// `None`: its source says more.
fn of_hyper(error: &hyper::Error) -> Option<Broken> {
    if error.is_timeout() {
        Some(Broken::HeadTimeout)
    } else if error.is_parse_too_large() {
        Some(Broken::HeadTooLarge)
    } else if error.is_parse() {
        Some(Broken::BadRequest)
    } else if error.is_incomplete_message() || error.is_body_write_aborted() {
        Some(Broken::Closed)
    } else {
        None
    }
}

fn of_h2(error: &h2::Error) -> Broken {
    if error.is_io() {
        return Broken::Closed;
    }
    match error.reason() {
        Some(h2::Reason::ENHANCE_YOUR_CALM) => Broken::Excessive,
        Some(h2::Reason::NO_ERROR | h2::Reason::CANCEL) => Broken::Closed,
        _ => Broken::Protocol,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(error: impl Into<crate::body::BoxError>, expected: Broken) {
        assert_eq!(reason(&ServeError::Http(error.into())), Some(expected));
    }

    #[test]
    fn each_end_has_its_word() {
        check(Late::Silent, Broken::Silent);
        check(Late::Stalled, Broken::WriteStalled);
        check(io::Error::other("x"), Broken::Closed);
        check(h2::Error::from(h2::Reason::PROTOCOL_ERROR), Broken::Protocol);
        check(h2::Error::from(h2::Reason::ENHANCE_YOUR_CALM), Broken::Excessive);
        check(h2::Error::from(h2::Reason::NO_ERROR), Broken::Closed);
        check("nobody knows", Broken::Other);
        assert_eq!(reason(&ServeError::Flood(Flood::Pings)), Some(Broken::PingFlood));
        assert_eq!(reason(&ServeError::Silent), None);
    }
}
