//! The CA over the years: believed before it signs, believed as long as what it signed lives.

use std::time::{Duration, SystemTime};

use authz::tls::{certificates, not_after};
use rcgen::KeyPair;

use super::ca::{Authorities, Lives, Subject};

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
    assert!(first.rotated(begin + DAY * 243, &lives()).unwrap().is_none(), "not before two thirds");
    let announced = first.rotated(begin + DAY * 244, &lives()).unwrap().expect("due");
    assert_eq!(count(&announced.bundle()), 2);
    assert!(announced.signing().is(first.signing()), "it does not sign yet");
    let soon = begin + DAY * 244 + Duration::from_hours(23);
    assert!(announced.rotated(soon, &lives()).unwrap().is_none());
    let signs = announced.rotated(begin + DAY * 246, &lives()).unwrap().expect("due");
    assert!(!signs.signing().is(first.signing()));
    assert_eq!(count(&signs.bundle()), 2, "what the old one signed is still believed");
    assert!(signs.rotated(begin + DAY * 250, &lives()).unwrap().is_none());
    let alone = signs.rotated(begin + DAY * 254, &lives()).unwrap().expect("due");
    assert_eq!(count(&alone.bundle()), 1);
    assert!(alone.signing().is(signs.signing()));
    assert!(alone.rotated(begin + DAY * 255, &lives()).unwrap().is_none());
}

#[test]
fn every_phase_survives_its_secret() {
    let begin = SystemTime::now();
    let first = Authorities::create(begin, &lives()).unwrap();
    let announced = first.rotated(begin + DAY * 300, &lives()).unwrap().unwrap();
    let signs = announced.rotated(begin + DAY * 302, &lives()).unwrap().unwrap();
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
    let announced = old.rotated(SystemTime::now(), &lives()).unwrap().unwrap();
    let after_the_end = begin + DAY * 366;
    let signs = announced.rotated(after_the_end, &lives()).unwrap().unwrap();
    assert!(!signs.signing().is(old.signing()));
}

#[test]
fn keys_are_not_shown() {
    let authorities = Authorities::create(SystemTime::now(), &lives()).unwrap();
    assert_eq!(format!("{authorities:?}"), "Authorities(next: false, previous: 0)");
}
