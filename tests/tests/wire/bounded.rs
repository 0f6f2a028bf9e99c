//! What a client can make up without end: none of it becomes a metric, and none of it stays in memory without bound.

use std::collections::BTreeSet;

use envoy_types::pb::envoy::service::auth::v3::attribute_context::HttpRequest;
use serde_json::json;
use tests::{Bench, bench::policy, grpc};

use crate::Outcome;

/// The names and labels of everything that is counted.
async fn series(bench: &Bench) -> BTreeSet<String> {
    let (status, text) = bench.product.admin("/metrics").await;
    assert_eq!(status, 200, "{text}");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned())).collect()
}

#[tokio::test]
async fn ten_thousand_names_of_everything_make_no_new_series() -> Outcome {
    let bench = Bench::with(|issuer| {
        let limits = "  limits: {requests: {rate: 100000, window: 1h, by: Principal}, failedAuthentications: {rate: 100000, window: 1h}, trustedProxyHops: 1}\n";
        let keys = "  - {name: keys, apiKey: {sha256: {secretRef: {name: keys}}}}\n";
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys", "namespace": "demo"}, "stringData": {}});
        let text = policy("api", "api.example.com", &issuer.url(), "api") + keys + limits;
        vec![("api.yaml".to_owned(), text), ("keys.yaml".to_owned(), secret.to_string())]
    })
    .await?;
    // One of each first: what was never counted may not be shown.
    let token = bench.alice()?;
    let request = |number: u32, credential: &str| {
        let host =
            if number.is_multiple_of(4) { format!("h{number}.example.net") } else { "api.example.com".to_owned() };
        let headers = [
            ("authorization".to_owned(), format!("Bearer {credential}")),
            ("x-forwarded-for".to_owned(), format!("10.{}.{}.{}", number >> 16 & 255, number >> 8 & 255, number & 255)),
            ("user-agent".to_owned(), format!("agent-{number}")),
        ];
        grpc::of(HttpRequest {
            id: format!("{number}"),
            method: if number.is_multiple_of(7) { format!("M{number}") } else { "GET".to_owned() },
            path: format!("/p{number}?q={number}"),
            host,
            scheme: "https".to_owned(),
            headers: headers.into(),
            ..HttpRequest::default()
        })
    };
    let credential = |number: u32| match number % 5 {
        0 => token.clone(),
        1 => format!("unknown-key-{number}"),
        2 => format!("cqa.v1.{number:032x}.{}", "a".repeat(52)),
        3 => format!("e30.e30.{number}"),
        _ => format!("{token}:{number:06}"),
    };
    let run =
        |numbers: std::ops::Range<u32>| numbers.map(|number| request(number, &credential(number))).collect::<Vec<_>>();
    let first = grpc::send_all(&bench.product.addresses.authz, run(0..200)).await?;
    assert!(first.iter().any(grpc::allows) && !first.iter().all(grpc::allows));
    let before = series(&bench).await;
    let answers = grpc::send_all(&bench.product.addresses.authz, run(200..10_200)).await?;
    assert_eq!(answers.len(), 10_000);
    let new: Vec<String> = series(&bench).await.difference(&before).cloned().collect();
    assert_eq!(new, Vec::<String>::new());
    let (_, dump) = bench.product.admin("/config_dump").await;
    for name in ["h10000.example.net", "agent-10000", "unknown-key-10001", "p10000"] {
        assert!(!dump.contains(name), "{name} is in the live state");
    }
    Ok(())
}
