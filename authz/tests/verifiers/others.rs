//! Two verifiers that share no line with ours: the crate `jsonwebtoken`, and joserfc, which is Python on OpenSSL.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use crds::algorithm::KeyAlgorithm;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header, jwk::JwkSet};
use serde_json::{Value, json};

use crate::testkit::ISSUER;

/// The crate, with the key that is made for the token's algorithm, or, where keys have names, the one of the token's `kid`.
pub(crate) fn jsonwebtoken(text: &str, keys: &JwkSet, named: bool) -> bool {
    let Ok(header) = decode_header(text) else { return false };
    let (name, family) = match header.alg {
        Algorithm::RS256
        | Algorithm::RS384
        | Algorithm::RS512
        | Algorithm::PS256
        | Algorithm::PS384
        | Algorithm::PS512 => ("rsa", RSA),
        Algorithm::ES256 => ("p256", &[Algorithm::ES256][..]),
        Algorithm::ES384 => ("p384", &[Algorithm::ES384][..]),
        Algorithm::EdDSA => ("ed25519", &[Algorithm::EdDSA][..]),
        Algorithm::HS256 => ("HS256", &[Algorithm::HS256][..]),
        Algorithm::HS384 => ("HS384", &[Algorithm::HS384][..]),
        Algorithm::HS512 => ("HS512", &[Algorithm::HS512][..]),
        _ => return false,
    };
    let name = header.kid.as_deref().filter(|_| named).unwrap_or(name);
    let Some(key) = keys.find(name).and_then(|key| DecodingKey::from_jwk(key).ok()) else { return false };
    let mut rules = Validation::new(header.alg);
    rules.algorithms = family.to_vec();
    rules.leeway = 0;
    rules.validate_nbf = true;
    rules.set_audience(&["api"]);
    rules.set_issuer(&[ISSUER]);
    rules.set_required_spec_claims(&["exp", "iss", "aud"]);
    decode::<Value>(text, &key, &rules).is_ok()
}

const RSA: &[Algorithm] =
    &[Algorithm::RS256, Algorithm::RS384, Algorithm::RS512, Algorithm::PS256, Algorithm::PS384, Algorithm::PS512];

/// The Python process.
pub(crate) struct Joserfc {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

// === impl Joserfc ===

impl Joserfc {
    /// Starts it; what it needs is installed into the cache on first use. `named`: the token's `kid` chooses its key.
    pub(crate) fn start(keys: &Value, algorithms: &[KeyAlgorithm], named: bool, now: i64) -> Self {
        let installer = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/tools/install");
        let installed = Command::new(installer).arg("joserfc").stderr(Stdio::inherit()).output().unwrap();
        assert!(installed.status.success(), "`tests/tools/install joserfc` failed; its reason is above");
        let packages = String::from_utf8(installed.stdout).unwrap();
        let mut child = Command::new("python3")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/verifiers/joserfc_peer.py"))
            .env("PYTHONPATH", packages.trim())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let algorithms: Vec<_> = algorithms.iter().map(|one| one.as_str()).collect();
        let rules = json!({"keys": {"keys": keys}, "algorithms": algorithms, "named": named, "iss": ISSUER, "aud": "api", "now": now});
        writeln!(input, "{rules}").unwrap();
        Self { child, input, output }
    }

    /// `good`, or why not.
    pub(crate) fn judge(&mut self, text: &str) -> String {
        writeln!(self.input, "{}", json!(text)).unwrap();
        let mut answer = String::new();
        assert_ne!(self.output.read_line(&mut answer).unwrap(), 0, "joserfc has ended; its reason is above");
        answer.trim_end().to_owned()
    }
}

impl Drop for Joserfc {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
