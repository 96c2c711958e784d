//! The call machine.

pub mod backoff;
pub mod http_date;
