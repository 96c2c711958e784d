//! `/configurations`: the last configurations that were applied or refused, with what they changed.

use crate::admin::answer::Answer;
use crate::admin::asked::{Asked, Format};
use crate::admin::pages::Answered;
use crate::admin::service::Admin;
use crate::observe::{ConfigurationOutcome, ConfigurationRecord};
use serde_json::{Value, json};

pub(in crate::admin) fn answer(admin: &Admin, asked: &Asked) -> Answered {
    let format = asked.format(Format::Text, &[Format::Text, Format::Json])?;
    let records = admin.mesh.configurations();
    Ok(match format {
        Format::Json => {
            let records = records.iter().map(|record| described(record)).collect::<Value>();
            Answer::json(&json!({ "configurations": records }))
        }
        _ => Answer::text(
            records.iter().map(|record| format!("{} {record}\n", record.at)).collect::<String>(),
        ),
    })
}

fn described(record: &ConfigurationRecord) -> Value {
    let (outcome, why) = match &record.outcome {
        ConfigurationOutcome::Applied => ("applied", None),
        ConfigurationOutcome::Refused(why) => ("refused", Some(&**why)),
    };
    json!({
        "at": record.at.to_string(),
        "last": record.last.to_string(),
        "count": record.count,
        "source": &*record.source,
        "version": &*record.version,
        "outcome": outcome,
        "why": why,
        "changes": record.changes.to_string(),
    })
}
