use super::*;
use auth::check_response::HttpResponse;
use envoy_types::pb::envoy::config::core::v3::QueryParameter;
use envoy_types::pb::envoy::service::auth::v3 as auth;
use envoy_types::pb::envoy::service::ratelimit::v3 as limit;
use envoy_types::pb::envoy::r#type::v3::HttpStatus;
use envoy_types::pb::google::protobuf::BoolValue;
use envoy_types::pb::google::rpc;
use mesh_core::filter::ask::CheckAnswer;
use prost::Message;

fn option(key: &str, value: &str, append: Option<bool>, action: i32) -> HeaderValueOption {
    let header = PbValue { key: key.into(), value: value.into(), ..PbValue::default() };
    #[expect(deprecated, reason = "authorizers write it")]
    HeaderValueOption {
        header: Some(header),
        append: append.map(|value| BoolValue { value }),
        append_action: action,
        ..HeaderValueOption::default()
    }
}

fn answer(code: Option<i32>, response: Option<HttpResponse>) -> Vec<u8> {
    let status = code.map(|code| rpc::Status { code, ..rpc::Status::default() });
    let message = auth::CheckResponse { status, http_response: response, dynamic_metadata: None };
    message.encode_to_vec()
}

fn text(answer: &CheckAnswer) -> String {
    let names = answer.headers.iter().map(|edit| match edit {
        HeaderMutation::Remove(name) => format!(" -{name}"),
        HeaderMutation::Append { name, value, action } => {
            format!(" {name}={} {action:?}", value.to_str().unwrap())
        }
    });
    let names = names.collect::<String>();
    let invalid = if answer.invalid_mutation { " invalid" } else { "" };
    let query = format!("{:?}", answer.query_parameters_to_set);
    let status = answer.status.map(|status| status.as_u16());
    let failed = if answer.failed { " failed" } else { "" };
    format!("{} {status:?}{names} {query}{invalid}{failed}", answer.allowed)
}

#[track_caller]
fn check(bytes: &[u8], expected: &str) {
    let found = match decode_check(bytes) {
        Ok(answer) => text(&answer),
        Err(why) => why.to_string(),
    };
    assert_eq!(found, expected);
}

#[test]
fn only_an_explicit_ok_is_a_yes() {
    let headers = vec![
        option("x-a", "1", None, 0),
        option("x-b", "2", Some(true), 0),
        option("x-c", "3", None, 1),
        option(":path", "/x", None, 0),
        option("x-d", "a\nb", None, 0),
    ];
    let ok = Some(HttpResponse::OkResponse(auth::OkHttpResponse {
        headers,
        headers_to_remove: vec!["x-e".into(), "not a name".into()],
        query_parameters_to_set: vec![QueryParameter { key: "k".into(), value: "v".into() }],
        ..Default::default()
    }));
    let status = Some(HttpStatus { code: 401 });
    let mut denied = auth::DeniedHttpResponse { status, ..Default::default() };
    let no = Some(HttpResponse::DeniedResponse(denied.clone()));
    denied.status = Some(HttpStatus { code: 99 });
    let wrong = Some(HttpResponse::DeniedResponse(denied));
    check(&answer(Some(0), None), "true None []");
    check(
        &answer(Some(0), ok.clone()),
        "true None x-a=1 OverwriteIfExistsOrAdd x-b=2 AppendIfExistsOrAdd x-c=3 AddIfAbsent -x-e [(\"k\", \
         \"v\")] invalid",
    );
    check(&answer(None, None), "false None []");
    check(&answer(None, ok.clone()), "false None []");
    check(&answer(Some(7), ok), "false None []");
    check(&answer(Some(7), no.clone()), "false Some(401) []");
    check(&answer(Some(0), no), "true None []");
    check(&answer(Some(7), wrong), "false None []");
    assert!(decode_check(b"garbage").is_err());
}

/// What callers are told is added, whatever else has that name; what services are told replaces.
#[test]
fn headers_for_callers_keep_all_their_values() {
    let headers = || {
        vec![
            option("set-cookie", "a", None, 0),
            option("set-cookie", "b", None, 0),
            option("x-one", "c", Some(false), 0),
            option("x-one", "d", None, 2),
        ]
    };
    let seen = "set-cookie=a AppendIfExistsOrAdd set-cookie=b AppendIfExistsOrAdd \
                x-one=c OverwriteIfExistsOrAdd x-one=d OverwriteIfExistsOrAdd";
    let denied = auth::DeniedHttpResponse { headers: headers(), ..Default::default() };
    let no = Some(HttpResponse::DeniedResponse(denied.clone()));
    check(&answer(Some(7), no), &format!("false None {seen} []"));
    let error = Some(HttpResponse::ErrorResponse(denied));
    check(&answer(Some(7), error), &format!("false None {seen} [] failed"));
    let ok = auth::OkHttpResponse { response_headers_to_add: headers(), ..Default::default() };
    let yes = decode_check(&answer(Some(0), Some(HttpResponse::OkResponse(ok)))).unwrap();
    let mut reply = CheckAnswer::default();
    reply.headers = yes.response_headers;
    assert_eq!(text(&reply), format!("false None {seen} []"));
}

#[test]
fn a_failure_is_no_denial() {
    let status = Some(HttpStatus { code: 503 });
    let headers = vec![option("retry-after", "9", Some(true), 0)];
    let body = "later".to_owned();
    let said = auth::DeniedHttpResponse { status, headers, body };
    let error = || Some(HttpResponse::ErrorResponse(said.clone()));
    check(
        &answer(Some(13), error()),
        "false Some(503) retry-after=9 AppendIfExistsOrAdd [] failed",
    );
    check(&answer(None, error()), "false Some(503) retry-after=9 AppendIfExistsOrAdd [] failed");
    check(
        &answer(Some(13), Some(HttpResponse::ErrorResponse(Default::default()))),
        "false None [] failed",
    );
    // The status comes first.
    check(&answer(Some(0), error()), "true None []");
}

#[test]
fn what_later_filters_see_may_stand_in_a_yes() {
    let of = |text: &str| Struct {
        fields: [("by".to_owned(), to_value(&MetadataValue::Text(text.into())))].into(),
    };
    let decoded = |own: Option<Struct>| {
        #[expect(deprecated, reason = "authorizers write it")]
        let ok = auth::OkHttpResponse { dynamic_metadata: own, ..Default::default() };
        let message = auth::CheckResponse {
            status: Some(rpc::Status::default()),
            http_response: Some(HttpResponse::OkResponse(ok)),
            dynamic_metadata: Some(of("answer")),
        };
        decode_check(&message.encode_to_vec()).unwrap().metadata["by"].clone()
    };
    assert_eq!(decoded(Some(of("yes"))), MetadataValue::Text("yes".into()));
    assert_eq!(decoded(None), MetadataValue::Text("answer".into()));
}

#[test]
fn a_verdict_is_one_or_the_other() {
    let message = |code, remaining| limit::RateLimitResponse {
        overall_code: code,
        statuses: vec![limit::rate_limit_response::DescriptorStatus {
            limit_remaining: remaining,
            current_limit: Some(limit::rate_limit_response::RateLimit {
                name: "n".into(),
                requests_per_unit: 10,
                unit: 2,
            }),
            ..Default::default()
        }],
        ..Default::default()
    };
    let over = decode_limit(&message(2, 0).encode_to_vec()).unwrap();
    assert!(over.over_limit);
    let under = decode_limit(&message(1, 3).encode_to_vec()).unwrap();
    assert!(!under.over_limit);
    let [status] = &*under.statuses else { panic!("{under:?}") };
    let limit = status.limit.as_ref().unwrap();
    assert_eq!((status.remaining, limit.requests, limit.unit.as_secs()), (3, 10, 60));
    assert_eq!(
        decode_limit(&message(0, 0).encode_to_vec()).unwrap_err().as_ref(),
        "0 is no verdict"
    );
    assert!(decode_limit(b"garbage").is_err());
}
