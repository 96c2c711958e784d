//! What the machine makes of what happens, as scripts (see [`script`]).

mod answers;
mod connection;
mod data_errors;
mod properties;
mod script;
mod servers;
mod subscriptions;
mod timers;
mod transitions;
mod wildcard;
