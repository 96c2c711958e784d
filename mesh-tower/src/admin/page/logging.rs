//! `/logging`: the filter of the program's log.

use super::clusters::Plain;
use crate::admin::answer::Answer;
use crate::admin::asked::Asked;
use crate::admin::options::Logging;
use crate::admin::pages::Answered;
use crate::admin::service::Admin;
use http::StatusCode;

/// The longest filter that is taken, in bytes.
const LONGEST: usize = 4096;

pub(in crate::admin) fn answer(admin: &Admin, _: &Asked) -> Answered {
    Ok(match &admin.options.logging {
        Some(logging) => shown(logging),
        None => absent(),
    })
}

pub(in crate::admin) fn change(admin: &Admin, asked: &Asked) -> Answered {
    let Some(logging) = &admin.options.logging else { return Ok(absent()) };
    let level = asked.query.first("level").filter(|level| !level.is_empty());
    let level = level.ok_or("say which filter: `/logging?level=info,mesh=debug`")?;
    if level.len() > LONGEST {
        return Err(format!("a filter has at most {LONGEST} bytes, this one {}", level.len()));
    }
    (logging.set)(level).map_err(|why| format!("this filter can't be used: {why}"))?;
    tracing::info!(target: "mesh::admin", "the log has another filter");
    Ok(shown(logging))
}

fn shown(logging: &Logging) -> Answer {
    Answer::text(format!("{}\n", Plain(&(logging.get)())))
}

fn absent() -> Answer {
    let why =
        "the log of this program can't be changed from here: it gave no filter (`Admin::logging`)";
    Answer::refused(StatusCode::NOT_FOUND, why)
}
