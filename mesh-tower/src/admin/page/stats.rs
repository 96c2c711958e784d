//! `/stats`, `/stats/prometheus`, `/metrics`: Prometheus text: the mesh's metrics, and on Linux figures of the process.

use crate::admin::answer::Answer;
use crate::admin::asked::Asked;
use crate::admin::pages::Answered;
use crate::admin::service::Admin;
use crate::observe::PROMETHEUS_CONTENT_TYPE;

#[cfg_attr(
    not(target_os = "linux"),
    expect(unused_mut, reason = "figures of the process are Linux's")
)]
pub(in crate::admin) fn answer(admin: &Admin, _: &Asked) -> Answered {
    let mut text = admin.mesh.metrics().prometheus_text();
    #[cfg(target_os = "linux")]
    crate::admin::process::write(&admin.state.threads, &mut text);
    Ok(Answer::of(PROMETHEUS_CONTENT_TYPE, text))
}
