//! The keys of this process: made when a policy first needs one and turned by itself, or received from an operator, who makes the same
//! known to every data plane. When a key is made, signs and goes is [`super::ring`]'s.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use crds::{push::SigningKeys, v1alpha1::SigningAlgorithm};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tracing::{info, warn};

use super::{
    Signer, SignerStore, disk,
    generate::name,
    ring::{Rings, names},
};

/// Keys of our own. Cheap to read, rarely changed.
#[derive(Debug)]
pub struct OwnKeys {
    state: ArcSwap<State>,
    /// Held while a ring changes, so that no key is made twice. `None`: keys are received, and none is made here.
    maker: Option<Mutex<()>>,
    folder: Option<PathBuf>,
    /// Of which the saved keys cannot be read: never saved here.
    damaged: BTreeSet<SigningAlgorithm>,
}

/// What signs now.
#[derive(Debug, Clone, Default)]
struct State {
    rings: Rings,
    /// Where upstreams find the public halves; `None`: nothing was received yet.
    issuer: Option<Arc<str>>,
}

// === impl OwnKeys ===

impl OwnKeys {
    /// The keys below `data_dir/signing`; without a folder they live as long as the process. `issuer` is the URL of the listener that
    /// publishes them. Keys of an algorithm that were saved and cannot be read are left alone and followed by new ones, in memory only:
    /// overwriting them could destroy the key that upstreams know.
    pub fn open(data_dir: Option<&Path>, issuer: &str) -> Arc<Self> {
        let folder = data_dir.map(|folder| folder.join("signing"));
        let (mut rings, mut damaged) = (Rings::default(), BTreeSet::new());
        for algorithm in [SigningAlgorithm::RS256, SigningAlgorithm::ES256, SigningAlgorithm::EdDSA] {
            match folder.as_deref().map_or(Ok(Vec::new()), |folder| disk::load(folder, algorithm)) {
                Ok(pairs) if pairs.is_empty() => {}
                Ok(pairs) => rings.put(algorithm, pairs),
                Err(error) => {
                    let path = folder.as_deref().unwrap_or_else(|| Path::new(""));
                    damaged.insert(algorithm);
                    warn!(algorithm = name(algorithm), path = %path.display(), %error, "saved signing keys cannot be used; new ones are made and not saved. Repair or remove the file of this algorithm and start again");
                }
            }
        }
        let state = State { rings, issuer: Some(issuer.trim_end_matches('/').into()) };
        Arc::new(Self { state: ArcSwap::from_pointee(state), maker: Some(Mutex::default()), folder, damaged })
    }

    /// Nothing yet, and whatever [`OwnKeys::receive`] is given.
    pub fn received() -> Arc<Self> {
        Arc::new(Self { state: ArcSwap::default(), maker: None, folder: None, damaged: BTreeSet::new() })
    }

    /// Takes an operator's keys in, in place of those of before. Keys that cannot be read leave those in force.
    pub fn receive(&self, keys: &SigningKeys) {
        let issuer: Arc<str> = keys.issuer.trim_end_matches('/').into();
        match Rings::read(&keys.keys) {
            Ok(rings) => self.state.store(Arc::new(State { rings, issuer: Some(issuer) })),
            Err(error) => warn!(%error, "the operator's signing keys cannot be used; those of before stay"),
        }
    }

    /// Makes the first key of an algorithm, if there is none and they are made here. Blocks for a moment.
    pub fn make(&self, algorithm: SigningAlgorithm) {
        self.turn_at(Some(algorithm), now());
    }

    /// Adds and drops what is due in every ring. To be called every few minutes.
    pub fn turn(&self) {
        self.turn_at(None, now());
    }

    fn turn_at(&self, needed: Option<SigningAlgorithm>, now: i64) {
        let Some(maker) = &self.maker else { return };
        let _making = maker.lock();
        // Whoever has no public half has nothing to publish.
        let needed = needed.filter(|algorithm| PUBLISHED.contains(algorithm));
        let mut state = State::clone(&self.state.load());
        match state.rings.turn(needed, now) {
            Ok(false) => return,
            Ok(true) => {}
            Err(error) => {
                warn!(%error, "no signing key");
                return;
            }
        }
        for algorithm in state.rings.algorithms() {
            let pairs = state.rings.of(algorithm);
            info!(algorithm = name(algorithm), keys = pairs.len(), "signing keys changed");
            if let Some(folder) = self.folder.as_ref().filter(|_| !self.damaged.contains(&algorithm))
                && let Err(error) = disk::save(folder, algorithm, pairs)
            {
                warn!(algorithm = name(algorithm), %error, "the signing keys cannot be saved: a restart will sign with others");
            }
        }
        self.state.store(Arc::new(state));
    }

    /// The public halves (RFC 7517 section 5); `None`: nothing was received yet.
    pub fn jwks(&self) -> Option<Value> {
        let state = self.state.load();
        state.issuer.as_ref().map(|_| state.rings.jwks())
    }

    /// What a verifier needs to find them (OpenID Connect Discovery 1.0, RFC 8414).
    pub fn discovery(&self) -> Option<Value> {
        let state = self.state.load();
        let issuer = state.issuer.as_deref()?;
        Some(json!({
            "issuer": issuer,
            "jwks_uri": format!("{issuer}/.well-known/jwks.json"),
            "id_token_signing_alg_values_supported": names(&state.rings),
            "subject_types_supported": ["public"],
            "response_types_supported": [],
        }))
    }
}

impl SignerStore for OwnKeys {
    fn current(&self, algorithm: SigningAlgorithm, now_ms: i64) -> Option<Signer> {
        let state = self.state.load();
        let key = state.rings.signing(algorithm, now_ms.div_euclid(1000))?;
        Some(Signer { key, issuer: state.issuer.clone()? })
    }
}

/// Algorithms with a public half.
const PUBLISHED: [SigningAlgorithm; 3] = [SigningAlgorithm::RS256, SigningAlgorithm::ES256, SigningAlgorithm::EdDSA];

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).ok().and_then(|now| i64::try_from(now.as_secs()).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{DecodingKey, Validation, jwk::JwkSet};

    use super::{
        super::ring::{ANNOUNCE, KEEP, ROTATE},
        *,
    };

    const START: i64 = 1_800_000_000;
    const EVERY: [(SigningAlgorithm, jsonwebtoken::Algorithm); 3] = [
        (SigningAlgorithm::RS256, jsonwebtoken::Algorithm::RS256),
        (SigningAlgorithm::ES256, jsonwebtoken::Algorithm::ES256),
        (SigningAlgorithm::EdDSA, jsonwebtoken::Algorithm::EdDSA),
    ];

    /// Whether an independent library, given what is published, verifies what is signed.
    fn verifies(keys: &OwnKeys, token: &str, algorithm: jsonwebtoken::Algorithm) -> bool {
        let set: JwkSet = serde_json::from_value(keys.jwks().unwrap()).unwrap();
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
            keys.turn_at(Some(algorithm), START);
            assert!(verifies(&keys, &sign(&keys, algorithm, START), name), "{algorithm:?}");
        }
        assert!(!keys.jwks().unwrap().to_string().contains("\"d\""), "no private member");
        keys.turn_at(Some(SigningAlgorithm::HS256), START);
        assert!(keys.current(SigningAlgorithm::HS256, START * 1000).is_none(), "a shared secret cannot be published");
        assert_eq!(keys.discovery().unwrap()["jwks_uri"], "http://127.0.0.1:9002/.well-known/jwks.json");
    }

    #[test]
    fn keys_overlap_when_they_turn() {
        let keys = OwnKeys::open(None, "http://127.0.0.1:9002");
        let (algorithm, name) = EVERY[1];
        let published = || keys.jwks().unwrap()["keys"].as_array().unwrap().len();
        keys.turn_at(Some(algorithm), START);
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
            keys.turn_at(Some(algorithm), START + seconds);
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
        before.turn_at(Some(algorithm), START);
        let after = OwnKeys::open(Some(&folder), "http://127.0.0.1:9002");
        assert_eq!(before.jwks(), after.jwks());
        assert_eq!(sign(&before, algorithm, START), sign(&after, algorithm, START), "Ed25519 signs alike");
        let file = folder.join("signing/EdDSA.json");
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::metadata(folder.join("signing")).unwrap().permissions().mode() & 0o777, 0o700);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_damaged_file_is_not_overwritten_and_harms_no_other() {
        let folder = std::env::temp_dir().join(format!("gatewright-signers-{}", fastrand::u64(..)));
        let open = || OwnKeys::open(Some(&folder), "http://127.0.0.1:9002");
        let [(damaged, _), _, (sound, _)] = EVERY;
        let before = open();
        before.turn_at(Some(sound), START);
        let file = folder.join("signing/RS256.json");
        std::fs::write(&file, "[").unwrap();
        let after = open();
        after.turn_at(Some(damaged), START);
        assert!(after.current(damaged, START * 1000).is_some());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "[");
        assert_eq!(sign(&before, sound, START), sign(&after, sound, START), "those of other algorithms are read");
        after.turn_at(None, START + ROTATE);
        let turned = START + ROTATE + ANNOUNCE;
        assert_ne!(sign(&after, sound, turned), sign(&before, sound, turned));
        assert_eq!(sign(&after, sound, turned), sign(&open(), sound, turned), "and saved when they turn");
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn received_keys_are_everybodys_and_made_by_nobody_here() {
        let (algorithm, name) = EVERY[1];
        let mut rings = Rings::default();
        rings.turn([algorithm], START).unwrap();
        let sent = SigningKeys { issuer: "http://127.0.0.1:9002/".into(), keys: rings.kept() };
        let sent: SigningKeys = serde_json::from_str(&serde_json::to_string(&sent).unwrap()).unwrap();
        let (one, other) = (OwnKeys::received(), OwnKeys::received());
        assert!(one.jwks().is_none() && one.discovery().is_none() && one.current(algorithm, START * 1000).is_none());
        one.make(algorithm);
        assert!(one.current(algorithm, START * 1000).is_none(), "a key of one replica would be nobody else's");
        [&one, &other].iter().for_each(|keys| keys.receive(&sent));
        assert!(verifies(&other, &sign(&one, algorithm, START), name), "what one signs the other publishes");
        assert_eq!((one.jwks(), one.discovery()), (other.jwks(), other.discovery()));
        let secret = serde_json::to_value(&sent).unwrap()["keys"][0]["pkcs8"].as_str().unwrap().to_owned();
        assert!(!format!("{sent:?} {one:?}").contains(&secret));
        // What cannot be read changes nothing.
        let mut broken = sent.clone();
        broken.keys[0].pkcs8 = crds::secret::Secret::new(b"nonsense".to_vec());
        one.receive(&broken);
        assert_eq!(one.jwks(), other.jwks());
    }

    #[test]
    fn rings_that_meet_forget_nothing() {
        let (algorithm, _) = EVERY[2];
        let (mut one, mut other) = (Rings::default(), Rings::default());
        one.turn([algorithm], START).unwrap();
        other.merge(one.clone());
        other.turn([], START + ROTATE).unwrap();
        assert_eq!((one.of(algorithm).len(), other.of(algorithm).len()), (1, 2));
        one.merge(other.clone());
        assert_eq!(one.jwks(), other.jwks());
        assert_eq!(Rings::read(&one.kept()).unwrap().jwks(), one.jwks());
        assert!(!one.turn([algorithm], START + ROTATE).unwrap(), "nothing is due");
    }
}
