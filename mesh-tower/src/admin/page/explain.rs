//! `/explain?url=…`: why a request goes where it goes, by the configuration in force and what was learnt: what
//! `mesh explain` says.
//!
//! | parameter | what | default |
//! |---|---|---|
//! | `url` | `http://reviews/1`, or `reviews/1` | needed |
//! | `method` | its method | GET |
//! | `header` | `name:value`, any number of times | none |
//!
//! What whoever asks has said comes back. Values that the configuration gives to headers do not, nor those that it
//! compares credentials with, unless [`Admin::show_header_values`](crate::admin::Admin::show_header_values).

use crate::admin::answer::Answer;
use crate::admin::asked::{Asked, Format};
use crate::admin::pages::Answered;
use crate::admin::service::Admin;
use http::{HeaderName, HeaderValue, Method};
use mesh_core::explain::Request;

pub(in crate::admin) fn answer(admin: &Admin, asked: &Asked) -> Answered {
    let format = asked.format(Format::Text, &[Format::Text, Format::Json])?;
    let request = request(asked)?;
    let mut explained = admin.mesh.explain(&request);
    if !admin.options.header_values {
        explained.redact();
    }
    Ok(match format {
        Format::Json => Answer::written_json(format!("{:#}\n", explained.to_json())),
        _ => Answer::text(explained.to_string()),
    })
}

fn request(asked: &Asked) -> Result<Request, String> {
    let url = asked.query.first("url");
    let url = url.ok_or("say which request: `/explain?url=http://reviews/1&method=GET`")?;
    let mut request = Request::new(url).map_err(|error| error.to_string())?;
    if let Some(method) = asked.query.first("method") {
        let parsed = method.parse::<Method>();
        request.method = parsed.map_err(|error| format!("`{method}` is no method: {error}"))?;
    }
    for text in asked.query.all("header") {
        let (name, value) = text.split_once(':').ok_or("write a header as `name:value`")?;
        let name = HeaderName::try_from(name.trim()).map_err(|error| error.to_string())?;
        let value = HeaderValue::try_from(value.trim()).map_err(|error| error.to_string())?;
        request.headers.append(name, value);
    }
    Ok(request)
}
