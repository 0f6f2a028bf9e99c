//! The CA over the years: believed before it signs, believed as long as what it signed lives.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use authz::tls::{certificates, not_after};
use base64::{Engine, engine::general_purpose::STANDARD};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PKCS_RSA_SHA256, SignatureAlgorithm,
};

use parking_lot::Mutex;
use rustls::pki_types::{PrivateKeyDer, pem::PemObject};
use tokio::sync::watch;
use x509_parser::der_parser::parse_der;

use super::{
    Identity, Kept, ProofError, Proofs, Settings, Store, StoreError, Workload,
    ca::{Authorities, Authority, Lives, Origin, Subject},
    given::{self, GivenError},
};

const DAY: Duration = Duration::from_hours(24);

fn lives() -> Lives {
    Lives::default()
}

fn count(pem: &str) -> usize {
    pem.matches("BEGIN CERTIFICATE").count()
}

#[test]
fn a_rotation_goes_through_its_phases() {
    let begin = SystemTime::now();
    let first = Authorities::create(begin, &lives()).unwrap();
    assert_eq!(count(&first.bundle()), 1);
    assert!(first.rotated(begin + DAY * 243, &lives(), Origin::Made).unwrap().is_none(), "not before two thirds");
    let announced = first.rotated(begin + DAY * 244, &lives(), Origin::Made).unwrap().expect("due");
    assert_eq!(count(&announced.bundle()), 2);
    assert!(announced.signing().is(first.signing()), "it does not sign yet");
    let soon = begin + DAY * 244 + Duration::from_hours(23);
    assert!(announced.rotated(soon, &lives(), Origin::Made).unwrap().is_none());
    let signs = announced.rotated(begin + DAY * 246, &lives(), Origin::Made).unwrap().expect("due");
    assert!(!signs.signing().is(first.signing()));
    assert_eq!(count(&signs.bundle()), 2, "what the old one signed is still believed");
    assert!(signs.rotated(begin + DAY * 250, &lives(), Origin::Made).unwrap().is_none());
    let alone = signs.rotated(begin + DAY * 254, &lives(), Origin::Made).unwrap().expect("due");
    assert_eq!(count(&alone.bundle()), 1);
    assert!(alone.signing().is(signs.signing()));
    assert!(alone.rotated(begin + DAY * 255, &lives(), Origin::Made).unwrap().is_none());
}

/// Nobody led when the next one was due to sign.
#[test]
fn what_the_old_one_signed_is_believed_however_late_the_turn() {
    let begin = SystemTime::now();
    let first = Authorities::create(begin, &lives()).unwrap();
    let step = |from: &Authorities, days: u32| from.rotated(begin + DAY * days, &lives(), Origin::Made).unwrap();
    let announced = step(&first, 244).expect("due");
    let signs = step(&announced, 280).expect("due");
    let signs = Authorities::read(&signs.data()).unwrap();
    assert!(!signs.signing().is(first.signing()));
    assert!(step(&signs, 286).is_none(), "a proxy's certificate lives for seven days");
    assert_eq!(count(&step(&signs, 288).expect("due").bundle()), 1);
}

#[test]
fn every_phase_survives_its_secret() {
    let begin = SystemTime::now();
    let first = Authorities::create(begin, &lives()).unwrap();
    let announced = first.rotated(begin + DAY * 300, &lives(), Origin::Made).unwrap().unwrap();
    let signs = announced.rotated(begin + DAY * 302, &lives(), Origin::Made).unwrap().unwrap();
    for phase in [first, announced, signs] {
        let data = phase.data();
        let read = Authorities::read(&data).unwrap();
        assert_eq!(read.bundle(), phase.bundle());
        assert!(read.signing().is(phase.signing()));
        for missing in ["tls.crt", "tls.key"] {
            let mut data = data.clone();
            data.remove(missing);
            assert!(Authorities::read(&data).is_err(), "{missing}");
            data.insert(missing.to_owned(), b"nonsense".to_vec());
            assert!(Authorities::read(&data).is_err(), "{missing}");
        }
    }
}

#[test]
fn an_expired_ca_is_replaced_at_once_and_outlived_by_nothing() {
    let begin = SystemTime::now() - DAY * 360;
    let old = Authorities::create(begin, &lives()).unwrap();
    let key = KeyPair::generate().unwrap();
    let subject = || Subject { uri: "spiffe://gatewright/gateway/a".to_owned(), dns: Vec::new(), life: DAY * 7 };
    let pem = old.signing().sign(&subject(), &key, SystemTime::now()).unwrap();
    let end = not_after(&certificates("it", &pem).unwrap()[0]).unwrap();
    assert!(end <= begin + DAY * 365 + Duration::from_secs(1), "not past the CA's own end");
    let announced = old.rotated(SystemTime::now(), &lives(), Origin::Made).unwrap().unwrap();
    let after_the_end = begin + DAY * 366;
    let signs = announced.rotated(after_the_end, &lives(), Origin::Made).unwrap().unwrap();
    assert!(!signs.signing().is(old.signing()));
}

/// A leader whose clock was years ahead for a minute made CAs that nobody believes before their time.
#[test]
fn what_a_clock_that_was_ahead_made_is_replaced_once_it_is_right() {
    let (now, ahead) = (SystemTime::now(), SystemTime::now() + DAY * 1000);
    let good = Authorities::create(now, &lives()).unwrap();
    let next = |of: &Authorities, now| of.rotated(now, &lives(), Origin::Made).unwrap();
    // The old one had ended by that clock, so that the new one signs at once.
    let announced = next(&good, ahead).unwrap();
    let signs = next(&announced, ahead + Duration::from_secs(10)).unwrap();
    assert!(!signs.signing().is(good.signing()));
    // Healed while it was only announced: it is dropped, and nothing is left to do.
    let healed = next(&announced, now + Duration::from_secs(20)).unwrap();
    assert_eq!(healed.bundle(), good.bundle());
    assert!(next(&healed, now + Duration::from_secs(30)).is_none());
    // Healed while it signs: the next one does so with the second look.
    let after = now + Duration::from_mins(1);
    let announced = next(&signs, after).unwrap();
    let healed = next(&announced, after + Duration::from_secs(10)).unwrap();
    assert!(!healed.signing().is(signs.signing()) && !healed.signing().is(good.signing()));
    assert!(healed.signing().left(after).unwrap() <= lives().authority);
    assert_eq!(count(&healed.bundle()), 3, "what the one from before the clock went wrong signed is still believed");
    assert!(next(&healed, after + DAY).is_none());
    // A clock that is a little behind changes nothing.
    assert!(next(&good, now - Duration::from_hours(23)).is_none());
    // Given ones are somebody else's business.
    let given = Authorities::adopt(adopted(30), now);
    assert!(given.rotated(now - DAY * 40, &lives(), Origin::Given(None)).unwrap().is_none());
}

/// A Secret store of one CA.
#[derive(Default)]
struct Memory(Mutex<BTreeMap<String, Kept>>);

#[tonic::async_trait]
impl Store for Memory {
    async fn read(&self, name: &str) -> Result<Option<Kept>, StoreError> {
        Ok(self.0.lock().get(name).cloned())
    }

    async fn write(&self, name: &str, data: Data, _: Option<String>) -> Result<Kept, StoreError> {
        let kept = Kept { data, version: "1".to_owned() };
        self.0.lock().insert(name.to_owned(), kept.clone());
        Ok(kept)
    }
}

#[tonic::async_trait]
impl Proofs for Memory {
    async fn prove(&self, _: &str) -> Result<Workload, ProofError> {
        Err(ProofError::Refused("nobody is expected"))
    }

    async fn labels(&self, _: &str, _: &str) -> Result<BTreeMap<String, String>, ProofError> {
        Ok(BTreeMap::new())
    }
}

#[tokio::test]
async fn our_own_certificate_is_made_anew_when_the_clock_goes_back() {
    let text = str::to_owned;
    let settings = Settings {
        namespace: text("gatewright"),
        pod: text("operator-0"),
        account: text("gatewright-operator"),
        service: text("gatewright-operator"),
        authz_account: text("gatewright-authz"),
        authz_service: text("gatewright-authz"),
        given: None,
        lives: lives(),
        look: DAY,
    };
    let memory = Arc::<Memory>::default();
    let leads = watch::Sender::new(true);
    let identity = Identity::start_with(memory.clone(), memory, settings, leads.subscribe()).await.unwrap();
    let certificate = || identity.inner.own.load().certificate.clone();
    let first = certificate();
    identity.look(SystemTime::now()).await.unwrap();
    assert_eq!(certificate(), first, "it is good");
    identity.look(SystemTime::now() - Duration::from_hours(12)).await.unwrap();
    assert_ne!(certificate(), first);
}

#[test]
fn keys_are_not_shown() {
    let authorities = Authorities::create(SystemTime::now(), &lives()).unwrap();
    assert_eq!(format!("{authorities:?}"), "Authorities(next: false, previous: 0)");
}

type Data = std::collections::BTreeMap<String, Vec<u8>>;

/// A Secret as cert-manager fills it: a CA of this life, whose key is of this kind.
fn issued(algorithm: &'static SignatureAlgorithm, days: u32, change: impl FnOnce(&mut CertificateParams)) -> Data {
    let key = KeyPair::generate_for(algorithm).unwrap();
    let mut params = CertificateParams::default();
    params.not_before = SystemTime::now().into();
    params.not_after = (SystemTime::now() + DAY * days).into();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    change(&mut params);
    let certificate = params.self_signed(&key).unwrap().pem();
    Data::from([
        // The chain goes on with who signed the CA: not believed.
        (
            "tls.crt".to_owned(),
            format!("{certificate}{}", Authorities::create(SystemTime::now(), &lives()).unwrap().bundle()).into_bytes(),
        ),
        ("tls.key".to_owned(), key.serialize_pem().into_bytes()),
    ])
}

fn adopted(days: u32) -> Authority {
    given::read(&issued(&PKCS_ECDSA_P256_SHA256, days, |_| {}), SystemTime::now()).unwrap()
}

#[test]
fn a_ca_is_taken_from_a_secret_whatever_its_key() {
    for algorithm in [&PKCS_ECDSA_P256_SHA256, &PKCS_RSA_SHA256, &PKCS_ED25519] {
        let now = SystemTime::now();
        let authority = given::read(&issued(algorithm, 90, |_| {}), now).unwrap();
        let authorities = Authorities::adopt(authority, now);
        assert_eq!(count(&authorities.bundle()), 1, "only the one that signs is believed");
        let key = KeyPair::generate().unwrap();
        let subject = Subject { uri: "spiffe://gatewright/gateway/a".to_owned(), dns: Vec::new(), life: DAY };
        let leaf = authorities.signing().sign(&subject, &key, now).unwrap();
        assert!(authz::tls::server_config(&leaf, &key.serialize_pem(), &authorities.bundle()).is_ok());
        assert_eq!(Authorities::read(&authorities.data()).unwrap().bundle(), authorities.bundle());
    }
}

/// The key in the form that is cert-manager's default: that of its own kind, which PKCS #8 wraps.
fn unwrapped(data: &mut Data, label: &str) {
    let pem = str::from_utf8(&data["tls.key"]).unwrap();
    let PrivateKeyDer::Pkcs8(wrapped) = PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap() else {
        panic!("PKCS #8")
    };
    let (_, parsed) = parse_der(wrapped.secret_pkcs8_der()).unwrap();
    let inner = parsed.as_sequence().unwrap()[2].as_slice().unwrap();
    let text = format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(inner));
    data.insert("tls.key".to_owned(), text.into_bytes());
}

#[test]
fn keys_come_in_the_forms_of_cert_manager() {
    for (algorithm, label) in [(&PKCS_RSA_SHA256, "RSA PRIVATE KEY"), (&PKCS_ECDSA_P256_SHA256, "EC PRIVATE KEY")] {
        let mut data = issued(algorithm, 90, |_| {});
        unwrapped(&mut data, label);
        let authority = given::read(&data, SystemTime::now()).expect(label);
        let subject = Subject { uri: "spiffe://gatewright/gateway/a".to_owned(), dns: Vec::new(), life: DAY };
        assert!(authority.sign(&subject, &KeyPair::generate().unwrap(), SystemTime::now()).is_ok(), "{label}");
    }
}

#[test]
fn what_is_no_ca_is_refused_with_what_to_do() {
    let good = issued(&PKCS_ECDSA_P256_SHA256, 90, |_| {});
    let without = |name: &str| good.clone().into_iter().filter(|(key, _)| key != name).collect::<Data>();
    let with = |name: &str, text: &str| {
        let mut data = good.clone();
        data.insert(name.to_owned(), text.as_bytes().to_vec());
        data
    };
    let other = issued(&PKCS_ECDSA_P256_SHA256, 90, |_| {});
    let leaf = |params: &mut CertificateParams| {
        params.is_ca = IsCa::NoCa;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    };
    for (data, expected) in [
        (without("tls.crt"), GivenError::Missing("tls.crt")),
        (without("tls.key"), GivenError::Missing("tls.key")),
        (with("tls.crt", "nonsense"), GivenError::Unreadable("tls.crt")),
        (with("tls.key", "nonsense"), GivenError::Unreadable("tls.key")),
        (with("tls.key", str::from_utf8(&other["tls.key"]).unwrap()), GivenError::OtherKey),
        (issued(&PKCS_ECDSA_P256_SHA256, 90, leaf), GivenError::NoAuthority),
        (
            issued(&PKCS_ECDSA_P256_SHA256, 90, |params| params.key_usages = vec![KeyUsagePurpose::CrlSign]),
            GivenError::MayNotSign,
        ),
        (issued(&PKCS_ECDSA_P256_SHA256, 0, |_| {}), GivenError::Ended),
    ] {
        assert_eq!(given::read(&data, SystemTime::now()).err(), Some(expected));
    }
}

#[test]
fn given_cas_follow_each_other_as_ours_do() {
    let begin = SystemTime::now();
    let (first, second, third) = (adopted(90), adopted(90), adopted(90));
    let step = |from: &Authorities, at, given| from.rotated(at, &lives(), Origin::Given(given)).unwrap();
    let one = Authorities::adopt(first.clone(), begin);
    assert!(step(&one, begin + DAY * 80, Some(&first)).is_none(), "nothing is made here");
    assert!(step(&one, begin + DAY * 80, None).is_none());
    let announced = step(&one, begin + DAY * 10, Some(&second)).expect("another one is given");
    assert_eq!(count(&announced.bundle()), 2);
    assert!(announced.signing().is(&first), "it is announced before it signs, old as it may be");
    let announced = Authorities::read(&announced.data()).unwrap();
    assert!(step(&announced, begin + DAY * 10 + Duration::from_hours(23), Some(&second)).is_none());
    // It goes on without the Secret, too.
    let signs = step(&announced, begin + DAY * 11, None).expect("announced for long enough");
    assert!(signs.signing().is(&second));
    let hurried = step(&signs, begin + DAY * 12, Some(&third)).unwrap();
    let hurried = step(&hurried, begin + DAY * 13, Some(&third)).unwrap();
    assert!(hurried.signing().is(&third));
    let hurried = Authorities::read(&hurried.data()).unwrap();
    assert_eq!(count(&hurried.bundle()), 3, "what either of the older ones signed lives");
    assert!(step(&hurried, begin + DAY * 19, Some(&third)).is_none());
    let alone = step(&hurried, begin + DAY * 21, Some(&third)).expect("nothing of the older ones lives");
    assert_eq!(count(&alone.bundle()), 1);
    // From one of our own to a given one, and back.
    let own = Authorities::create(begin, &lives()).unwrap();
    let announced = step(&own, begin, Some(&first)).unwrap();
    assert!(announced.signing().is(own.signing()));
    let given = step(&announced, begin + DAY, Some(&first)).unwrap();
    assert!(given.rotated(begin + DAY * 2, &lives(), Origin::Made).unwrap().is_none(), "it signs on");
    let back = given.rotated(begin + DAY * 61, &lives(), Origin::Made).unwrap().expect("two thirds of its life");
    assert!(back.signing().is(&first));
}

#[test]
fn nothing_outlives_a_given_ca_that_is_about_to_end() {
    let begin = SystemTime::now();
    let short = Authorities::adopt(adopted(1), begin);
    assert!(short.signing().left(begin).unwrap() <= DAY);
    let announced = short.rotated(begin, &lives(), Origin::Given(Some(&adopted(90)))).unwrap().unwrap();
    let at_the_end = begin + DAY + Duration::from_secs(1);
    assert!(
        announced.rotated(at_the_end, &lives(), Origin::Given(None)).unwrap().is_some(),
        "it cannot wait any longer"
    );
}
