//! The table of fields and what a server reads agree.

use super::*;
use crate::decode::support::agreement::{Setter, check_effects, check_fields};
use crate::decode::support::server::ROWS;
use crate::decode::support::{Row, Support};
use tls::downstream_tls_context::SessionTicketKeysType;

#[test]
fn every_field_is_in_the_table() {
    check_fields(ROWS, "FilterChain", &pb::FilterChain::default(), &[]);
    check_fields(ROWS, "FilterChainMatch", &pb::FilterChainMatch::default(), &[]);
    let keys: &[(&str, &[&str])] = &[(
        "session_ticket_keys_type",
        &[
            "session_ticket_keys",
            "session_ticket_keys_sds_secret_config",
            "disable_stateless_session_resumption",
        ],
    )];
    check_fields(ROWS, "DownstreamTlsContext", &tls::DownstreamTlsContext::default(), keys);
    let kinds: &[(&str, &[&str])] = &[(
        "validation_context_type",
        &[
            "validation_context",
            "validation_context_sds_secret_config",
            "combined_validation_context",
            "validation_context_certificate_provider",
            "validation_context_certificate_provider_instance",
        ],
    )];
    check_fields(ROWS, "CommonTlsContext", &tls::CommonTlsContext::default(), kinds);
}

#[expect(deprecated, reason = "control planes still set the older fields")]
const SETTERS: &[Setter<pb::Listener>] = &[
    ("FilterChain", "use_proxy_proto", |l| {
        l.filter_chains[0].use_proxy_proto = testing::yes();
    }),
    ("FilterChainMatch", "address_suffix", |l| matching(l).address_suffix = "10.0.0.1".into()),
    ("FilterChainMatch", "suffix_len", |l| matching(l).suffix_len = testing::n(8)),
    ("DownstreamTlsContext", "require_sni", |l| secure(l, |c| c.require_sni = testing::yes())),
    ("DownstreamTlsContext", "disable_stateful_session_resumption", |l| {
        secure(l, |c| c.disable_stateful_session_resumption = true);
    }),
    ("DownstreamTlsContext", "session_timeout", |l| {
        secure(l, |c| c.session_timeout = Some(Default::default()));
    }),
    ("DownstreamTlsContext", "ocsp_staple_policy", |l| secure(l, |c| c.ocsp_staple_policy = 1)),
    ("DownstreamTlsContext", "full_scan_certs_on_sni_mismatch", |l| {
        secure(l, |c| c.full_scan_certs_on_sni_mismatch = testing::yes());
    }),
    ("DownstreamTlsContext", "prefer_client_ciphers", |l| {
        secure(l, |c| c.prefer_client_ciphers = true);
    }),
    ("DownstreamTlsContext", "session_ticket_keys", |l| {
        let keys = SessionTicketKeysType::SessionTicketKeys(Default::default());
        secure(l, |c| c.session_ticket_keys_type = Some(keys));
    }),
    ("DownstreamTlsContext", "session_ticket_keys_sds_secret_config", |l| {
        let keys = SessionTicketKeysType::SessionTicketKeysSdsSecretConfig(Default::default());
        secure(l, |c| c.session_ticket_keys_type = Some(keys));
    }),
    ("DownstreamTlsContext", "disable_stateless_session_resumption", |l| {
        let keys = SessionTicketKeysType::DisableStatelessSessionResumption(true);
        secure(l, |c| c.session_ticket_keys_type = Some(keys));
    }),
    ("CommonTlsContext", "tls_params", |l| {
        secure(l, |c| common(c).tls_params = Some(Default::default()));
    }),
    ("CommonTlsContext", "custom_tls_certificate_selector", |l| {
        secure(l, |c| common(c).custom_tls_certificate_selector = Some(Default::default()));
    }),
    ("CommonTlsContext", "tls_certificate_certificate_provider", |l| {
        secure(l, |c| {
            common(c).tls_certificate_provider_instance = None;
            common(c).tls_certificate_certificate_provider = Some(Default::default());
        });
    }),
    ("CommonTlsContext", "custom_handshaker", |l| {
        secure(l, |c| common(c).custom_handshaker = Some(Default::default()));
    }),
    ("CommonTlsContext", "key_log", |l| {
        secure(l, |c| common(c).key_log = Some(Default::default()));
    }),
    ("CommonTlsContext", "validation_context_certificate_provider", |l| {
        use tls::common_tls_context::ValidationContextType as Kind;
        let kind = Kind::ValidationContextCertificateProvider(Default::default());
        secure(l, |c| common(c).validation_context_type = Some(kind));
    }),
];

#[test]
fn what_the_table_says_is_what_the_decoder_does() {
    let decode =
        |l: &pb::Listener| decode(ResourceType::Listener, &l.encode_to_vec(), &testing::context());
    // Those of the manager are held to it beside the ones of clients, which have the same setters.
    let of_manager = |row: &&Row| row.message == "HttpConnectionManager (server)";
    let rows: Vec<Row> = ROWS.iter().filter(|row| !of_manager(row)).copied().collect();
    assert!(rows.iter().any(|row| row.support == Support::Refused));
    check_effects(&rows, SETTERS, base, decode);
}
