//! What servers do, from one configuration to the next.

use super::ApplyError;
use super::snapshot::Listeners;
use crate::inbound::CompiledListener;
use crate::model::Listener;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Compiles the listeners that changed; `None`: none did. What is equal to what is in force stays, and so
/// do the counts of its filters.
///
/// # Errors
/// [`ApplyError::Listener`]: the first that can't be used.
pub(super) fn next(
    before: &Listeners,
    update: &mut BTreeMap<Arc<str>, Arc<Listener>>,
) -> Result<Option<Listeners>, ApplyError> {
    let mut next = Listeners::new();
    let mut is_same = before.len() == update.len();
    for (name, model) in update {
        let known = before.get(name);
        let compiled = match known {
            Some(known) if known.model() == model => {
                *model = Arc::clone(known.model());
                Arc::clone(known)
            }
            _ => {
                is_same = false;
                let compiled = CompiledListener::compile(model, known.map(|known| &**known));
                Arc::new(compiled.map_err(|errors| ApplyError::Listener {
                    listener: Arc::clone(name),
                    errors,
                })?)
            }
        };
        next.insert(Arc::clone(name), compiled);
    }
    Ok((!is_same).then_some(next))
}
