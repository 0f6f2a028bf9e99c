//! Who is believed.

use std::sync::{Arc, atomic::Ordering};

use authz::tls::{PeerId, certificates, identify};
use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};
use tonic::Code;

use crate::{
    raw::{Pair, Raw, dial, hello, sign, sign_for},
    world::{Api, OPEN, Operator, Start, policy, until},
};

const OWN: &str = "gatewright-operator gatewright gatewright-authz authz-0";

async fn refused(operator: &Operator, pair: Option<&Pair>) -> Code {
    Raw::open(operator, pair).await.err().expect("it is refused").code()
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_for_others_prove_nothing() {
    let api = Arc::new(Api::default());
    let operator = Operator::start(&api, 1).await;
    for token in ["https://kubernetes.default.svc gatewright gatewright-authz authz-0", "nonsense", ""] {
        let status = sign(&operator, token, CertificateParams::default()).await.err().unwrap();
        assert_eq!(status.code(), Code::Unauthenticated, "{token}");
    }
    let mut start = Start::own("authz-0");
    start.token = "https://kubernetes.default.svc gatewright gatewright-authz authz-0".to_owned();
    let plane = start.run(&operator);
    operator.publish(&[policy("a", "p", "x.test", OPEN)]);
    until("it tried more than once", || plane.metric("gatewright_channel_failures_total") > 2).await;
    assert!(plane.credentials.borrow().is_none());
    assert!(!*plane.in_force.borrow());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_replaced_in_its_file_is_the_one_that_is_shown() {
    let api = Arc::new(Api::default());
    let operator = Operator::start(&api, 1).await;
    operator.publish(&[policy("a", "p", "x.test", OPEN)]);
    let mut start = Start::own("authz-0");
    let good = std::mem::replace(&mut start.token, "expired".to_owned());
    let plane = start.run(&operator);
    until("it was refused twice", || plane.metric("gatewright_channel_failures_total") > 1).await;
    assert!(plane.credentials.borrow().is_none());
    std::fs::write(start.folder.path().join("token"), good).unwrap();
    plane.holds(&["a/p"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_is_away_is_no_refusal() {
    let api = Arc::new(Api::default());
    let operator = Operator::start(&api, 1).await;
    api.away.store(true, Ordering::Relaxed);
    let status = sign(&operator, OWN, CertificateParams::default()).await.err().unwrap();
    assert_eq!(status.code(), Code::Unavailable);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_ours_and_keys_are_of_one_kind() {
    let api = Arc::new(Api::default());
    let operator = Operator::start(&api, 1).await;
    let mut greedy = CertificateParams::new(vec!["kubernetes.default.svc".to_owned()]).unwrap();
    greedy.distinguished_name.push(DnType::CommonName, "system:masters");
    let uri = "spiffe://gatewright/gateway/everybody".try_into().unwrap();
    greedy.subject_alt_names.push(rcgen::SanType::URI(uri));
    let pair = sign(&operator, "gatewright-operator a shop shop-0", greedy).await.unwrap();
    let certificate = certificates("the certificate", &pair.certificate).unwrap().remove(0);
    let identified = identify(&certificate).unwrap();
    let expected = PeerId::Workload { namespace: "a".to_owned(), account: "shop".to_owned(), pod: "shop-0".to_owned() };
    assert_eq!(identified.id, expected);
    for foreign in ["kubernetes", "masters", "everybody"] {
        assert!(!certificate.windows(foreign.len()).any(|bytes| bytes == foreign.as_bytes()), "{foreign}");
    }
    for algorithm in [&PKCS_ECDSA_P384_SHA384, &PKCS_ED25519] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let status = sign_for(&operator, OWN, CertificateParams::default(), &key).await.err().unwrap();
        assert_eq!(status.code(), Code::InvalidArgument);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_pod_does_not_get_certificates_without_end() {
    let api = Arc::new(Api::default());
    let operator = Operator::start(&api, 1).await;
    for _ in 0..10 {
        sign(&operator, OWN, CertificateParams::default()).await.unwrap();
    }
    let status = sign(&operator, OWN, CertificateParams::default()).await.err().unwrap();
    assert_eq!(status.code(), Code::ResourceExhausted);
    sign(&operator, "gatewright-operator a shop shop-0", CertificateParams::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn configuration_is_for_workloads_with_a_certificate_of_ours() {
    let api = Arc::new(Api::default());
    let operator = Operator::start(&api, 1).await;
    operator.publish(&[policy("a", "p", "x.test", OPEN)]);
    assert_eq!(refused(&operator, None).await, Code::Unauthenticated);
    let proxy = operator.identity.client_certificate("edge").unwrap();
    let proxy = Pair { certificate: proxy.certificate, key: proxy.key };
    assert_eq!(refused(&operator, Some(&proxy)).await, Code::PermissionDenied);

    // Another installation, with a CA of its own.
    let elsewhere = Operator::start(&Arc::new(Api::default()), 1).await;
    let foreign = sign(&elsewhere, OWN, CertificateParams::default()).await.unwrap();
    Raw::open(&elsewhere, Some(&foreign)).await.unwrap();
    let stream = dial(&operator, Some(&foreign)).await;
    let refused = match stream {
        // TLS 1.3 tells the client after its own handshake ended.
        Ok(_) => Raw::open(&operator, Some(&foreign)).await.is_err(),
        Err(_) => true,
    };
    assert!(refused);
    assert_eq!(operator.push.standings().replicas, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_of_another_ca_is_not_believed() {
    let api = Arc::new(Api::default());
    let (operator, elsewhere) = (Operator::start(&api, 1).await, Operator::start(&Arc::new(Api::default()), 9).await);
    elsewhere.publish(&[policy("a", "forged", "x.test", OPEN)]);
    let plane = Start::own("authz-0").towards(elsewhere.address, &operator.identity.ca_bundle().borrow().clone());
    until("it tried more than once", || plane.metric("gatewright_channel_failures_total") > 2).await;
    assert!(!*plane.in_force.borrow());
    assert!(plane.credentials.borrow().is_none());
}

/// Any pod may have a certificate: what it says is bounded by what a pod can hold.
#[tokio::test(flavor = "multi_thread")]
async fn only_our_own_data_planes_may_say_very_much() {
    let api = Arc::new(Api::default());
    let operator = Operator::start(&api, 1).await;
    operator.publish(&[policy("a", "p", "p.test", OPEN)]);
    let held = (0..40_000).map(|one| (format!("policy/a/p{one}"), "0".repeat(32))).collect();
    let hello = DeltaDiscoveryRequest { initial_resource_versions: held, ..hello() };
    for (token, heard) in
        [("gatewright-operator a shop shop-0", false), ("gatewright-operator gatewright gatewright-authz own", true)]
    {
        let pair = sign(&operator, token, CertificateParams::default()).await.unwrap();
        let raw = Raw::open_with(&operator, Some(&pair), hello.clone()).await;
        let answered = match raw {
            Ok(mut raw) => raw.responses.message().await.is_ok_and(|message| message.is_some()),
            Err(_) => false,
        };
        assert_eq!(answered, heard, "{token}");
    }
}
