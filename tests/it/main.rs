//! The integration tests of the command line tool and of the examples: one binary, one file per
//! subject.
#![expect(clippy::duplicate_mod, reason = "examples share modules, and all examples are in here")]

#[cfg(test)]
#[cfg(target_os = "linux")]
mod abuse;
#[cfg(test)]
mod ads;
#[cfg(test)]
#[cfg(unix)]
mod ads_clients;
#[cfg(test)]
#[cfg(unix)]
mod ads_files;
#[cfg(test)]
mod ads_tls;
#[cfg(test)]
#[cfg(unix)]
mod call;
#[cfg(test)]
#[cfg(unix)]
mod certificates;
#[cfg(test)]
mod certs;
#[cfg(test)]
#[cfg(unix)]
mod chaos;
#[cfg(test)]
mod check;
#[cfg(test)]
mod console;
#[cfg(test)]
#[cfg(unix)]
mod control_plane;
#[cfg(test)]
mod docs;
#[cfg(test)]
#[cfg(unix)]
mod environment;
#[cfg(test)]
#[cfg(unix)]
mod envoy_ports;
#[cfg(test)]
#[cfg(unix)]
mod life;
#[cfg(test)]
#[cfg(unix)]
mod mistakes;
#[cfg(test)]
#[cfg(unix)]
mod otlp;
#[cfg(test)]
mod programs;
#[cfg(test)]
#[cfg(unix)]
mod proxy;
#[cfg(test)]
#[cfg(unix)]
mod restart;
#[cfg(test)]
#[cfg(unix)]
mod shell;
// Not under cfg(test), where clippy's rules differ: examples are held to the same here as by themselves.
mod examples;
