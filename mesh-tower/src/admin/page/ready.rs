//! `/ready`: whether calls can be made; `/live`: whether the process answers.
//!
//! Ready is who has a configuration in force, was not asked to end, and of whom the program says nothing else
//! ([`Admin::ready_when`](crate::admin::Admin::ready_when)). A newer configuration that was refused, or a control plane
//! that is lost, changes nothing: calls go by what is in force.

use crate::admin::answer::Answer;
use crate::admin::asked::Asked;
use crate::admin::pages::Answered;
use crate::admin::service::Admin;
use http::StatusCode;

pub(in crate::admin) fn answer(admin: &Admin, _: &Asked) -> Answered {
    Ok(match state(admin) {
        Ok(()) => Answer::text("ready\n"),
        Err(why) => Answer::refused(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}")),
    })
}

pub(in crate::admin) fn live(_: &Admin, _: &Asked) -> Answered {
    Ok(Answer::text("live\n"))
}

/// Whether the program is ready, or why not.
pub(in crate::admin) fn state(admin: &Admin) -> Result<(), String> {
    if admin.mesh.progress().borrow().ended {
        return Err("the mesh was shut down".to_owned());
    }
    if admin.drains() {
        return Err("it was asked to drain".to_owned());
    }
    let configuration = admin.mesh.configuration();
    if configuration.generation == 0 {
        let why = configuration.refused.map(|why| format!(": the first one was refused: {why}"));
        return Err(format!("there is no configuration yet{}", why.unwrap_or_default()));
    }
    admin.options.ready.iter().try_for_each(|ready| ready())
}
