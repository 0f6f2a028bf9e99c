//! Callers by certificate: what names somebody, and that nothing but the connection can say it.

use serde_json::json;

use super::{
    confusion::{KINDS, credentials, document, secrets},
    *,
};

const MESH: &str = "clientCertificate: {spiffeTrustDomains: [cluster.local, other.test]}";
const ANY: &str = "clientCertificate: {}";
const ID: &str = "spiffe://cluster.local/ns/a/sa/b";

fn shown<'a>(certificate: &'a str, headers: &[(&'a str, &'a str)]) -> Ask<'a> {
    Ask { certificate: Some(certificate), ..get("/", headers) }
}

#[test]
fn names_that_a_certificate_can_have() {
    for (name, mesh, any) in [
        (ID, true, true),
        ("spiffe://other.test/x", true, true),
        ("spiffe://third.test/x", false, true),
        ("spiffe://cluster.local.evil.test/x", false, true),
        ("spiffe://cluster.local", false, false),
        ("spiffe://cluster.local/", false, false),
        ("spiffe://cluster.local/a/../b", false, false),
        ("spiffe://cluster.local/a//b", false, false),
        ("spiffe://cluster.local/a?b", false, false),
        ("spiffe://cluster.local/a%2Fb", false, false),
        ("spiffe://cluster.local:1/a", false, false),
        ("spiffe://a@cluster.local/a", false, false),
        ("spiffe://CLUSTER.local/a", false, false),
        ("SPIFFE://cluster.local/a", false, false),
        ("https://client.test/a", false, true),
        ("urn:client:1", false, true),
        ("client.example.com", false, true),
        ("client", false, true),
        ("CN=client,O=example", false, false),
        ("CN=cluster.local", false, false),
        ("client.example.com,spiffe://cluster.local/a", false, false),
        ("a b", false, false),
        ("..", false, false),
        ("é", false, false),
    ] {
        for (kind, good) in [(MESH, mesh), (ANY, any)] {
            let world = World::new(&document(&[("mesh", kind)], ""));
            let decision = world.ask(&shown(name, &[]));
            let expected = if good { Ok(()) } else { Err(Code::InvalidToken) };
            assert_eq!(code(&decision), expected, "{name} {kind}");
            if good {
                assert_eq!(set(&decision, "x-auth-type"), Some("client-certificate"));
                assert_eq!((set(&decision, "x-auth-subject"), set(&decision, "x-auth-issuer")), (Some(name), None));
            }
        }
    }
}

#[test]
fn only_the_connection_says_who_it_is() {
    let world = World::new(&document(
        &[("mesh", ANY), ("sso", "jwt: {issuer: 'https://sso.test', audiences: [api]}")],
        "credentials: [{header: Authorization, scheme: Bearer}, {header: X-Name}, {clientCertificate: {}}]",
    ));
    let forwarded = format!("By=spiffe://cluster.local/x;URI={ID}");
    let bearer = format!("Bearer {ID}");
    for (headers, expected) in [
        (vec![("x-forwarded-client-cert", forwarded.as_str())], Code::MissingCredential),
        (vec![("authorization", bearer.as_str())], Code::InvalidToken),
        (vec![("x-name", ID)], Code::InvalidToken),
    ] {
        assert_eq!(code(&world.ask(&get("/", &headers))), Err(expected), "{headers:?}");
        // Nor after the same text was good as a certificate.
        assert_eq!(code(&world.ask(&shown(ID, &[]))), Ok(()));
        assert_eq!(code(&world.ask(&get("/", &headers))), Err(expected), "{headers:?} after a good one");
    }
    // Nor is a token one that stands where a certificate's name should be.
    let token = world.token(json!({"sub": "alice"}));
    assert_eq!(code(&world.ask(&shown(&token, &[]))), Ok(()), "a name with dots, of nobody but itself");
    assert_eq!(set(&world.ask(&shown(&token, &[])), "x-auth-type"), Some("client-certificate"));
    let sso = World::new(&document(
        &[("sso", "jwt: {issuer: 'https://sso.test', audiences: [api]}")],
        "credentials: [{clientCertificate: {}}]",
    ));
    assert_eq!(code(&sso.ask(&shown(&sso.token(json!({"sub": "alice"})), &[]))), Err(Code::InvalidToken));
}

#[test]
fn no_text_of_any_kind_is_a_certificate_and_no_certificate_a_text() {
    let mesh = World::new(&document(
        &[("mesh", ANY)],
        "credentials: [{header: Authorization, scheme: Bearer}, {clientCertificate: {}}]",
    ));
    for (kind, text) in credentials(&mesh) {
        let bearer = format!("Bearer {text}");
        let decision = mesh.ask(&get("/", &[("authorization", &bearer)]));
        assert_eq!(code(&decision), Err(Code::InvalidToken), "a credential of kind {kind} before certificates");
    }
    for (kind, spec) in KINDS {
        // Whoever reads the place of certificates takes a name there for no text of his, and asks nobody about it.
        let text = document(&[(kind, spec)], "credentials: [{clientCertificate: {}}]") + &secrets(&[]);
        let world = World::new(&text);
        let own = credentials(&world).into_iter().find(|(own, _)| *own == kind).unwrap().1;
        for name in [ID, own.as_str()] {
            assert_eq!(code(&world.ask(&shown(name, &[]))), Err(Code::InvalidToken), "{name} before {kind}");
        }
    }
}

#[test]
fn what_is_said_about_certificates_does_not_travel() {
    let text = document(&[("mesh", MESH)], "routes: [{name: keep, paths: [/keep], forward: {credential: Keep}}]");
    let world = World::new(&text);
    let headers = [("x-forwarded-client-cert", "URI=spiffe://cluster.local/forged")];
    let decision = world.ask(&shown(ID, &headers));
    assert_eq!(set(&decision, "x-auth-subject"), Some(ID));
    assert!(removed(&decision, "x-forwarded-client-cert"));
    let kept = Ask { path: "/keep", ..shown(ID, &headers) };
    assert!(!removed(&world.ask(&kept), "x-forwarded-client-cert"));
    assert_eq!(code(&world.ask(&get("/", &[]))), Err(Code::MissingCredential));
}
