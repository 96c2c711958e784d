//! The integration tests of mesh-xds: one binary, one file per subject.

#[cfg(test)]
mod ads;
#[cfg(test)]
#[cfg(feature = "tls-aws-lc")]
mod certificates;
#[cfg(test)]
mod client;
#[cfg(test)]
#[cfg(feature = "json")]
mod files;
#[cfg(test)]
mod flood;
#[cfg(test)]
mod secrets;
#[cfg(test)]
mod sockets;
#[cfg(test)]
#[cfg(feature = "tls-aws-lc")]
mod tls;
#[cfg(test)]
#[cfg(feature = "tls-aws-lc")]
mod token;
