//! Codes beside tokens: everybody's shared secret, read once.

use std::{collections::HashMap, time::Duration};

use super::{authenticator::duration, policy::Site, verdict::Reason};
use crate::{
    documents::SecretValues,
    secret::Secret,
    snapshot::SecondFactor,
    totp::{BadSharedSecret, CodeForm, shared_secret},
    v1alpha1,
};

const DIGITS: u8 = 6;
const PERIOD: Duration = Duration::from_secs(30);

/// The second factor of one authenticator.
pub(super) fn compile(at: &str, spec: &v1alpha1::Totp, site: &mut Site<'_>) -> SecondFactor {
    let parsed = spec.period.as_ref().map(v1alpha1::CodePeriod::parse);
    let period = duration(&format!("{at}.period"), parsed, PERIOD, site);
    // The schema has bounds for both.
    let form = CodeForm { digits: spec.digits.unwrap_or(DIGITS), period_seconds: period.as_secs().max(1) };
    let name = &*spec.secrets_ref.name;
    let at = format!("{at}.secretsRef");
    let secret = site.references.full_name(name).into();
    let enrolled = site.references.whole(&at, name).map(|values| enrolled(&at, name, values, site));
    SecondFactor { form, secret, enrolled, store: site.store.clone() }
}

/// What is wrong is counted and not named: whose it is is nobody's business who reads a status.
fn enrolled(at: &str, name: &str, values: SecretValues<'_>, site: &Site<'_>) -> HashMap<Box<str>, Option<Secret>> {
    let (mut weak, mut unfit) = (0, 0);
    let mut read = |value: Option<&Secret>| match value.map(|value| shared_secret(value.expose())) {
        Some(Ok(secret)) => Some(secret),
        Some(Err(BadSharedSecret::Weak)) => {
            weak += 1;
            None
        }
        Some(Err(BadSharedSecret::Base32)) | None => {
            unfit += 1;
            None
        }
    };
    let enrolled = values.entries().map(|(key, value)| (key.into(), read(value))).collect();
    for (count, reason, why) in
        [(weak, Reason::WeakSecret, BadSharedSecret::Weak), (unfit, Reason::BadContent, BadSharedSecret::Base32)]
    {
        if count > 0 {
            let message = format!(
                "{at}: {count} of the entries of Secret {name} cannot be used, and whoever they belong to gets 503: each {why}"
            );
            site.references.problem(reason, message);
        }
    }
    enrolled
}
