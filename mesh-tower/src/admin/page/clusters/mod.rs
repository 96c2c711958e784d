//! `/clusters`: clusters and endpoints.
//!
//! | format | what |
//! |---|---|
//! | `text` | lines as Envoy writes them: `cluster::endpoint::name::value` |
//! | `json` | `envoy.admin.v3.Clusters` |
//! | `mesh` | all that there is: reasons, ejections, limits with what is in use, connections by kind |
//!
//! Of Envoy's counts per endpoint there are those that are kept per endpoint: connections and attempts that are open.

mod detail;
mod envoy;
mod text;

pub(super) use detail::cluster as detailed;
pub(super) use envoy::address;
pub(in crate::admin) use text::Plain;

use crate::admin::answer::Answer;
use crate::admin::asked::{Asked, Format};
use crate::admin::pages::Answered;
use crate::admin::service::Admin;
use crate::admin::view;

pub(in crate::admin) fn answer(admin: &Admin, asked: &Asked) -> Answered {
    let format = asked.format(Format::Text, &[Format::Text, Format::Json, Format::Mesh])?;
    let clusters = view::clusters(&admin.mesh.snapshot());
    Ok(match format {
        Format::Json => Answer::json(&envoy::clusters(&clusters)),
        Format::Mesh => Answer::json(&detail::clusters(&clusters)),
        Format::Text | Format::Html => Answer::text(text::clusters(&clusters)),
    })
}
