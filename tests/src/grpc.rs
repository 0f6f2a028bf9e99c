//! The product's gRPC port without Envoy: checks that Envoy would never send, and bytes that are none.

use std::collections::HashMap;

use envoy_types::pb::envoy::service::auth::v3::{
    AttributeContext, CheckRequest, CheckResponse,
    attribute_context::{HttpRequest, Request},
    authorization_client::AuthorizationClient,
};
use tonic::{Status, transport::Endpoint};

use crate::PeerError;

/// A check as Envoy sends it for a `GET /` of that host.
pub fn check(host: &str, headers: &[(&str, &str)]) -> CheckRequest {
    let headers: HashMap<String, String> = headers.iter().map(|&(n, v)| (n.to_owned(), v.to_owned())).collect();
    of(HttpRequest {
        id: "1".into(),
        method: "GET".into(),
        headers,
        path: "/".into(),
        host: host.to_owned(),
        scheme: "http".into(),
        protocol: "HTTP/1.1".into(),
        size: -1,
        ..HttpRequest::default()
    })
}

/// A check of this request.
pub fn of(http: HttpRequest) -> CheckRequest {
    let request = Request { http: Some(http), ..Request::default() };
    CheckRequest { attributes: Some(AttributeContext { request: Some(request), ..AttributeContext::default() }) }
}

/// Whether Envoy would let the request through: by the status alone, and a missing one is OK too.
pub fn allows(response: &CheckResponse) -> bool {
    response.status.as_ref().is_none_or(|status| status.code == 0)
}

/// Sends one check to `host:port` or `unix:PATH`.
pub async fn send(authz: &str, request: CheckRequest) -> Result<Result<CheckResponse, Status>, PeerError> {
    let address = if authz.starts_with("unix:") { authz.to_owned() } else { format!("http://{authz}") };
    let unreadable = |error: tonic::transport::Error| PeerError::unreadable(format!("gRPC to {authz}"), &error);
    let channel = Endpoint::from_shared(address).map_err(unreadable)?.connect().await.map_err(unreadable)?;
    Ok(AuthorizationClient::new(channel).check(request).await.map(tonic::Response::into_inner))
}

/// Sends checks one after the other over one connection to `host:port`: the answers.
pub async fn send_all(authz: &str, requests: Vec<CheckRequest>) -> Result<Vec<CheckResponse>, PeerError> {
    let unreadable = |error: tonic::transport::Error| PeerError::unreadable(format!("gRPC to {authz}"), &error);
    let endpoint = Endpoint::from_shared(format!("http://{authz}")).map_err(unreadable)?;
    let mut client = AuthorizationClient::new(endpoint.connect().await.map_err(unreadable)?);
    let mut answers = Vec::with_capacity(requests.len());
    for request in requests {
        let answer = client.check(request).await;
        answers.push(answer.map_err(|status| PeerError::unreadable("a check", &status))?.into_inner());
    }
    Ok(answers)
}

/// Posts `message` in a gRPC frame to the method `Check` over HTTP/2: status, headers and body of what came back.
/// The bytes need not be a message at all. An error of the connection is an answer too.
pub async fn send_bytes(authz: &str, message: Vec<u8>) -> Result<crate::Answer, reqwest::Error> {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let frame = [vec![0], length.to_be_bytes().to_vec(), message].concat();
    let client = reqwest::Client::builder().no_proxy().http2_prior_knowledge().timeout(crate::wait::LONG).build()?;
    let request = client.post(format!("http://{authz}/envoy.service.auth.v3.Authorization/Check"));
    let request = request.header("content-type", "application/grpc").header("te", "trailers");
    let answer = request.body(frame).send().await?;
    let headers = answer.headers().iter();
    Ok(crate::Answer {
        status: answer.status().as_u16(),
        headers: headers.map(|(n, v)| (n.to_string(), String::from_utf8_lossy(v.as_bytes()).into_owned())).collect(),
        body: answer.text().await?,
    })
}
