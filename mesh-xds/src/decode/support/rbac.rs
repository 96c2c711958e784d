//! RBAC filters.

super::table! {
    "RBAC (HTTP filter)" {
        Used rules: "by servers; clients pass over the filter";
        Used rules_stat_prefix: "";
        Refused matcher: "list policies in rules";
        Used shadow_rules: "gRFC A41 ignores them";
        Refused shadow_matcher: "list policies in shadow_rules";
        Used shadow_rules_stat_prefix: "";
        Used track_per_rule_stats: "";
    }
    "RBAC (network filter)" {
        Used rules: "without headers and paths";
        Refused matcher: "list policies in rules";
        Used shadow_rules: "";
        Refused shadow_matcher: "list policies in shadow_rules";
        Used shadow_rules_stat_prefix: "";
        Used stat_prefix: "";
        Ignored enforcement_type: "a connection is decided once";
        Ignored delay_deny: "";
    }
    "RBAC (rules)" {
        Used action: "LOG allows, and tells of a match; gRFC A41 ignores it";
        Used policies: "in the order of their names";
        Used audit_logging_options: "gRFC A59: stdout; another logger is refused unless it is optional";
    }
    "RBAC Policy" {
        Used permissions: "";
        Used principals: "";
        Used condition: "CEL, docs/xds.md#conditions-in-cel; gRFC A41 refuses it";
        Used checked_condition: "in place of condition; gRFC A41 refuses it";
        Used cel_config: "of a condition";
    }
    "RBAC Permission" {
        Used and_rules: "";
        Used or_rules: "";
        Used any: "";
        Used header: "not grpc- headers, nor pseudo headers but :method, :path and :authority (gRFC A41)";
        Used url_path: "without query and fragment";
        Used destination_ip: "";
        Used destination_port: "";
        Used destination_port_range: "";
        Used metadata: "what filters wrote";
        Used not_rule: "";
        Used requested_server_name: "the SNI";
        Refused matcher: "";
        Used uri_template: "UriTemplateMatchConfig";
        Used sourced_metadata: "what filters wrote, or filter_metadata of the route";
    }
    "RBAC Principal" {
        Used and_ids: "";
        Used or_ids: "";
        Used any: "";
        Used authenticated: "a URI name, else a DNS name, else the subject (gRFC A41)";
        Used source_ip: "";
        Used direct_remote_ip: "";
        Used remote_ip: "";
        Used header: "as in a permission";
        Used url_path: "";
        Used metadata: "as in a permission";
        Used filter_state: "never there: no filter here writes it; not invert_match of an address";
        Used not_id: "";
        Used sourced_metadata: "as in a permission";
        Used custom: "mtls_authenticated";
    }
}
