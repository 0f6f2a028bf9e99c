//! Steps 4 and 5: the credential, and the authenticators that take it.

use std::sync::Arc;

use aws_lc_rs::digest;
use crds::{
    code::Code,
    keys::KeySet,
    snapshot::{Access, Authenticator, AuthenticatorKind, IdentityHeader, InvalidCredential, Jwt, JwtKeys, Source},
};

use super::{
    Awaited, Deny, Deps, Facts, Grants, Need, Stop, authorize, credential, credential::Credential, encode,
    select::Place,
};
use crate::{
    cache::TokenKey,
    jwt::{self, Failure, PrincipalFailure, Token},
    principal::{CallerKind, Principal, Traffic},
    request::RequestView,
};

/// A verified credential with everything that follows from it alone, so that a second request with it costs a lookup.
#[derive(Debug)]
pub struct Proven {
    /// Who.
    pub principal: Principal,
    /// Position of the authenticator in the rules.
    pub authenticator: usize,
    /// When it ends, in milliseconds since the Unix epoch, skew included.
    pub ends_ms: Option<i64>,
    /// Encoded identity headers; `None` when a value cannot be carried.
    pub headers: Option<Vec<(IdentityHeader, Box<str>)>>,
    /// What the caller may do.
    pub grants: Grants,
}

/// What came of one authenticator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Good.
    Verified,
    /// Not good; fixed words say why.
    Invalid(&'static str),
    /// Good, but a needed claim is missing.
    ClaimMissing,
    /// We could not find out.
    Unavailable(&'static str),
    /// Was good once.
    Expired,
}

/// Who is calling.
pub(super) fn caller(
    deps: &Deps<'_>,
    request: &RequestView<'_>,
    awaited: &Awaited,
    place: &Place<'_>,
    facts: &mut Facts,
) -> Result<CallerKind, Stop> {
    let nobody = match place.traffic {
        Traffic::External => CallerKind::Anonymous,
        Traffic::Internal => CallerKind::Internal,
    };
    if !place.reads_credentials() {
        return Ok(nobody);
    }
    let protected = place.rules.access == Access::Authenticated;
    if protected && place.rules.authenticators.is_empty() {
        // Nobody can prove anything here: that is a mistake of the policy, not of the client.
        return Err(Deny::new(Code::Unavailable, "the policy has no authenticator").into());
    }
    let Some(credential) = credential::find(request, place)? else {
        if protected {
            return Err(Deny::new(Code::MissingCredential, "no credential was sent").into());
        }
        return Ok(nobody);
    };
    facts.credential = Some(credential.source);
    match verify(deps, awaited, place, &credential, facts) {
        Ok(proven) => {
            let kind = CallerKind::Proven(proven.principal.kind);
            facts.proven = Some(proven);
            Ok(kind)
        }
        Err(Stop::Deny(deny)) if !protected => tolerate(place, deny, nobody).map_err(Stop::Deny),
        Err(stop) => Err(stop),
    }
}

/// A bad credential where none is needed. A credential that could not be checked is never tolerated: an outage of ours must not
/// turn users into strangers.
fn tolerate(place: &Place<'_>, deny: Deny, nobody: CallerKind) -> Result<CallerKind, Deny> {
    match place.rules.invalid_credential {
        _ if deny.code == Code::Unavailable => Err(deny),
        InvalidCredential::Reject => Err(deny),
        InvalidCredential::Ignore => Ok(nobody),
        InvalidCredential::PassUnverified => Ok(CallerKind::UnverifiedJwt),
    }
}

/// From the cache, or by trying the readers of the credential's place in order.
fn verify(
    deps: &Deps<'_>,
    awaited: &Awaited,
    place: &Place<'_>,
    credential: &Credential<'_>,
    facts: &mut Facts,
) -> Result<Arc<Proven>, Stop> {
    let Some(source) = place.rules.sources.get(credential.source) else {
        return Err(Deny::new(Code::InvalidToken, "nobody reads this place").into());
    };
    let readers: Readers<'_> = Readers::new(deps, &place.rules.authenticators, source);
    let key = readers.cache_key(source, &credential.value);
    if let Some(proven) = deps.tokens.get(&key)
        && proven.ends_ms.is_none_or(|end| end > deps.now_ms)
    {
        facts.outcomes.push((proven.principal.authenticator.clone(), Outcome::Verified));
        return Ok(proven);
    }
    let mut proven = readers.try_all(deps, awaited, &credential.value, facts)?;
    let mapping = place.rules.authenticators.get(proven.authenticator).map(|one| &one.claims);
    authorize::complete(place.policy.authorization.as_ref(), mapping, &mut proven);
    let proven = Arc::new(proven);
    deps.tokens.insert(key, proven.clone());
    Ok(proven)
}

/// The authenticators that read one place, each with its keys as they are now.
struct Readers<'a> {
    all: smallvec::SmallVec<[Reader<'a>; 4]>,
}

struct Reader<'a> {
    index: usize,
    authenticator: &'a Arc<Authenticator>,
    jwt: &'a Jwt,
    keys: Option<Arc<KeySet>>,
    refreshable: bool,
    failing: bool,
}

// === impl Readers ===

impl<'a> Readers<'a> {
    fn new(deps: &Deps<'_>, authenticators: &'a [Arc<Authenticator>], source: &Source) -> Self {
        let readers = source.readers.iter().filter_map(|index| authenticators.get(*index).map(|one| (*index, one)));
        let all = readers.map(|(index, authenticator)| {
            let AuthenticatorKind::Jwt(jwt) = &authenticator.kind;
            let (keys, refreshable, failing) = match &jwt.keys {
                JwtKeys::Inline(keys) => (Some(keys.clone()), false, false),
                JwtKeys::Missing => (None, false, true),
                JwtKeys::Remote(id) => {
                    let state = deps.keys.state(id);
                    (state.keys, state.refreshable, state.failing)
                }
            };
            Reader { index, authenticator, jwt, keys, refreshable, failing }
        });
        Self { all: all.collect() }
    }

    /// Covers everything a verdict depends on beside the clock: the credential, every reader as compiled, and the keys of each.
    fn cache_key(&self, source: &Source, credential: &str) -> TokenKey {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(&source.fingerprint);
        for reader in &self.all {
            context.update(&reader.keys.as_ref().map_or(0, |keys| keys.version()).to_be_bytes());
        }
        context.update(credential.as_bytes());
        TokenKey::from(&context.finish())
    }

    /// First success wins. Waiting comes last: a slow issuer must not hold up a token that another authenticator accepts.
    fn try_all(&self, deps: &Deps<'_>, awaited: &Awaited, credential: &str, facts: &mut Facts) -> Result<Proven, Stop> {
        let Ok(token) = Token::parse(credential) else {
            return Err(Deny::new(Code::InvalidToken, "not a JSON Web Token in compact form").into());
        };
        let (mut need, mut missing) = (None, None);
        let mut worst: Option<Outcome> = None;
        for reader in self.all.iter().filter(|reader| reader.takes(&token)) {
            let outcome = match reader.verify(&token, deps.now_ms) {
                Ok(proven) => {
                    facts.outcomes.push((reader.authenticator.name.clone(), Outcome::Verified));
                    return Ok(proven);
                }
                Err(Verification::Failed(outcome)) => outcome,
                Err(Verification::ClaimMissing(claim)) => {
                    missing.get_or_insert(claim);
                    Outcome::ClaimMissing
                }
                Err(Verification::NoKey) => {
                    if let (JwtKeys::Remote(id), true) = (&reader.jwt.keys, reader.refreshable)
                        && !awaited.holds(id)
                    {
                        need.get_or_insert_with(|| Need::Keys(id.clone()));
                    }
                    reader.no_key(awaited)
                }
            };
            facts.outcomes.push((reader.authenticator.name.clone(), outcome));
            // Of two that rank alike, the first in document order speaks.
            worst = worst.filter(|worst| worst.rank() >= outcome.rank()).or(Some(outcome));
        }
        let worst = worst.unwrap_or(Outcome::Invalid("no authenticator takes a token of this issuer"));
        Err(need.map_or_else(|| Deny { claim: missing, ..worst.deny() }.into(), Stop::Wait))
    }
}

enum Verification {
    Failed(Outcome),
    /// The name of the claim.
    ClaimMissing(Box<str>),
    NoKey,
}

// === impl Reader ===

impl Reader<'_> {
    /// A token that names an issuer is only for authenticators of that issuer, or of none.
    fn takes(&self, token: &Token<'_>) -> bool {
        match (&self.jwt.issuer, token.issuer()) {
            (Some(own), Some(issuer)) => **own == *issuer,
            _ => true,
        }
    }

    fn verify(&self, token: &Token<'_>, now_ms: i64) -> Result<Proven, Verification> {
        let keys = self.keys.as_ref().ok_or(Verification::NoKey)?;
        let verified = jwt::verify(token, self.jwt, keys, now_ms).map_err(|failure| match failure {
            Failure::Invalid(why) => Verification::Failed(Outcome::Invalid(why)),
            Failure::Expired => Verification::Failed(Outcome::Expired),
            Failure::ClaimMissing(index) => {
                Verification::ClaimMissing(self.jwt.required_claims.get(index).cloned().unwrap_or_default())
            }
            Failure::UnknownKey => Verification::NoKey,
        })?;
        let principal = jwt::principal(token.claims().clone(), self.authenticator, self.jwt.issuer.as_deref())
            .map_err(|failure| match failure {
                PrincipalFailure::ClaimMissing => {
                    Verification::ClaimMissing(jwt::missing(token.claims(), &self.authenticator.claims))
                }
                PrincipalFailure::Invalid(why) => Verification::Failed(Outcome::Invalid(why)),
            })?;
        let headers = encode::identity(&principal);
        let skew = i64::try_from(self.jwt.clock_skew.as_millis()).unwrap_or(0);
        let ends_ms = verified.expires_at_ms.map(|end| end.saturating_add(skew));
        Ok(Proven { principal, authenticator: self.index, ends_ms, headers, grants: Grants::default() })
    }

    /// An unknown key is the client's fault only if we know the issuer's keys as they are now.
    fn no_key(&self, awaited: &Awaited) -> Outcome {
        let still_asking = self.refreshable && matches!(&self.jwt.keys, JwtKeys::Remote(id) if awaited.holds(id));
        match (&self.keys, self.failing || still_asking) {
            (None, _) => Outcome::Unavailable("the keys of this issuer could not be loaded"),
            (Some(_), true) => Outcome::Unavailable("no key of this identifier, and the issuer has not answered"),
            (Some(_), false) => Outcome::Invalid("the issuer has no key of this identifier"),
        }
    }
}

// === impl Outcome ===

impl Outcome {
    /// The word of `explain` and its JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Invalid(_) => "invalid_token",
            Self::ClaimMissing => "claim_missing",
            Self::Unavailable(_) => "unavailable",
            Self::Expired => "expired_token",
        }
    }

    /// More words, where there are some.
    pub const fn detail(self) -> &'static str {
        match self {
            Self::Verified => "the credential is good",
            Self::Invalid(why) | Self::Unavailable(why) => why,
            Self::ClaimMissing => "a claim that this policy needs is missing",
            Self::Expired => "the token was good and has expired",
        }
    }

    /// Which failure of several is the answer (contract, section 2, step 5).
    const fn rank(self) -> u8 {
        match self {
            Self::Verified => 0,
            Self::Invalid(_) => 1,
            Self::ClaimMissing => 2,
            Self::Unavailable(_) => 3,
            Self::Expired => 4,
        }
    }

    fn deny(self) -> Deny {
        let code = match self {
            // A success never gets here; if it did, refusing is the only safe answer.
            Self::Verified | Self::Invalid(_) => Code::InvalidToken,
            Self::ClaimMissing => Code::ClaimMissing,
            Self::Unavailable(_) => Code::Unavailable,
            Self::Expired => Code::ExpiredToken,
        };
        Deny::new(code, self.detail())
    }
}
