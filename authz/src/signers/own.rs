//! The keys of this process: made when a policy first needs one, turned every month, published for as long as anything they signed is
//! good.
//!
//! ```text
//!  made ──ANNOUNCE──► signs ──ROTATE──► the next one is made ──ANNOUNCE──► the next one signs ──KEEP──► gone
//!   └───────────────────────────── published ─────────────────────────────────────────────────┘
//! ```
//!
//! A key is published before it signs, so that an upstream with cached keys knows it; only the very first one signs at once.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use crds::v1alpha1::SigningAlgorithm;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tracing::{info, warn};

use super::{
    Signer, SignerStore, disk,
    generate::{Pair, name},
};

/// Seconds until a key is followed by the next.
const ROTATE: i64 = 30 * 24 * 3600;
/// Seconds between the publication of a key and its first use.
const ANNOUNCE: i64 = 3600;
/// Seconds that a key stays published after its last use: the longest life of a token of ours, and as much again for clocks.
const KEEP: i64 = 2 * 3600;

/// Keys of our own. Cheap to read, rarely changed.
#[derive(Debug)]
pub struct OwnKeys {
    rings: ArcSwap<BTreeMap<&'static str, Ring>>,
    /// Held while a ring changes, so that no key is made twice.
    changing: Mutex<()>,
    folder: Option<PathBuf>,
    issuer: Arc<str>,
}

/// The pairs of one algorithm, oldest first.
#[derive(Debug, Clone)]
struct Ring {
    algorithm: SigningAlgorithm,
    pairs: Vec<Pair>,
}

// === impl OwnKeys ===

impl OwnKeys {
    /// The keys below `data_dir/signing`; without a folder they live as long as the process. `issuer` is the URL of the listener that
    /// publishes them. What was saved and cannot be read is left alone and followed by new keys, in memory only: overwriting it could
    /// destroy the key that upstreams know.
    pub fn open(data_dir: Option<&std::path::Path>, issuer: &str) -> Arc<Self> {
        let mut folder = data_dir.map(|folder| folder.join("signing"));
        let mut rings = BTreeMap::new();
        for algorithm in [SigningAlgorithm::RS256, SigningAlgorithm::ES256, SigningAlgorithm::EdDSA] {
            match folder.as_deref().map_or(Ok(Vec::new()), |folder| disk::load(folder, algorithm)) {
                Ok(pairs) if pairs.is_empty() => {}
                Ok(pairs) => drop(rings.insert(name(algorithm), Ring { algorithm, pairs })),
                Err(error) => {
                    let path = folder.take().unwrap_or_default();
                    warn!(algorithm = name(algorithm), path = %path.display(), %error, "saved signing keys cannot be used; new ones are made and not saved. Repair or remove the folder and start again");
                }
            }
        }
        let issuer = issuer.trim_end_matches('/').into();
        Arc::new(Self { rings: ArcSwap::from_pointee(rings), changing: Mutex::new(()), folder, issuer })
    }

    /// Makes the first key of an algorithm, if there is none. Blocks for a moment.
    pub fn make(&self, algorithm: SigningAlgorithm) {
        self.turn_at(algorithm, now());
    }

    /// Adds and drops what is due in every ring. To be called every few minutes.
    pub fn turn(&self) {
        let algorithms: Vec<_> = self.rings.load().values().map(|ring| ring.algorithm).collect();
        algorithms.into_iter().for_each(|algorithm| self.turn_at(algorithm, now()));
    }

    fn turn_at(&self, algorithm: SigningAlgorithm, now: i64) {
        let _changing = self.changing.lock();
        let rings = self.rings.load_full();
        let before = rings.get(name(algorithm)).map_or(&[][..], |ring| &ring.pairs);
        let mut ring = Ring { algorithm, pairs: before.to_vec() };
        if let Err(error) = ring.turn(now) {
            warn!(algorithm = name(algorithm), %error, "no signing key");
            return;
        }
        if ring.pairs.len() == before.len() && ring.newest() == before.last().map(|pair| pair.made) {
            return;
        }
        if let Some(folder) = &self.folder
            && let Err(error) = disk::save(folder, algorithm, &ring.pairs)
        {
            warn!(algorithm = name(algorithm), %error, "the signing keys cannot be saved: a restart will sign with others");
        }
        info!(algorithm = name(algorithm), keys = ring.pairs.len(), "signing keys changed");
        let mut changed = (*rings).clone();
        changed.insert(name(algorithm), ring);
        self.rings.store(Arc::new(changed));
    }

    /// The public halves (RFC 7517 section 5).
    pub fn jwks(&self) -> Value {
        let rings = self.rings.load();
        let keys: Vec<&Value> = rings.values().flat_map(|ring| &ring.pairs).map(|pair| &pair.jwk).collect();
        json!({ "keys": keys })
    }

    /// What a verifier needs to find them (OpenID Connect Discovery 1.0, RFC 8414).
    pub fn discovery(&self) -> Value {
        let rings = self.rings.load();
        let algorithms: Vec<&str> = rings.keys().copied().collect();
        json!({
            "issuer": &*self.issuer,
            "jwks_uri": format!("{}/.well-known/jwks.json", self.issuer),
            "id_token_signing_alg_values_supported": algorithms,
            "subject_types_supported": ["public"],
            "response_types_supported": [],
        })
    }
}

impl SignerStore for OwnKeys {
    fn current(&self, algorithm: SigningAlgorithm, now_ms: i64) -> Option<Signer> {
        let rings = self.rings.load();
        let pair = rings.get(name(algorithm))?.signing(now_ms.div_euclid(1000))?;
        Some(Signer { key: pair.key.clone(), issuer: self.issuer.clone() })
    }
}

// === impl Ring ===

impl Ring {
    /// The newest pair that was published for long enough, else the oldest.
    fn signing(&self, now: i64) -> Option<&Pair> {
        let announced = self.pairs.iter().rev().find(|pair| pair.made.saturating_add(ANNOUNCE) <= now);
        announced.or(self.pairs.first())
    }

    fn turn(&mut self, now: i64) -> std::io::Result<()> {
        if self.newest().is_none_or(|made| made.saturating_add(ROTATE) <= now) {
            self.pairs.push(Pair::generate(self.algorithm, now)?);
        }
        // A pair is of use until its follower has signed for long enough.
        let over = |follower: &Pair| follower.made.saturating_add(ANNOUNCE + KEEP) <= now;
        let gone = self.pairs.iter().skip(1).take_while(|follower| over(follower)).count();
        self.pairs.drain(..gone);
        Ok(())
    }

    fn newest(&self) -> Option<i64> {
        self.pairs.last().map(|pair| pair.made)
    }
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).ok().and_then(|now| i64::try_from(now.as_secs()).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{DecodingKey, Validation, jwk::JwkSet};

    use super::*;

    const START: i64 = 1_800_000_000;
    const EVERY: [(SigningAlgorithm, jsonwebtoken::Algorithm); 3] = [
        (SigningAlgorithm::RS256, jsonwebtoken::Algorithm::RS256),
        (SigningAlgorithm::ES256, jsonwebtoken::Algorithm::ES256),
        (SigningAlgorithm::EdDSA, jsonwebtoken::Algorithm::EdDSA),
    ];

    /// Whether an independent library, given what is published, verifies what is signed.
    fn verifies(keys: &OwnKeys, token: &str, algorithm: jsonwebtoken::Algorithm) -> bool {
        let set: JwkSet = serde_json::from_value(keys.jwks()).unwrap();
        let header = jsonwebtoken::decode_header(token).unwrap();
        let Some(jwk) = set.find(&header.kid.unwrap()) else { return false };
        let mut rules = Validation::new(algorithm);
        rules.required_spec_claims.clear();
        jsonwebtoken::decode::<Value>(token, &DecodingKey::from_jwk(jwk).unwrap(), &rules).is_ok()
    }

    fn sign(keys: &OwnKeys, algorithm: SigningAlgorithm, now: i64) -> String {
        let signer = keys.current(algorithm, now * 1000).unwrap();
        assert_eq!(&*signer.issuer, "http://127.0.0.1:9002");
        signer.key.sign(json!({"sub": "a"}).as_object().unwrap()).unwrap()
    }

    #[test]
    fn what_is_signed_is_verified_by_what_is_published() {
        let keys = OwnKeys::open(None, "http://127.0.0.1:9002/");
        for (algorithm, name) in EVERY {
            assert!(keys.current(algorithm, START * 1000).is_none(), "none before one is needed");
            keys.turn_at(algorithm, START);
            assert!(verifies(&keys, &sign(&keys, algorithm, START), name), "{algorithm:?}");
        }
        assert!(!keys.jwks().to_string().contains("\"d\""), "no private member");
        keys.turn_at(SigningAlgorithm::HS256, START);
        assert!(keys.current(SigningAlgorithm::HS256, START * 1000).is_none(), "a shared secret cannot be published");
        assert_eq!(keys.discovery()["jwks_uri"], "http://127.0.0.1:9002/.well-known/jwks.json");
    }

    #[test]
    fn keys_overlap_when_they_turn() {
        let keys = OwnKeys::open(None, "http://127.0.0.1:9002");
        let (algorithm, name) = EVERY[1];
        let published = || keys.jwks()["keys"].as_array().unwrap().len();
        keys.turn_at(algorithm, START);
        let first = sign(&keys, algorithm, START);
        let id = |token: &str| jsonwebtoken::decode_header(token).unwrap().kid.unwrap();
        for (seconds, count, is_first) in [
            (ROTATE - 1, 1, true),
            (ROTATE, 2, true),
            (ROTATE + ANNOUNCE - 1, 2, true),
            (ROTATE + ANNOUNCE, 2, false),
            (ROTATE + ANNOUNCE + KEEP - 1, 2, false),
            (ROTATE + ANNOUNCE + KEEP, 1, false),
        ] {
            keys.turn_at(algorithm, START + seconds);
            let token = sign(&keys, algorithm, START + seconds);
            assert_eq!((published(), id(&token) == id(&first)), (count, is_first), "{seconds}");
            assert!(verifies(&keys, &token, name));
        }
        assert!(!verifies(&keys, &first, name), "what it signed is over by now");
    }

    #[test]
    fn a_restart_signs_with_the_same_key_and_nobody_else_reads_it() {
        use std::os::unix::fs::PermissionsExt;
        let folder = std::env::temp_dir().join(format!("gatewright-signers-{}", fastrand::u64(..)));
        let (algorithm, _) = EVERY[2];
        let before = OwnKeys::open(Some(&folder), "http://127.0.0.1:9002");
        before.turn_at(algorithm, START);
        let after = OwnKeys::open(Some(&folder), "http://127.0.0.1:9002");
        assert_eq!(before.jwks(), after.jwks());
        assert_eq!(sign(&before, algorithm, START), sign(&after, algorithm, START), "Ed25519 signs alike");
        let file = folder.join("signing/EdDSA.json");
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::metadata(folder.join("signing")).unwrap().permissions().mode() & 0o777, 0o700);
        // A damaged file is not overwritten.
        std::fs::write(&file, "[").unwrap();
        let damaged = OwnKeys::open(Some(&folder), "http://127.0.0.1:9002");
        damaged.turn_at(algorithm, START);
        assert!(damaged.current(algorithm, START * 1000).is_some());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "[");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
