//! A discovery document: `ISSUER\nDOCUMENT`. The place it names is of this issuer, on the web, and where it was before.
#![no_main]

use std::sync::LazyLock;

use authz::{jwks::fuzzing, net::Networks};
use crds::origin::Origin;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

static NETWORKS: LazyLock<Networks> = LazyLock::new(|| Networks::new(Vec::new()));

fuzz_target!(|data: &[u8]| {
    let Some(end) = data.iter().position(|byte| *byte == b'\n') else { return };
    let Ok(issuer) = str::from_utf8(&data[..end]) else { return };
    let _ = fuzzing::may_be_json(issuer);
    if let Some(url) = fuzzing::discovery_url(issuer) {
        assert!(matches!(url.scheme(), "https" | "http") && url.query().is_none() && url.fragment().is_none());
        assert!(url.path().ends_with("/.well-known/openid-configuration"));
    }
    let document = &data[end + 1..];
    let Ok(location) = fuzzing::location(document, issuer, None, &NETWORKS) else { return };
    // Half a surrogate in a member that is passed over spoils nothing.
    let Ok(read) = serde_json::from_slice::<Value>(document) else { return };
    let members = read.as_object().expect("a document is an object");
    assert_eq!(members["issuer"], issuer, "of another issuer");
    assert!(members["jwks_uri"].is_string());
    assert_eq!(location.scheme(), "https", "plain http, and no network is allowed");
    assert!(location.username().is_empty() && location.password().is_none());
    let origin = Origin::of_url(&location).expect("a place on the web has an origin");
    let pinned = |text: &str| fuzzing::location(document, issuer, Some(Origin::parse(text).unwrap()), &NETWORKS);
    assert!(pinned(&origin.to_string()).is_ok(), "its own origin is another one");
    assert_eq!(pinned("https://pinned.test").is_ok(), origin.to_string() == "https://pinned.test", "it moved");
});
