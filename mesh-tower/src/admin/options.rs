//! [`Options`]: what the program says of its admin pages.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Whether the program is ready, and if not, why.
pub(super) type Ready = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// What begins the program's end.
pub(super) type Drain = Arc<dyn Fn() + Send + Sync>;

/// Puts another filter into force, or says why not.
type SetFilter = Arc<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

/// The filter of the program's log.
#[derive(Clone)]
pub(super) struct Logging {
    pub(super) get: Arc<dyn Fn() -> String + Send + Sync>,
    pub(super) set: SetFilter,
}

/// What the program says.
#[derive(Clone)]
pub(super) struct Options {
    /// All of them have to agree.
    pub(super) ready: Vec<Ready>,
    pub(super) drain: Option<Drain>,
    pub(super) logging: Option<Logging>,
    pub(super) header_values: bool,
    /// How long a connection may take, with its answer.
    pub(super) patience: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            ready: Vec::new(),
            drain: None,
            logging: None,
            header_values: false,
            patience: Duration::from_secs(10),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("ready", &self.ready.len())
            .field("drain", &self.drain.is_some())
            .field("logging", &self.logging.is_some())
            .field("header_values", &self.header_values)
            .field("patience", &self.patience)
            .finish()
    }
}
