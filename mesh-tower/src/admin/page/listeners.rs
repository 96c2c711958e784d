//! `/listeners`: ports that serve.
//!
//! | format | what |
//! |---|---|
//! | `text` | lines as Envoy writes them: `name::address` |
//! | `json` | `envoy.admin.v3.Listeners` |
//! | `mesh` | with filter chains, and whether a server of this program serves |
//!
//! An address is where a server listens, or else where the configuration has it.

use super::clusters::{Plain, address};
use crate::admin::answer::Answer;
use crate::admin::asked::{Asked, Format};
use crate::admin::pages::Answered;
use crate::admin::service::Admin;
use crate::admin::view::{self, ListenerView};
use crate::server::ServingMode;
use mesh_core::model::Address;
use serde_json::{Value, json};

pub(in crate::admin) fn answer(admin: &Admin, asked: &Asked) -> Answered {
    let format = asked.format(Format::Text, &[Format::Text, Format::Json, Format::Mesh])?;
    let listeners = view::listeners(&admin.mesh, &admin.mesh.snapshot());
    Ok(match format {
        Format::Json => {
            let statuses = listeners.iter().map(status).collect::<Value>();
            Answer::json(&json!({ "listener_statuses": statuses }))
        }
        Format::Mesh => {
            let listeners = listeners.iter().map(detailed).collect::<Value>();
            Answer::json(&json!({ "listeners": listeners }))
        }
        Format::Text | Format::Html => Answer::text(listeners.iter().map(line).collect::<String>()),
    })
}

fn line(view: &ListenerView) -> String {
    let place = addresses(view).next().map_or_else(|| "-".to_owned(), ToString::to_string);
    format!("{}::{}\n", Plain(&view.name), Plain(&place))
}

fn addresses(view: &ListenerView) -> impl Iterator<Item = &Address> {
    let configured = view.address.iter().filter(|_| view.bound.is_empty());
    view.bound.iter().chain(configured)
}

fn status(view: &ListenerView) -> Value {
    let mut addresses = addresses(view).map(address);
    let mut status = json!({ "name": &*view.name });
    if let Some(first) = addresses.next() {
        status["local_address"] = first;
    }
    let others: Vec<Value> = addresses.collect();
    if !others.is_empty() {
        status["additional_local_addresses"] = others.into();
    }
    status
}

/// One listener in the mesh's own words.
pub(super) fn detailed(view: &ListenerView) -> Value {
    let chains = view.chains.iter();
    let chains = chains.map(|(name, security)| json!({ "name": &**name, "security": security }));
    let (serving, why) = match &view.mode {
        None => (false, Some("no server of this program serves it")),
        Some(ServingMode::Serving) => (true, None),
        Some(ServingMode::NotServing(why)) => (false, Some(&**why)),
    };
    json!({
        "name": &*view.name,
        "configured": view.address.as_ref().map(ToString::to_string),
        "bound": view.bound.iter().map(ToString::to_string).collect::<Value>(),
        "serving": serving,
        "why": why,
        "filter_chains": chains.collect::<Value>(),
    })
}
