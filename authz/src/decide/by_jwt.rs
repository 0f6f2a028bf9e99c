//! The kind `jwt`: a token against the keys of its issuer, or against keys that stand in Secrets.

use std::sync::Arc;

use crds::{
    algorithm::Algorithm,
    keys::{KeySet, StaticKeys},
    snapshot::{Authenticator, DeniedTokenIds, Jwt, JwtKeys, SecondFactor},
};
use serde_json::Value;

use super::{
    Awaited, Deps, Need,
    authenticate::{Failed, Good, Presented, named},
    outcome::Outcome,
    second_factor,
};
use crate::{
    jwt::{self, Failure, Token},
    keystore::KeyState,
};

/// One authenticator with its keys as they are now.
pub(super) struct Ready<'a> {
    jwt: &'a Jwt,
    keys: Keys<'a>,
    factor: Option<&'a SecondFactor>,
}

enum Keys<'a> {
    /// Loaded, or not; `refreshable`: waiting can help; `failing`: an unknown key is then our failure.
    Set {
        keys: Option<Arc<KeySet>>,
        refreshable: bool,
        failing: bool,
        /// Learnt with the keys.
        issuer: Option<Arc<str>>,
    },
    Static(&'a StaticKeys),
}

// === impl Ready ===

impl<'a> Ready<'a> {
    pub(super) fn new(deps: &Deps<'_>, jwt: &'a Jwt, factor: Option<&'a SecondFactor>) -> Self {
        let keys = match &jwt.keys {
            JwtKeys::Inline(keys) => {
                Keys::Set { keys: Some(keys.clone()), refreshable: false, failing: false, issuer: None }
            }
            JwtKeys::Missing => Keys::Set { keys: None, refreshable: false, failing: true, issuer: None },
            JwtKeys::Static(keys) => Keys::Static(keys),
            JwtKeys::Remote(id) => {
                let KeyState { keys, refreshable, failing, issuer } = deps.keys.state(id);
                Keys::Set { keys, refreshable, failing, issuer }
            }
        };
        Self { jwt, keys, factor }
    }

    /// The issuer whose tokens these are: configured, or learnt with the keys.
    pub(super) fn issuer(&self) -> Option<&str> {
        let learnt = match &self.keys {
            Keys::Set { issuer, .. } => issuer.as_deref(),
            Keys::Static(_) => None,
        };
        self.jwt.issuer.as_deref().or(learnt)
    }

    /// What changes with keys that are fetched.
    pub(super) fn version(&self) -> u64 {
        match &self.keys {
            Keys::Set { keys, .. } => keys.as_ref().map_or(0, |keys| keys.version()),
            Keys::Static(_) => 0,
        }
    }

    /// Tokens only, with a code or without; and one that names an issuer is only for authenticators of that issuer, or of none.
    pub(super) fn takes(&self, presented: &Presented<'_>) -> bool {
        self.parts(presented).is_some_and(|(token, _)| match (&self.jwt.issuer, token.issuer()) {
            (Some(own), Some(issuer)) => **own == *issuer,
            _ => true,
        })
    }

    pub(super) fn verify(
        &self,
        authenticator: &Authenticator,
        presented: &Presented<'_>,
        awaited: &Awaited,
        now_ms: i64,
    ) -> Result<Good, Failed> {
        let (token, code) = self.parts(presented).ok_or(Outcome::Invalid("not a JSON Web Token in compact form"))?;
        let verified = match &self.keys {
            // No key of the issuer could change that: it waits for none, and is no failure of ours.
            Keys::Set { keys: None, .. } if !self.may_be_signed(token) => {
                return Err(Outcome::Invalid("its algorithm is not accepted here").into());
            }
            Keys::Set { keys: None, .. } => return Err(self.no_key("the issuer has no key", awaited)),
            Keys::Set { keys: Some(keys), .. } => jwt::verify(token, self.jwt, keys, now_ms),
            Keys::Static(keys) => jwt::verify_static(token, self.jwt, keys, now_ms),
        };
        let verified = verified.map_err(|failure| match failure {
            Failure::Invalid(why) => Outcome::Invalid(why).into(),
            Failure::Expired => Outcome::Expired.into(),
            Failure::ClaimMissing(index) => {
                Failed::claim(self.jwt.required_claims.get(index).cloned().unwrap_or_default())
            }
            Failure::KeyMissing => Outcome::Unavailable("the key of this algorithm is missing").into(),
            Failure::UnknownKey => self.no_key("the issuer has no key of this identifier", awaited),
            Failure::NotOfTheseKeys(why) => self.no_key(why, awaited),
        })?;
        not_denied(token, &self.jwt.denied)?;
        let principal = named(token.claims(), authenticator, self.issuer())?;
        let skew = i64::try_from(self.jwt.clock_skew.as_millis()).unwrap_or(0);
        let ends_ms = verified.expires_at_ms.map(|end| end.saturating_add(skew));
        let Some(factor) = self.factor else { return Ok(Good { principal, ends_ms, keep_until_ms: None, key: None }) };
        let principal = second_factor::check(factor, authenticator, principal, code, awaited, now_ms)?;
        // A code is good once: a verdict that were kept would be a second time.
        Ok(Good { principal, ends_ms, keep_until_ms: Some(i64::MIN), key: None })
    }

    /// Whether a key that is not known yet may have signed it. Of keys that are missing from the documents nobody knows for which
    /// algorithms they are.
    fn may_be_signed(&self, token: &Token<'_>) -> bool {
        let algorithm = Algorithm::from_name(&token.header().algorithm);
        let listed = algorithm.is_some_and(|algorithm| self.jwt.algorithms.contains(&algorithm));
        listed || !matches!(self.jwt.keys, JwtKeys::Remote(_))
    }

    /// What of the credential is a token, and what is a code. A code is nothing to who wants none: the whole is then no token.
    fn parts<'p>(&self, presented: &'p Presented<'_>) -> Option<(&'p Token<'p>, Option<&'p str>)> {
        if self.factor.is_some() { presented.token_and_code() } else { Some((presented.token()?, None)) }
    }

    /// An unknown key is the client's fault only if we know the issuer's keys as they are now; then `why` is what is wrong.
    fn no_key(&self, why: &'static str, awaited: &Awaited) -> Failed {
        let Keys::Set { keys, refreshable, failing, .. } = &self.keys else {
            return Outcome::Invalid("no key of this algorithm").into();
        };
        let asked = matches!(&self.jwt.keys, JwtKeys::Remote(id) if awaited.holds(id));
        let outcome = match (keys, *failing || (*refreshable && asked)) {
            (None, _) => Outcome::Unavailable("the keys of this issuer could not be loaded"),
            (Some(_), true) => Outcome::Unavailable("its key is not known, and the issuer has not answered"),
            (Some(_), false) => Outcome::Invalid(why),
        };
        let need = match &self.jwt.keys {
            JwtKeys::Remote(id) if *refreshable && !asked => Some(Need::Keys(id.clone())),
            _ => None,
        };
        Failed { outcome, claim: None, need }
    }
}

/// Whether somebody took the token back. A `jti` that no list can hold is refused where there is a list.
fn not_denied(token: &Token<'_>, denied: &DeniedTokenIds) -> Result<(), Outcome> {
    match (denied, token.claims().get("jti")) {
        (DeniedTokenIds::Nobody, _) | (DeniedTokenIds::Listed(_), None) => Ok(()),
        (DeniedTokenIds::Listed(list), Some(Value::String(id))) if !list.contains(id) => Ok(()),
        (DeniedTokenIds::Listed(_), Some(Value::String(_))) => Err(Outcome::Invalid("its identifier is denied")),
        (DeniedTokenIds::Listed(_), Some(_)) => Err(Outcome::Invalid("`jti` is not text")),
        (DeniedTokenIds::Missing, _) => Err(Outcome::Unavailable("the list of denied tokens is missing")),
    }
}
