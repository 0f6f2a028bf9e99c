//! A question about a credential by gRPC: `envoy.service.auth.v3.Authorization/Check`, so that any ext_authz server can be asked.
//!
//! Owns the protocol's shapes and what they mean here; connections, addresses and certificates are those of every other question. An
//! answer whose status is not set is no answer: the protocol's defaults would be a yes.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use crds::{secret::Secret, snapshot::Endpoint};
use envoy_types::pb::{
    envoy::service::auth::v3::{
        AttributeContext, CheckRequest, CheckResponse,
        attribute_context::{HttpRequest, Request},
        authorization_client::AuthorizationClient,
        check_response::HttpResponse,
    },
    google::protobuf::{Struct, Value as ProtoValue, value::Kind},
};
use futures_util::future::BoxFuture;
use http::Method;
use serde_json::{Map, Number, Value};
use tonic::{
    Code, Status,
    codegen::{Body as _, Bytes},
};
use tower::Service;
use url::Url;

use crate::{
    net::{Client, ResponseError},
    remote::{
        Reply, introspection,
        transport::{CallError, MAX_ANSWER_BYTES, Transport},
    },
    trace,
};

/// How deep an answer may nest.
const MAX_DEPTH: usize = 32;
/// The most bytes of a question; a credential has at most 48 KiB.
const MAX_QUESTION_BYTES: usize = 1 << 20;

/// Our client under the library's protocol.
struct Over {
    client: Arc<Client>,
    url: Url,
}

/// Asks once, within the endpoint's time; a connection that could not be made is tried once more.
pub(super) async fn ask(transport: &Transport, endpoint: &Endpoint, question: &Secret) -> Result<Reply, CallError> {
    let client = transport.client(&endpoint.tls, true)?;
    let request = request(question).ok_or(CallError::Incomplete)?;
    let asked = async {
        match check(&client, endpoint, request.clone()).await {
            Err(CallError::Response(ResponseError::Refused | ResponseError::Connect)) => {
                check(&client, endpoint, request).await
            }
            other => other,
        }
    };
    let answer = tokio::time::timeout(endpoint.timeout, asked).await;
    read(answer.unwrap_or(Err(ResponseError::Timeout.into()))?)
}

async fn check(client: &Arc<Client>, endpoint: &Endpoint, request: CheckRequest) -> Result<CheckResponse, CallError> {
    let over = Over { client: client.clone(), url: endpoint.url.clone() };
    let mut client = AuthorizationClient::new(over).max_decoding_message_size(MAX_ANSWER_BYTES);
    client.check(request).await.map(tonic::Response::into_inner).map_err(|status| failure(&status))
}

/// What kept us from an answer, if our client says so; else the protocol does.
fn failure(status: &Status) -> CallError {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if let Some(own) = error.downcast_ref::<ResponseError>() {
            return own.clone().into();
        }
        cause = error.source();
    }
    match status.code() {
        Code::DeadlineExceeded | Code::Cancelled => ResponseError::Timeout.into(),
        Code::OutOfRange => ResponseError::TooLarge(MAX_ANSWER_BYTES).into(),
        Code::Internal | Code::Unimplemented => CallError::NotJson,
        _ => CallError::Status,
    }
}

/// The same members as in JSON: the credential, who asks, and the forwarded headers.
fn request(question: &Secret) -> Option<CheckRequest> {
    let question: Value = serde_json::from_slice(question.expose()).ok()?;
    let texts = |members: &Map<String, Value>| -> HashMap<String, String> {
        members.iter().filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
    };
    let headers = question.get("headers").and_then(Value::as_object).map(texts).unwrap_or_default();
    Some(CheckRequest {
        attributes: Some(AttributeContext {
            request: Some(Request {
                http: Some(HttpRequest { headers, ..HttpRequest::default() }),
                ..Request::default()
            }),
            // Policy, authenticator and credential: everything that is text.
            context_extensions: texts(question.as_object()?),
            ..AttributeContext::default()
        }),
    })
}

/// A yes says so twice: by a status that is set to 0, and by an answer that does not deny.
fn read(answer: CheckResponse) -> Result<Reply, CallError> {
    let status = answer.status.ok_or(CallError::Shape)?;
    match (Code::from_i32(status.code), &answer.http_response) {
        (Code::Ok, None | Some(HttpResponse::OkResponse(_))) => {
            let claims = object(answer.dynamic_metadata.unwrap_or_default(), MAX_DEPTH).ok_or(CallError::Shape)?;
            Ok(introspection::good(claims))
        }
        (Code::Unauthenticated | Code::PermissionDenied, None | Some(HttpResponse::DeniedResponse(_))) => {
            Ok(Reply::Refused("the service says that the credential is not good"))
        }
        (Code::Ok | Code::Unauthenticated | Code::PermissionDenied, Some(_)) => Err(CallError::Shape),
        _ => Err(CallError::Status),
    }
}

fn object(from: Struct, depth: usize) -> Option<Map<String, Value>> {
    let depth = depth.checked_sub(1)?;
    from.fields.into_iter().map(|(name, value)| Some((name, json(value, depth)?))).collect()
}

fn json(from: ProtoValue, depth: usize) -> Option<Value> {
    Some(match from.kind? {
        Kind::NullValue(_) => Value::Null,
        Kind::BoolValue(value) => Value::Bool(value),
        Kind::StringValue(text) => Value::String(text),
        // Numbers are doubles in this protocol; whole ones become whole again.
        Kind::NumberValue(number) => whole(number).map_or_else(|| Number::from_f64(number).map(Value::Number), Some)?,
        Kind::ListValue(list) => {
            let depth = depth.checked_sub(1)?;
            Value::Array(list.values.into_iter().map(|one| json(one, depth)).collect::<Option<_>>()?)
        }
        Kind::StructValue(inner) => Value::Object(object(inner, depth)?),
    })
}

fn whole(number: f64) -> Option<Value> {
    /// Up to here a double holds every whole number.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    #[expect(clippy::cast_possible_truncation, reason = "whole and within 2^53")]
    let integer = (number.fract() == 0.0 && number.abs() <= EXACT).then_some(number as i64);
    integer.map(Value::from)
}

// === impl Over ===

impl Service<http::Request<tonic::body::Body>> for Over {
    type Response = http::Response<reqwest::Body>;
    type Error = ResponseError;
    type Future = BoxFuture<'static, Result<Self::Response, ResponseError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ResponseError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        let (client, mut url) = (self.client.clone(), self.url.clone());
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            url.set_path(parts.uri.path());
            let body = collect(body).await?;
            let request = client.request(Method::POST, &url).await?.headers(parts.headers).body(body);
            let response = trace::hand_on(request).send().await.map_err(|error| ResponseError::of(&error))?;
            Ok(response.into())
        })
    }
}

/// The whole question: one message, which the protocol library made of ours.
async fn collect(mut body: tonic::body::Body) -> Result<Bytes, ResponseError> {
    let mut all = Vec::new();
    while let Some(frame) = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let data = frame.map_err(|_| ResponseError::Broken)?.into_data().unwrap_or_default();
        if all.len() + data.len() > MAX_QUESTION_BYTES {
            return Err(ResponseError::TooLarge(MAX_QUESTION_BYTES));
        }
        all.extend_from_slice(&data);
    }
    Ok(all.into())
}
