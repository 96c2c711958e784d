//! From JSON to a [`Bootstrap`].

use super::error::BootstrapError;
use super::json::{Object, Reader, Value};
use super::{Bootstrap, Template, authority, node, provider, server};

/// The longest bootstrap, in bytes: as much as a Kubernetes ConfigMap holds.
pub const MAX_BYTES: usize = 1024 * 1024;

/// Reads a bootstrap, or tells everything that is wrong with it.
pub(super) fn parse(text: &str) -> Result<Bootstrap, BootstrapError> {
    // An error still has to show a place, so that the reader knows the whole text.
    let mut reader = Reader::new(text);
    if text.len() > MAX_BYTES {
        let message = format!(
            "a bootstrap of {} bytes, more than {MAX_BYTES}: is it the right file?",
            text.len()
        );
        reader.report_start(message);
        return reader.finish(None);
    }
    let bootstrap = reader.document().and_then(|document| read(&mut reader, document));
    reader.finish(bootstrap)
}

fn read<'t>(reader: &mut Reader<'t>, document: Value<'t>) -> Option<Bootstrap> {
    let object = reader.object(document)?;
    let rule = "it says where the control plane is (gRFC A27)";
    let servers = reader.required(&object, "xds_servers", rule, |reader, value| {
        if value.is_empty_list() {
            reader.report(value, "no server is listed: add the control plane (gRFC A27)");
        }
        reader.list(value, server::read)
    });
    let node = reader.optional(&object, "node", node::read);
    let providers = reader.optional(&object, "certificate_providers", |reader, value| {
        reader.map(value, |reader, name, value| {
            Some((name.to_owned(), provider::read(reader, value)?))
        })
    });
    let authorities =
        reader.optional(&object, "authorities", |reader, value| reader.map(value, authority::read));
    let client = template(reader, &object, "client_default_listener_resource_name_template");
    let server = template(reader, &object, "server_listener_resource_name_template");

    let mut servers = servers?.into_iter();
    let mut bootstrap = Bootstrap::new(servers.next()?);
    bootstrap.servers.extend(servers);
    bootstrap.node = node.unwrap_or_default();
    for (name, provider) in providers.unwrap_or_default() {
        bootstrap = bootstrap.with_certificate_provider(name, provider);
    }
    for authority in authorities.unwrap_or_default() {
        bootstrap = bootstrap.with_authority(authority);
    }
    if let Some(template) = client {
        bootstrap = bootstrap.with_client_default_listener_template(template);
    }
    if let Some(template) = server {
        bootstrap = bootstrap.with_server_listener_template(template);
    }
    Some(bootstrap)
}

/// A template; an empty one is as good as none (grpc-go).
fn template<'t>(
    reader: &mut Reader<'t>,
    object: &Object<'t>,
    name: &'static str,
) -> Option<Template> {
    let text = reader.optional(object, name, Reader::string)?;
    (!text.is_empty()).then(|| Template::new(text))
}
