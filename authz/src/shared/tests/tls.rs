//! Whom we believe over TLS, and who we are: a real Redis that wants certificates of its clients, as it does by default.

use std::{fs, path::PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use super::{server::Redis, *};

/// An authority of our own.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        // A leaf of the same name as its authority would look as if it had signed itself.
        params.distinguished_name.push(DnType::CommonName, "an authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }
}

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        let path = std::env::temp_dir().join(format!("gatewright-store-{:016x}", fastrand::u64(..)));
        fs::create_dir(&path).unwrap();
        for (name, text) in files {
            fs::write(path.join(name), text).unwrap();
        }
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[tokio::test]
async fn only_the_server_that_the_policy_believes_is_asked() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let (certificate, key) = ours.issue("localhost");
    let folder = Folder::new(&[("tls.crt", &certificate), ("tls.key", &key), ("ca.crt", &ours.0.pem())]);
    let paths = ["tls.crt", "tls.key", "ca.crt"].map(|name| folder.path(name));
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let redis = Redis::start(&[
        "--tls-port",
        &port.to_string(),
        "--tls-cert-file",
        &paths[0],
        "--tls-key-file",
        &paths[1],
        "--tls-ca-cert-file",
        &paths[2],
    ])
    .await;
    until("TLS", async || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok()).await;
    let documents = |client: &Authority| {
        let (certificate, key) = client.issue("authz");
        let both = serde_json::json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "client", "namespace": "n"}, "stringData": {"tls.crt": certificate, "tls.key": key}});
        [secret("ours", "ca.crt", &ours.0.pem()), secret("theirs", "ca.crt", &theirs.0.pem()), both.to_string()]
            .join("\n---\n")
    };
    let bundle = |name: &str| format!("caBundleRef: {{secretKeyRef: {{name: {name}, key: ca.crt}}}}");
    let client = "clientCertificateRef: {name: client}";
    let url = |host: &str| format!("url: 'rediss://{host}:{port}', {PATIENT}");
    for (spec, known, outcome) in [
        (format!("{}, {}, {client}", url("localhost"), bundle("ours")), &ours, "ok"),
        (format!("{}, {}, {client}", url("localhost"), bundle("theirs")), &ours, "tls"),
        (format!("{}, {client}", url("localhost")), &ours, "tls"),
        (format!("{}, {}, {client}", url("127.0.0.1"), bundle("ours")), &ours, "tls"),
        (format!("{}, {}, {client}", url("localhost"), bundle("missing")), &ours, "incomplete"),
        // TLS 1.3 tells a client after its handshake that its certificate is missing, or nobody's.
        (format!("{}, {}, {client}", url("localhost"), bundle("ours")), &theirs, "connection"),
        (format!("{}, {}", url("localhost"), bundle("ours")), &ours, "connection"),
        // The port without TLS, which waits for the end of a line.
        (
            format!("url: 'rediss://localhost:{}', {PATIENT}, {}, {client}", redis.port, bundle("ours")),
            &ours,
            "timeout",
        ),
    ] {
        let store = store(&spec, &documents(known));
        let replica = Replica::new();
        let counted = replica.count(&take(&store, &[counter("alice", 3, MINUTE)])).await;
        assert_eq!(counted.is_some(), outcome == "ok", "{spec}: {}", replica.metrics());
        let word = format!("connections_total{{outcome=\"{outcome}\"}}");
        assert!(replica.metrics().contains(&word), "{spec}: {}", replica.metrics());
    }
}
