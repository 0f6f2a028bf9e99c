//! Steps 4 and 5: the credential, and the authenticators that take it.

use std::sync::Arc;

use aws_lc_rs::digest;
use crds::{
    api_keys::KeyId,
    code::Code,
    snapshot::{Access, Authenticator, InvalidCredential, Source, SourceKind},
};
use serde_json::{Map, Value};

use super::{
    Awaited, Deny, Deps, Facts, Grants, Need, Stop, authorize, credential, credential::Credential, encode,
    encode::IdentityHeaders, kind::Kind, outcome::Outcome, second_factor, select::Place, standing,
};
use crate::{
    cache::TokenKey,
    jwt::{self, PrincipalFailure, Token},
    principal::{CallerKind, Principal, Traffic},
    remote::Reply,
    request::RequestView,
    uses::KeyUse,
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
    /// Until when what follows may be used again, where others were asked about it.
    pub keep_until_ms: Option<i64>,
    /// Whether the policy's service says that the caller is still active; `None`: nobody was asked.
    pub active: Option<bool>,
    /// Encoded identity headers; `None` when a value cannot be carried.
    pub headers: Option<IdentityHeaders>,
    /// Whether the authenticator lets this person in; `None`: it lets in everybody that it verifies.
    pub admitted: Option<bool>,
    /// What the caller may do.
    pub grants: Grants,
    /// The API key that it is, if it is one.
    pub used: Option<KeyUse>,
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
    if place.rules.authenticators.is_empty() {
        if protected {
            // Nobody can prove anything here: that is a mistake of the policy, not of the client.
            return Err(Deny::new(Code::Unavailable, "the policy has no authenticator").into());
        }
        // Switched off: what a client sends for the service behind is none of our business.
        return Ok(nobody);
    }
    let Some(credential) = credential::find(request, place)? else {
        if protected {
            return Err(Deny::new(Code::MissingCredential, "no credential was sent").into());
        }
        return Ok(nobody);
    };
    facts.credential = Some(credential.source);
    match verify(deps, request, awaited, place, &credential, facts) {
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
    request: &RequestView<'_>,
    awaited: &Awaited,
    place: &Place<'_>,
    credential: &Credential<'_>,
    facts: &mut Facts,
) -> Result<Arc<Proven>, Stop> {
    let Some(source) = place.rules.sources.get(credential.source) else {
        return Err(Deny::new(Code::InvalidToken, "nobody reads this place").into());
    };
    let readers = || Readers::new(deps, request, &place.rules.authenticators, source);
    // Where nothing but the documents decides, whoever is remembered costs no look at those who read the place.
    let varying = source.varies.then(readers);
    let key = cache_key(source, varying.as_ref(), &credential.value);
    let remembered = deps.tokens.get(&key).filter(|proven| proven.may_be_used(deps.now_ms));
    facts.remembered = Some(remembered.is_some());
    if let Some(proven) = remembered {
        facts.outcomes.push((proven.principal.authenticator.clone(), Outcome::Verified));
        return Ok(proven);
    }
    let mut proven =
        varying.unwrap_or_else(readers).try_all(deps, &place.policy.name, awaited, &credential.value, facts)?;
    let asked = standing::of_caller(deps, awaited, place, &proven.principal)?;
    if let Some(asked) = &asked {
        proven.keep_until_ms = Some(proven.keep_until_ms.map_or(asked.until_ms, |own| own.min(asked.until_ms)));
    }
    let standing = asked.as_deref().and_then(|asked| match &asked.reply {
        Reply::Standing(standing) => Some(standing),
        _ => None,
    });
    let authenticator = place.rules.authenticators.get(proven.authenticator);
    let mapping = authenticator.map(|one| &*one.claims);
    authorize::complete(place.policy.authorization.as_deref(), mapping, standing, &mut proven);
    let require = authenticator.map(|one| &one.require).filter(|require| !require.is_empty());
    proven.admitted = require.map(|require| jwt::admits(require, &proven.principal));
    let proven = Arc::new(proven);
    // Verdicts that hold for this request alone, and those against the caller, are nothing to remember.
    if proven.may_be_used(deps.now_ms) && proven.active != Some(false) {
        deps.tokens.insert(key, proven.clone(), deps.now_ms);
    }
    Ok(proven)
}

/// Covers everything a verdict depends on beside the clock: the credential, and in the fingerprint every reader as compiled; of those that
/// vary, what they see now.
fn cache_key(source: &Source, varying: Option<&Readers<'_>>, credential: &str) -> TokenKey {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(&source.fingerprint);
    for reader in varying.into_iter().flat_map(|readers| &readers.all) {
        context.update(&reader.kind.version().to_be_bytes());
        reader.kind.context(&mut context);
    }
    // The same text in a header is another credential.
    context.update(&[u8::from(source.kind == SourceKind::ClientCertificate)]);
    context.update(credential.as_bytes());
    TokenKey::from(&context.finish())
}

/// The authenticators that read one place, each with its keys as they are now.
struct Readers<'a> {
    all: smallvec::SmallVec<[Reader<'a>; 4]>,
    /// Whether the place is the connection.
    is_certificate: bool,
}

struct Reader<'a> {
    index: usize,
    authenticator: &'a Arc<Authenticator>,
    kind: Kind<'a>,
}

/// A credential, read once for all authenticators and not yet believed.
pub(super) struct Presented<'a> {
    pub(super) text: &'a str,
    /// Whether somebody who can judge it here takes it: then nobody else is asked about it.
    pub(super) is_claimed: bool,
    /// Whether it is the name in a certificate that the proxy verified, and no text of the client's.
    pub(super) is_certificate: bool,
    token: Option<Token<'a>>,
    /// Token and code, for who wants both.
    with_code: Option<(Token<'a>, &'a str)>,
}

/// A credential that is good.
pub(super) struct Good {
    pub(super) principal: Principal,
    /// When it ends, in milliseconds since the Unix epoch, skew included.
    pub(super) ends_ms: Option<i64>,
    /// Until when the verdict may be used again, where somebody was asked.
    pub(super) keep_until_ms: Option<i64>,
    /// The API key that it is, if it is one.
    pub(super) key: Option<KeyId>,
}

/// One that is not, and what could change that.
pub(super) struct Failed {
    pub(super) outcome: Outcome,
    /// The claim that is missing, as the policy names it.
    pub(super) claim: Option<Box<str>>,
    pub(super) need: Option<Need>,
}

/// Whom good claims name.
pub(super) fn named(
    claims: &Map<String, Value>,
    authenticator: &Authenticator,
    issuer: Option<&str>,
) -> Result<Principal, Failed> {
    jwt::principal(claims.clone(), authenticator, issuer).map_err(|failure| match failure {
        PrincipalFailure::ClaimMissing => Failed::claim(jwt::missing(claims, &authenticator.claims)),
        PrincipalFailure::Invalid(why) => Outcome::Invalid(why).into(),
    })
}

// === impl Proven ===

impl Proven {
    /// Whether it still is what it was when it was verified.
    fn may_be_used(&self, now_ms: i64) -> bool {
        [self.ends_ms, self.keep_until_ms].into_iter().flatten().all(|end| end > now_ms)
    }
}

// === impl Presented ===

impl<'a> Presented<'a> {
    fn new(text: &'a str, is_certificate: bool) -> Self {
        if is_certificate {
            return Self { text, is_claimed: true, is_certificate, token: None, with_code: None };
        }
        let with_code = second_factor::split(text).and_then(|(token, code)| Some((Token::parse(token).ok()?, code)));
        let token = if with_code.is_some() { None } else { Token::parse(text).ok() };
        Self { text, is_claimed: false, is_certificate, token, with_code }
    }

    /// The token that it is, in good form.
    pub(super) fn token(&self) -> Option<&Token<'a>> {
        self.token.as_ref()
    }

    /// The token, and the code that may follow it.
    pub(super) fn token_and_code(&self) -> Option<(&Token<'a>, Option<&'a str>)> {
        let with_code = self.with_code.as_ref().map(|(token, code)| (token, Some(*code)));
        with_code.or_else(|| self.token().map(|token| (token, None)))
    }
}

// === impl Readers ===

impl<'a> Readers<'a> {
    fn new(
        deps: &Deps<'_>,
        request: &RequestView<'_>,
        authenticators: &'a [Arc<Authenticator>],
        source: &Source,
    ) -> Self {
        let readers = source.readers.iter().filter_map(|index| authenticators.get(*index).map(|one| (*index, one)));
        let all = readers.map(|(index, authenticator)| {
            let kind = Kind::new(deps, request, authenticator);
            Reader { index, authenticator, kind }
        });
        Self { all: all.collect(), is_certificate: source.kind == SourceKind::ClientCertificate }
    }

    /// First success wins. Waiting comes last: a slow issuer must not hold up a token that another authenticator accepts.
    fn try_all(
        &self,
        deps: &Deps<'_>,
        policy: &str,
        awaited: &Awaited,
        credential: &str,
        facts: &mut Facts,
    ) -> Result<Proven, Stop> {
        let mut presented = Presented::new(credential, self.is_certificate);
        // Who is alone has nobody to keep it from.
        presented.is_claimed |= self.all.len() > 1 && self.all.iter().any(|reader| reader.kind.claims(&presented));
        let (mut need, mut missing) = (None, None);
        let mut worst: Option<Outcome> = None;
        for reader in self.all.iter().filter(|reader| reader.kind.takes(&presented)) {
            let name = reader.authenticator.name.clone();
            match reader.kind.verify(deps, policy, reader.authenticator, &presented, awaited) {
                Ok(Good { principal, ends_ms, keep_until_ms, key }) => {
                    facts.outcomes.push((name, Outcome::Verified));
                    let headers = encode::identity(&principal);
                    let grants = Grants::default();
                    let authenticator = reader.index;
                    return Ok(Proven {
                        principal,
                        authenticator,
                        ends_ms,
                        keep_until_ms,
                        active: None,
                        admitted: None,
                        headers,
                        grants,
                        used: key.map(KeyUse::new),
                    });
                }
                Err(Failed { outcome, claim, need: own }) => {
                    facts.outcomes.push((name, outcome));
                    // Of two that rank alike, the first in document order speaks.
                    worst = worst.filter(|worst| worst.rank() >= outcome.rank()).or(Some(outcome));
                    missing = missing.or(claim);
                    need = need.or(own);
                }
            }
        }
        let nobody = Outcome::Invalid(match presented.token() {
            Some(_) => "no authenticator takes a token of this issuer",
            None => {
                "not a credential that an authenticator takes: neither a JSON Web Token in compact form nor an API key"
            }
        });
        let worst = worst.unwrap_or(nobody);
        Err(need.map_or_else(|| Deny { claim: missing, ..worst.deny() }.into(), Stop::Wait))
    }
}

// === impl Failed ===

impl Failed {
    /// A claim is missing.
    pub(super) fn claim(name: Box<str>) -> Self {
        Self { claim: Some(name), ..Outcome::ClaimMissing.into() }
    }
}

impl From<Outcome> for Failed {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, claim: None, need: None }
    }
}
