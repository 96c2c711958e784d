//! `/drain`: the program is asked to end.

use crate::admin::answer::Answer;
use crate::admin::asked::Asked;
use crate::admin::pages::Answered;
use crate::admin::service::Admin;
use http::StatusCode;

pub(in crate::admin) fn change(admin: &Admin, _: &Asked) -> Answered {
    let Some(drain) = &admin.options.drain else {
        let why =
            "this program can't be drained from here: it gave nothing to do (`Admin::on_drain`)";
        return Ok(Answer::refused(StatusCode::NOT_FOUND, why));
    };
    tracing::info!(target: "mesh::admin", "a drain is asked for");
    admin.begin_drain();
    drain();
    Ok(Answer::text("draining\n").with_status(StatusCode::ACCEPTED))
}
