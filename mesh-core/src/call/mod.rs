//! The call machine.

pub mod backoff;
pub mod budget;
pub mod gate;
pub mod http_date;
