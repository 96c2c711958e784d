//! What is taken out of a resource before it is shown.
//!
//! - Of a secret (SDS) only its name is left.
//! - Of clusters and listeners, what TLS has of keys and passwords in line is replaced by a word
//!   (gRFC A29 wants certificates from providers; Envoy takes them in line too). Files and variables, which
//!   are only named, stay.
//! - A transport socket that is none of those known here may hold others inside: its content is left out.
//! - If there is still a private key in PEM anywhere, the whole content is left out.
//!
//! What nothing is taken out of stays byte for byte what was received.
//!
//! What it does not do: know every extension. A password in a filter of one's own is shown.

use crate::ResourceType;
use crate::last_good::holds_private_key;
use bytes::Bytes;
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
use envoy_types::pb::envoy::config::core::v3::transport_socket::ConfigType;
use envoy_types::pb::envoy::config::core::v3::{DataSource, TransportSocket};
use envoy_types::pb::envoy::config::listener::v3::Listener;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::downstream_tls_context::SessionTicketKeysType;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{
    CommonTlsContext, DownstreamTlsContext, Secret, UpstreamTlsContext,
};
use prost::Message;

/// What stands in the place of a secret.
pub(crate) const REDACTED: &str = "[redacted]";

/// What a resource with a transport socket has in it, however it is written.
const SOCKET: &[u8] = b"transport_sockets.";

/// Takes the secrets out of a resource.
pub(crate) fn redact(kind: ResourceType, name: &str, body: &mut Bytes) {
    if kind == ResourceType::Secret {
        *body = Secret { name: name.to_owned(), ..Secret::default() }.encode_to_vec().into();
        return;
    }
    if body.windows(SOCKET.len()).any(|window| window == SOCKET) {
        let redacted = match kind {
            ResourceType::Cluster => message(body, cluster),
            ResourceType::Listener => message(body, listener),
            ResourceType::RouteConfiguration | ResourceType::Endpoints | ResourceType::Secret => {
                None
            }
        };
        if let Some(redacted) = redacted {
            *body = redacted;
        }
    }
    if holds_private_key(body) {
        *body = Bytes::new();
    }
}

/// The message without its secrets; `None`: it has none.
fn message<M: Message + Default>(body: &[u8], redact: fn(&mut M) -> bool) -> Option<Bytes> {
    let mut message = M::decode(body).ok()?;
    redact(&mut message).then(|| message.encode_to_vec().into())
}

fn cluster(cluster: &mut Cluster) -> bool {
    let matches = cluster.transport_socket_matches.iter_mut();
    let sockets = matches.filter_map(|of| of.transport_socket.as_mut());
    any(sockets.chain(&mut cluster.transport_socket), socket)
}

fn listener(listener: &mut Listener) -> bool {
    let chains = listener.filter_chains.iter_mut().chain(&mut listener.default_filter_chain);
    any(chains.filter_map(|chain| chain.transport_socket.as_mut()), socket)
}

fn socket(socket: &mut TransportSocket) -> bool {
    let Some(ConfigType::TypedConfig(any)) = &mut socket.config_type else { return false };
    let name = any.type_url.rsplit('.').next().unwrap_or_default();
    let redacted = match name {
        "UpstreamTlsContext" => message(&any.value, |context: &mut UpstreamTlsContext| {
            context.common_tls_context.as_mut().is_some_and(common)
        }),
        "DownstreamTlsContext" => message(&any.value, downstream),
        "RawBuffer" | "Alts" => None,
        _ => Some(Bytes::new()),
    };
    let Some(redacted) = redacted else { return false };
    any.value = redacted.into();
    true
}

fn downstream(context: &mut DownstreamTlsContext) -> bool {
    let tickets = match &mut context.session_ticket_keys_type {
        Some(SessionTicketKeysType::SessionTicketKeys(keys)) => any(&mut keys.keys, source),
        _ => false,
    };
    context.common_tls_context.as_mut().is_some_and(common) || tickets
}

fn common(context: &mut CommonTlsContext) -> bool {
    let sources = context.tls_certificates.iter_mut().flat_map(|certificate| {
        [&mut certificate.private_key, &mut certificate.password, &mut certificate.pkcs12]
    });
    any(sources.flatten(), source)
}

fn source(source: &mut DataSource) -> bool {
    let in_line =
        matches!(source.specifier, Some(Specifier::InlineBytes(_) | Specifier::InlineString(_)));
    if in_line {
        source.specifier = Some(Specifier::InlineString(REDACTED.to_owned()));
    }
    in_line
}

/// Does it to all of them; whether anything was done.
fn any<T>(all: impl IntoIterator<Item = T>, mut redact: impl FnMut(T) -> bool) -> bool {
    let mut done = false;
    for one in all {
        done |= redact(one);
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;
    use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::TlsCertificate;
    use envoy_types::pb::google::protobuf::Any;

    fn in_line(text: &str) -> Option<DataSource> {
        let specifier = Some(Specifier::InlineString(text.to_owned()));
        Some(DataSource { specifier, ..DataSource::default() })
    }

    fn tls(certificate: TlsCertificate) -> Vec<u8> {
        let common =
            CommonTlsContext { tls_certificates: vec![certificate], ..CommonTlsContext::default() };
        UpstreamTlsContext {
            sni: "peer".to_owned(),
            common_tls_context: Some(common),
            ..UpstreamTlsContext::default()
        }
        .encode_to_vec()
    }

    fn of(name: &str, value: Vec<u8>) -> Bytes {
        let type_url = format!("type.googleapis.com/envoy.extensions.transport_sockets.{name}");
        let any = Any { type_url, value };
        let socket = TransportSocket {
            config_type: Some(ConfigType::TypedConfig(any)),
            ..TransportSocket::default()
        };
        let cluster =
            Cluster { name: "c".to_owned(), transport_socket: Some(socket), ..Cluster::default() };
        cluster.encode_to_vec().into()
    }

    fn redacted(kind: ResourceType, mut body: Bytes) -> Bytes {
        redact(kind, "c", &mut body);
        body
    }

    fn has(body: &[u8], word: &str) -> bool {
        body.windows(word.len()).any(|window| window == word.as_bytes())
    }

    #[test]
    fn keys_and_passwords_in_line_are_taken_out_and_the_rest_stays() {
        let certificate = TlsCertificate {
            certificate_chain: in_line("public"),
            private_key: in_line("-----BEGIN PRIVATE KEY-----"),
            password: in_line("hunter2"),
            ..TlsCertificate::default()
        };
        let body =
            redacted(ResourceType::Cluster, of("tls.v3.UpstreamTlsContext", tls(certificate)));
        for (word, is_there) in [
            ("public", true),
            ("peer", true),
            (REDACTED, true),
            ("PRIVATE", false),
            ("hunter2", false),
        ] {
            assert_eq!(has(&body, word), is_there, "{word}");
        }
    }

    #[test]
    fn what_has_no_secret_stays_byte_for_byte() {
        // Fields that are not known here, at the end, would go with a decoder.
        let mut body = of("tls.v3.UpstreamTlsContext", tls(TlsCertificate::default())).to_vec();
        body.extend([0xfa, 0xff, 0x03, 0x01, b'x']);
        let body = Bytes::from(body);
        assert_eq!(redacted(ResourceType::Cluster, body.clone()), body);
        let raw = of("raw_buffer.v3.RawBuffer", Vec::new());
        assert_eq!(redacted(ResourceType::Cluster, raw.clone()), raw);
    }

    #[test]
    fn what_can_not_be_seen_through_is_left_out() {
        let wrapped = of("tap.v3.Tap", b"hunter2".to_vec());
        let body = redacted(ResourceType::Cluster, wrapped);
        assert!(!has(&body, "hunter2") && has(&body, "Tap"));
        let odd = Bytes::from_static(b"-----BEGIN RSA PRIVATE KEY-----");
        assert_eq!(redacted(ResourceType::RouteConfiguration, odd), Bytes::new());
    }

    #[test]
    fn of_a_secret_the_name_is_left() {
        let body = redacted(ResourceType::Secret, Bytes::from_static(b"anything"));
        let secret = Secret::decode(body).unwrap();
        assert_eq!(secret, Secret { name: "c".to_owned(), ..Secret::default() });
    }

    #[test]
    fn session_tickets_of_listeners() {
        let mut context = DownstreamTlsContext::default();
        let keys =
            envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::TlsSessionTicketKeys {
                keys: in_line("ticket").into_iter().collect(),
            };
        context.session_ticket_keys_type = Some(SessionTicketKeysType::SessionTicketKeys(keys));
        assert!(downstream(&mut context));
        assert!(!has(&context.encode_to_vec(), "ticket"));
    }
}
