//! The admin pages: what a mesh does and knows, for people, scrapers and Envoy's tools.
//!
//! When calls fail, the question is what this process thinks: which configuration it has, whom it took out and why,
//! whose certificate ends. The answer must not depend on what may be hanging, so the pages only read snapshots and
//! cells, and [`AdminServer`] runs on a thread of its own.
//!
//! | page | what | formats, the default first |
//! |---|---|---|
//! | `/` | an overview: configuration, clusters, endpoints with state and reason, splits, limits, certificates | html, json |
//! | `/ready` | 200 if calls can be made, else 503 with the reason | text |
//! | `/live` | 200 | text |
//! | `/stats`, `/stats/prometheus`, `/metrics` | Prometheus; with figures of the process on Linux | Prometheus |
//! | `/clusters` | clusters and endpoints | text (Envoy's), json (`envoy.admin.v3.Clusters`), mesh |
//! | `/config_dump` | the configuration in force; `include_eds`, `resource` | json (`envoy.admin.v3.ConfigDump`, feature `json`), mesh |
//! | `/certs` | certificates with the time that is left | json (`envoy.admin.v3.Certificates`), text |
//! | `/listeners` | ports that serve | text, json (`envoy.admin.v3.Listeners`), mesh |
//! | `/explain?url=…` | why a request goes where it goes; `method`, `header=name:value` | text, json |
//! | `/configurations` | the last configurations that were applied or refused | text, json |
//! | `/logging` | the filter of the log; POST with `level=…` changes it | text |
//! | `/cpu_profile` | POST: a profile of the CPU (feature `profile`) | pprof |
//! | `/drain` | POST: the program ends | text |
//!
//! Rules:
//! - What changes something is POST, and only from this host or over mutual TLS (`origin.rs`).
//! - No private key is in any page. Values of headers are in none, unless [`Admin::show_header_values`]; those of
//!   whoever asks `/explain` are told back. Nothing that is asked is logged.
//! - Envoy's formats are Envoy's: its own types read them. What Envoy has no word for is in `format=mesh`.
//! - Nothing here is on the path of calls.
//!
//! What it does not do: keep anything. Who wants the past asks Prometheus.

mod answer;
mod asked;
mod html;
mod options;
mod origin;
mod page;
mod pages;
#[cfg(target_os = "linux")]
mod process;
mod query;
mod serve;
mod service;
mod view;

pub use serve::AdminServer;
pub use service::{Admin, Responding};
