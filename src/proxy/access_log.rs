//! The access log's arguments: where its lines go, and what they are like.

use crate::cli::Failure;
use mesh_core::access_log::Format;
use mesh_tower::observe::AccessLog;

/// Arguments of the access log.
#[derive(Debug, clap::Args)]
pub(super) struct AccessLogArguments {
    /// Writes a line for each call and each served request: to `stdout`, `stderr` or a file, which is opened again at
    /// SIGHUP.
    #[arg(long, value_name = "WHERE")]
    access_log: Option<String>,
    /// What a line is like: `text` (Envoy's default), `json`, or a format of Envoy's with operators.
    #[arg(long, value_name = "FORMAT", default_value = "text", requires = "access_log")]
    access_log_format: String,
}

impl AccessLogArguments {
    /// The access log, if one is wanted.
    pub(super) fn open(&self) -> Result<Option<AccessLog>, Failure> {
        let Some(place) = &self.access_log else { return Ok(None) };
        let format = match &*self.access_log_format {
            "text" => Format::default_text(),
            "json" => Format::default_json(),
            format => Format::text(&format!("{format}\n"))
                .map_err(|error| Failure::new("access_log", error.to_string()))?,
        };
        let builder = AccessLog::builder(format);
        let opened = match &**place {
            "stdout" => builder.stdout(),
            "stderr" => builder.stderr(),
            path => builder.file(path),
        };
        let failed =
            |error| Failure::new("access_log", format!("can't write to `{place}`: {error}"));
        opened.map(Some).map_err(failed)
    }
}
