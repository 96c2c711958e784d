//! Secrets: `Secret` and the messages within it.

use super::table;

table! {
    "Secret" {
        Used name: "";
        Used tls_certificate: "by clusters and listeners that name it";
        Used validation_context: "by clusters and listeners that name it";
        Refused session_ticket_keys: "";
        Refused generic_secret: "";
    }
    "TlsCertificate" {
        Used certificate_chain: "PEM";
        Used private_key: "PEM, not encrypted; that of the first certificate";
        Refused pkcs12: "use certificate_chain and private_key";
        Ignored watched_directory: "";
        Refused private_key_provider: "use private_key";
        Refused password: "";
        Ignored ocsp_staple: "";
        Ignored signed_certificate_timestamp: "";
        Refused tls_params: "gRFC A29";
    }
    "CertificateValidationContext (SDS)" {
        Used trusted_ca: "PEM, with lists as crl beside the roots (Envoy); without it the default's roots count";
        Refused ca_certificate_provider_instance: "use trusted_ca";
        Used system_root_certs: "where trusted_ca is not set";
        Ignored watched_directory: "";
        Refused verify_certificate_spki: "gRFC A29";
        Refused verify_certificate_hash: "gRFC A29";
        Used match_typed_subject_alt_names: "";
        Used match_subject_alt_names: "";
        Refused require_signed_certificate_timestamp: "gRFC A29";
        Used crl: "PEM; each issuer in a chain needs a list (Envoy)";
        Refused allow_expired_certificate: "";
        Refused trust_chain_verification: "other than VERIFY_TRUST_CHAIN";
        Used custom_validator_config: "SPIFFECertValidatorConfig without workload_trust_domain";
        Refused only_verify_leaf_cert_crl: "";
        Refused max_verify_depth: "";
        Ignored suppress_client_ca_list: "it is for servers";
    }
    "DataSource (SDS)" {
        Used filename: "it is named, and not read yet";
        Used inline_bytes: "";
        Used inline_string: "";
        Refused environment_variable: "";
        Ignored watched_directory: "";
    }
}
